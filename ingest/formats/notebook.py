"""Jupyter notebooks as Markdown: code fenced, outputs as text, one page a cell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from core.errors import InputError
from ingest.formats.content import Content, fence, join_blocks
from ingest.formats.described import describe
from ingest.formats.html import render
from ingest.formats.text import decode, first_heading, normalize_newlines

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours of a terminal
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def read_notebook(data: bytes) -> Content:
    """Every cell with its textual outputs; tables that only exist as HTML become Markdown, images are left out.

    Read here and not by kreuzberg (4.10), which gives outputs as paragraphs, their indentation lost.

    Raises `InputError` for what isn't a notebook of format 4.
    """
    try:
        notebook = json.loads(decode(data))
        cells, about = notebook["cells"], notebook.get("metadata") or {}
        language = str((about.get("language_info") or about.get("kernelspec") or {}).get("name") or "")
        authors = [str(author.get("name") or "") for author in about.get("authors") or ()]
        pages = [list(_blocks(cell, _LANGUAGES.get(language, language))) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError("isn't a notebook in format 4. Save it anew, for example with jupyter nbconvert.") from None
    text, starts = join_blocks(pages)
    title = str(about.get("title") or "") or first_heading(text, "markdown", level=1)
    names = tuple(f"cell {number}" for number in range(1, len(pages) + 1))
    known = describe(author=authors, programming_language=_LANGUAGES.get(language, language))
    return Content(text, "markdown", title, starts, names, known)


_LANGUAGES = {"python3": "python", "ir": "r"}  # kernels that are called otherwise than their language


def _blocks(cell: Mapping, language: str) -> Iterator[str]:
    source = _join(cell.get("source"))
    if cell["cell_type"] == "code":
        yield fence(source, language)
        for output in cell.get("outputs") or ():
            yield _output(output)
    elif cell["cell_type"] == "raw":
        yield fence(source)
    else:
        yield source.strip("\n")


def _output(output: Mapping) -> str:
    if output["output_type"] == "error":
        return fence(f"{output.get('ename')}: {output.get('evalue')}")
    if output["output_type"] == "stream":
        return fence(_join(output.get("text")))
    forms = output.get("data") or {}
    if "text/markdown" in forms:
        return _join(forms["text/markdown"]).strip("\n")
    if "<table" in (page := _join(forms.get("text/html"))):
        return render(page).text
    return fence(_join(forms.get("text/plain"))) or render(page).text


def _join(lines: object) -> str:
    """Text that a notebook stores as one string or as a list of lines."""
    text = "".join(lines) if isinstance(lines, list) else str(lines or "")
    return _CONTROL.sub("", _ESCAPE.sub("", normalize_newlines(text)))

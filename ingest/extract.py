"""A source's bytes become a document: text with known markup, title, pages and metadata."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InputError
from core.types import Document, MetadataValue
from ingest.formats.content import Content, one_line
from ingest.formats.described import MAX_INTEGER
from ingest.formats.epub import read_epub
from ingest.formats.html import read_html
from ingest.formats.json_text import read_json
from ingest.formats.mail import read_mail
from ingest.formats.notebook import read_notebook
from ingest.formats.pdf import read_pdf
from ingest.formats.sheets import read_xlsx
from ingest.formats.slides import read_pptx
from ingest.formats.tabular import read_csv
from ingest.formats.text import normalize_newlines, read_code, read_markdown, read_rst, read_text
from ingest.formats.word import read_docx
from ingest.structure import Blocks, parse

if TYPE_CHECKING:
    from ingest.sources.items import Source

MAX_TEXT_CHARS = 20 * 2**20  # about ten thousand pages

_READERS = {
    "csv": read_csv,
    "docx": read_docx,
    "eml": read_mail,
    "epub": read_epub,
    "html": read_html,
    "json": read_json,
    "markdown": read_markdown,
    "notebook": read_notebook,
    "pdf": read_pdf,
    "pptx": read_pptx,
    "rst": read_rst,
    "text": read_text,
    "tsv": partial(read_csv, delimiter="\t"),
    "xlsx": read_xlsx,
}


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document and the blocks that its text consists of."""

    document: Document
    blocks: Blocks


def load(source: Source, max_text_chars: int = MAX_TEXT_CHARS) -> Extracted:
    """The document that a source holds, with its blocks; its text has `\\n` newlines and a visible character at least.

    Does no I/O besides the source's bytes. `metadata` has `format` (the source's, "code" for every language), `source`
    (the file's name), what the source says of itself (names and forms as in `ingest.formats.described`) and what the
    user says of it, in rising order but for the first two. A title that the user gives replaces the document's.

    Raises `InputError` whose message completes a sentence that begins with the source's name: it looks binary, isn't
    valid UTF-8, is broken or encrypted, or holds no text or more than `max_text_chars` characters.
    """
    content = _read(source)
    text = content.text
    if not text.strip():
        raise InputError("holds no text.")
    if len(text) > max_text_chars:
        raise InputError(
            f"holds {len(text):,} characters of text, more than the limit of {max_text_chars:,}; "
            "raise max_text_mb or divide it."
        )
    form = source.format.partition(":")[0]
    said = dict(source.metadata)
    title = one_line(str(said.pop("title", ""))) or content.title
    document = Document(
        id=source.id,
        uri=source.uri,
        title=title or _name(source),
        text=text,
        content_hash=source.content_hash,
        markup=content.markup,
        page_starts=content.page_starts,
        page_names=content.page_names,
        has_own_title=bool(title),
        metadata={**content.metadata, **said, "format": form, "source": source.name},
    )
    return Extracted(document, parse(text, content.markup))


def _read(source: Source) -> Content:
    if source.format in ("beir", "record"):
        return _read_record(source)
    if source.format.startswith("code:"):
        return read_code(source.data, source.format.removeprefix("code:"))
    return _READERS.get(source.format, read_text)(source.data)


def _name(source: Source) -> str:
    """What a document without a title is called: its file, whose suffix matters for source code alone."""
    return source.name if source.format.startswith("code:") else Path(source.name).stem or source.name


def _read_record(source: Source) -> Content:
    record = json.loads(source.data)
    metadata = {key: _metadata_value(key, value) for key, value in record["metadata"].items() if value is not None}
    title = one_line(record["title"])
    text = normalize_newlines(record["text"])
    # A record without text is found by its title, which is all that it holds.
    name = "" if source.id == source.uri else source.id  # a record without an id is named by its file
    return Content(text if text.strip() else title, "text", title or name, metadata=metadata)


def _metadata_value(key: str, value: object) -> MetadataValue:
    """A record's metadata value as it may be stored.

    Raises `InputError` for an object, a mixed list or a number beyond 64 bits.
    """
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    if isinstance(value, str | bool | float) or (isinstance(value, int) and -MAX_INTEGER <= value <= MAX_INTEGER):
        return value
    raise InputError(
        f"has metadata {key!r} of a kind that can't be filtered by: {json.dumps(value)[:60]}. "
        "Use a string, number, true, false or a list of strings."
    )

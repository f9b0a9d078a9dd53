"""What every reader of a format returns, and how tables and code are written in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.types import MetadataValue


@dataclass(frozen=True, slots=True)
class Content:
    """A source's text and what it says of itself; the fields are those of `core.types.Document`.

    `title` is empty where the source states none.
    """

    text: str
    markup: str = "markdown"
    title: str = ""
    page_starts: tuple[int, ...] = ()
    page_names: tuple[str, ...] = ()
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


def join_blocks(pages: Iterable[Sequence[str]]) -> tuple[str, tuple[int, ...]]:
    """The blocks of all pages in one text, a blank line between them, and the offset at which each page begins.

    An empty page begins where the next one does.
    """
    parts: list[str] = []
    starts: list[int] = []
    length = 0
    for blocks in pages:
        starts.append(length + (2 if parts else 0))
        for block in filter(None, blocks):
            length += len(block) + (2 if parts else 0)
            parts.append(block)
    return "\n\n".join(parts), tuple(min(start, length) for start in starts)


def one_line(text: str) -> str:
    """The text with every run of whitespace as one space."""
    return " ".join(text.split())


def fence(code: str, language: str = "") -> str:
    """A fenced block of Markdown; "" for code without a visible character."""
    code = code.strip("\n").rstrip()
    if not code.strip():
        return ""
    marks = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", code)), default=0))
    return f"{marks}{language}\n{code}\n{marks}"


def table(rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose header is the first row; rows and columns without text are left out."""
    kept = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    kept = [row for row in kept if any(row)]
    width = max((len(row) for row in kept), default=0)
    kept = [row + [""] * (width - len(row)) for row in kept]
    columns = [i for i in range(width) if any(row[i] for row in kept)]
    lines = ["| " + " | ".join(row[i] for i in columns) + " |" for row in kept]
    return "\n".join([lines[0], "|" + " --- |" * len(columns), *lines[1:]]) if lines else ""

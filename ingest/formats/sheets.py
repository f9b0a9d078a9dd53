"""XLSX as Markdown: one page a sheet, each with its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from core.errors import InputError
from ingest.formats.content import Content, join_blocks, one_line, table
from ingest.formats.package import Package

_MIDNIGHT = re.compile(r"(\d{4}-\d\d-\d\d) 00:00:00$")  # how a date without a time comes out
_TIME = re.compile(r"1899-12-3[01] (\d\d:\d\d:\d\d)$")  # and a time without a date


def read_xlsx(data: bytes) -> Content:
    """Every sheet that holds something, under its name; blank rows divide its tables, and the first row is the header.

    Cells are given as stored: a formula's last value, a percentage as its fraction.

    Raises `InputError` for a file that is broken, encrypted or too large.
    """
    title, metadata = Package(data, "XLSX").core_properties()
    import kreuzberg  # loads 80 MB of Rust

    config = kreuzberg.ExtractionConfig(use_cache=False, enable_quality_processing=False, output_format="plain")
    mime = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    try:
        result = kreuzberg.extract_bytes_sync(data, mime, config=config)
    except Exception:  # kreuzberg's own errors, and panics of its Rust core
        raise InputError("is a broken XLSX. Open and save it anew.") from None
    names = result.metadata.get("sheet_names") or []
    sheets = [(one_line(names[sheet.page_number - 1]), list(_blocks(sheet.cells))) for sheet in result.tables]
    sheets = [(name, blocks) for name, blocks in sheets if blocks]
    text, starts = join_blocks([f"# {name}", *blocks] for name, blocks in sheets)
    return Content(text, "markdown", title, starts, tuple(f"sheet {name}" for name, _ in sheets), metadata)


def _blocks(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    """The tables of a sheet; a block of rows with one filled column only is a note, not a table."""
    for is_filled, rows in groupby(([_written(cell) for cell in row] for row in cells), key=any):
        if not is_filled:
            continue
        kept = list(rows)
        columns = {i for row in kept for i, cell in enumerate(row) if cell}
        yield "\n".join(one_line(" ".join(row)) for row in kept) if len(columns) == 1 else table(kept)


def _written(cell: str) -> str:
    return _TIME.sub(r"\1", _MIDNIGHT.sub(r"\1", cell.strip()))

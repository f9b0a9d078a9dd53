"""Rows of CSV and TSV files, streamed: a row is held in memory, never the table."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from core.errors import InputError
from ingest.sources.files import read_lines

MAX_ROW_BYTES = 10 * 2**20  # the parser needs several times as much while it reads one
MAX_COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class Row:
    """One row by the names of its columns, or what is wrong with it; `line` is the one on which it begins."""

    line: int
    size_bytes: int
    values: dict[str, str]
    fault: str = ""


def read_rows(file: BinaryIO, delimiters: str, names: set[str], limit_bytes: int = MAX_ROW_BYTES) -> Iterator[Row]:
    """The rows below the header, blank ones left out.

    The delimiter is that of the candidates by which the header holds most of `names`, on a tie the first.

    Raises `InputError` for a header that isn't UTF-8 or too wide, and where a row doesn't end within the limit or the
    file: a quote was never closed, and what follows can't be told apart.
    """
    lines = _Lines(file, min(limit_bytes, MAX_ROW_BYTES))
    header, delimiter = _read_header(lines, delimiters, names)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW_BYTES + 1))  # the process', and never lowered
    rows = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.begin_row()
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield Row(lines.row_start, lines.row_bytes, {}, f"isn't readable as a table's row: {error}")
            continue
        if row is None:
            return
        if lines.is_runaway:
            raise InputError(
                f"the row on line {lines.row_start} doesn't end within {lines.limit_bytes / 2**20:g} MiB or the file: "
                "a quote is never closed. It and what follows weren't read"
            )
        fault = lines.fault
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            fault = fault or f"has {len(row)} fields, but the header {len(header)}"
        if fault or any(cell.strip() for cell in row):
            values = {} if fault else dict(reversed(list(zip(header, row, strict=False))))
            yield Row(lines.row_start, lines.row_bytes, values, fault)


class _Lines:
    """Decoded lines for the parser, and what is wrong with the row that they belong to."""

    def __init__(self, file: BinaryIO, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.n_lines = 0
        self._lines = read_lines(file, limit_bytes)
        self.begin_row()

    def begin_row(self) -> None:
        self.row_start = self.n_lines + 1
        self.row_bytes = 0
        self.fault = ""
        self.is_runaway = False

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.n_lines += 1
            is_first = not self.row_bytes
            size_bytes = line if isinstance(line, int) else len(line)
            self.row_bytes += size_bytes
            if self.row_bytes > self.limit_bytes:
                if not is_first:
                    break
                self.fault = f"is longer than {self.limit_bytes / 2**20:g} MiB"
                yield "\n"
                continue
            try:
                yield line.decode("utf-8")  # type: ignore[union-attr]
            except UnicodeDecodeError as error:
                self.fault = f"byte {error.start} isn't valid UTF-8. Convert the file to UTF-8."
                yield line.decode("utf-8", "replace")  # type: ignore[union-attr]
        self.is_runaway = self.row_bytes > 0  # the parser asked for more of a row, and gives what it has


def _read_header(lines: _Lines, delimiters: str, names: set[str]) -> tuple[list[str], str]:
    line = next((line for line in lines if line.strip() or lines.fault), None)
    if line is None:
        return [], delimiters[0]
    if lines.fault:
        raise InputError(f"its header {lines.fault}")
    headers = {delimiter: _split(line, delimiter) for delimiter in delimiters}
    delimiter = max(delimiters, key=lambda delimiter: len(names.intersection(headers[delimiter])))
    if len(headers[delimiter]) > MAX_COLUMNS:
        raise InputError(f"its header has {len(headers[delimiter])} columns; at most {MAX_COLUMNS} are supported")
    return headers[delimiter], delimiter


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error as error:
        raise InputError(f"its header isn't readable as a table's row: {error}") from None

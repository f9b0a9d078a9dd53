"""CSV and TSV as one Markdown table under its header row."""

from __future__ import annotations

import csv
import io
import sys

from core.errors import InputError
from ingest.formats.content import Content, table
from ingest.formats.text import decode

MAX_COLUMNS = 16_384  # as many as a spreadsheet has; more is a broken file
SNIFFED_CHARS = 20_000


def read_csv(data: bytes, delimiter: str = "") -> Content:
    """A table whose header is the first row; without a given delimiter it is found out among `, ; |` and tab.

    Raises `InputError` for what isn't text, for an unclosed quotation and for more than `MAX_COLUMNS` columns.
    """
    text = decode(data)
    csv.field_size_limit(sys.maxsize)  # the text as a whole is limited, and a cell may be long
    rows = []
    try:
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(text), strict=True):
            if len(row) > MAX_COLUMNS:
                raise InputError(
                    f"has {len(row)} columns in row {len(rows) + 1}; the limit is {MAX_COLUMNS}. "
                    "If it isn't a table, give it another suffix."
                )
            rows.append(row)
    except csv.Error as error:
        raise InputError(f"isn't valid CSV: {error} in row {len(rows) + 1}. Mend it or name it .txt.") from None
    return Content(table(rows))


def _delimiter(text: str) -> str:
    """The delimiter that occurs equally often, and most often, in the first lines; a comma where none does."""
    sample = text[:SNIFFED_CHARS]
    lines = [line for line in sample.split("\n")[:-1] or [sample] if line.strip()][:50]
    counts = {mark: [line.count(mark) for line in lines] for mark in ",;\t|"}

    def fitness(mark: str) -> tuple[float, int]:
        usual = max(set(counts[mark]), key=counts[mark].count, default=0)
        return (counts[mark].count(usual) / len(lines) if usual else 0.0, usual)

    return max(counts, key=fitness) if lines else ","

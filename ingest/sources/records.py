"""Records as documents: lines of a BEIR corpus, and by a mapping of fields any JSONL, JSON, CSV or TSV file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from core.errors import InputError
from ingest.sources.files import read_lines, too_large
from ingest.sources.mapping import FieldMap, Fields, ForeignRecord
from ingest.sources.metadata import is_storable
from ingest.sources.tables import read_rows

MAPPED_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab")
BEIR_FORM = 'Each line must be {"_id": "…", "title": "…", "text": "…"}.'

# Records that all lack what they should hold are of another kind: one failure says so, not one for each.
N_PROBED = 10


@dataclass(frozen=True, slots=True)
class Record:
    """One record, or what is wrong with it; `line` is where it begins, `data` what `Fields` hold as canonical JSON.

    `id` is "" where none is mapped, or where the record is too faulty to tell. `is_foreign` marks a fault that
    suggests a file of another kind.
    """

    line: int
    size_bytes: int
    id: str = ""
    data: bytes = b""
    fault: str = ""
    is_foreign: bool = False


def read_beir(file: BinaryIO, limit_bytes: int) -> Iterator[Record]:
    """Each line of a BEIR corpus, `{"_id": …, "title": …, "text": …, "metadata": {…}}`, streamed.

    Raises `InputError` for a file without records, and where the first `N_PROBED` aren't of this kind.
    """
    verdict = "not a BEIR corpus: its first record {} To read other fields, say which: --map text=FIELD."
    return _probed(_parse_lines(file, _parse_beir, limit_bytes), verdict)


def read_mapped(file: BinaryIO, suffix: str, fields: FieldMap, limit_bytes: int) -> Iterator[Record]:
    """Each record of a file with one of `MAPPED_SUFFIXES`, read by a mapping of its fields.

    JSONL and tables are streamed; a JSON file (an array of objects, or one object) is read at once.

    Raises `InputError` for a file without records, one that isn't JSON or a table, and where the first `N_PROBED`
    records lack the mapped fields.
    """
    if suffix in (".csv", ".tsv", ".tab"):
        records = _parse_rows(file, ",;|\t" if suffix == ".csv" else "\t", fields, limit_bytes)
    elif suffix == ".json":
        records = _parse_array(file, fields, limit_bytes)
    else:
        records = _parse_lines(file, fields.apply, limit_bytes)
    return _probed(records, "doesn't have the mapped fields: its first record {}")


def _probed(records: Iterator[Record], verdict: str) -> Iterator[Record]:
    """The same records; raises `InputError` where there is none, and with `verdict` where the first are all foreign."""
    probed = []
    for record in itertools.islice(records, N_PROBED):
        probed.append(record)
        if not record.is_foreign:
            break
    if not probed:
        raise InputError("holds no records")
    if probed[-1].is_foreign:
        raise InputError(verdict.format(probed[0].fault))
    yield from itertools.chain(probed, records)


def _parse_lines(file: BinaryIO, parse: Callable[[dict], Fields], limit_bytes: int) -> Iterator[Record]:
    for number, line in enumerate(read_lines(file, limit_bytes), start=1):
        if isinstance(line, int):
            yield Record(number, line, fault=too_large("line", line, limit_bytes))
        elif line.strip():
            yield _record(number, len(line), lambda line=line: parse(_object(_parse_json(line))))


def _parse_rows(file: BinaryIO, delimiters: str, fields: FieldMap, limit_bytes: int) -> Iterator[Record]:
    for row in read_rows(file, delimiters, fields.names(), limit_bytes):
        if row.fault:
            yield Record(row.line, row.size_bytes, fault=row.fault)
        else:
            yield _record(row.line, row.size_bytes, lambda row=row: fields.apply(row.values, is_table=True))


def _parse_array(file: BinaryIO, fields: FieldMap, limit_bytes: int) -> Iterator[Record]:
    data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise InputError(too_large("file", len(data), limit_bytes))
    values = _parse_json(data.removeprefix(b"\xef\xbb\xbf")) if data.strip() else []
    values = values if isinstance(values, list) else [values]
    for number, value in enumerate(values, start=1):
        yield _record(number, len(data) // len(values), lambda value=value: fields.apply(_object(value)))


def _record(line: int, size_bytes: int, parse: Callable[[], Fields]) -> Record:
    fields = None
    try:
        fields = parse()
        return Record(line, size_bytes, fields.id, _encode(fields))
    except InputError as error:
        document_id = fields.id if fields else ""
        return Record(line, size_bytes, document_id, b"", str(error), isinstance(error, ForeignRecord))


def _encode(fields: Fields) -> bytes:
    """Canonical JSON of title, text and metadata: the same for every spelling of the same record."""
    content = {"title": fields.title, "text": fields.text, "metadata": fields.metadata}
    try:
        return json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()
    except (UnicodeEncodeError, ValueError) as error:
        raise InputError(f"holds a value that can't be stored: {error}") from None


def _parse_json(data: bytes) -> object:
    try:
        return json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} isn't valid UTF-8. Convert the file to UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise ForeignRecord(f"isn't JSON ({error})") from None


def _object(value: object) -> dict:
    if not isinstance(value, dict):
        raise ForeignRecord(f"isn't a JSON object but a {type(value).__name__}")
    return value


def _parse_beir(record: dict) -> Fields:
    document_id = record.get("_id")
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    if not isinstance(document_id, str) or not document_id.strip():
        raise ForeignRecord(f"lacks `_id`, a string. {BEIR_FORM}")
    if not is_storable(document_id):
        raise InputError("has an `_id` that isn't valid Unicode.")
    title, text, metadata = record.get("title") or "", record.get("text"), record.get("metadata") or {}
    if not isinstance(text, str):
        raise InputError(f"lacks `text`, a string. {BEIR_FORM}")
    if not isinstance(title, str) or not isinstance(metadata, dict):
        raise InputError("has a `title` that isn't a string or a `metadata` that isn't an object.")
    if not text.strip() and not title.strip():
        raise InputError("has neither text nor title.")
    return Fields(document_id, title, text, metadata)

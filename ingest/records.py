"""Lines of a BEIR corpus, `{"_id": …, "title": …, "text": …, "metadata": {…}}`, one document each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

from core.errors import InputError

BEIR_FORM = 'Each line must be {"_id": "…", "title": "…", "text": "…"}.'


def read_lines(file: BinaryIO, limit: int) -> Iterator[bytes | int]:
    """Each line without holding more than `limit` bytes of it; a longer one is given as its length alone."""
    while line := file.readline(limit + 1):
        if file.tell() == len(line):
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line.rstrip(b"\r\n")) <= limit:
            yield line
            continue
        size_bytes = len(line)
        while line and not line.endswith(b"\n"):
            line = file.readline(limit + 1)
            size_bytes += len(line)
        yield size_bytes


def parse_record(line: bytes) -> dict:
    """The fields of one BEIR line: `_id`, `title`, `text`, `metadata`.

    Raises `InputError` where the line isn't such a record.
    """
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} isn't valid UTF-8. Convert the file to UTF-8.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"isn't JSON ({error}). {BEIR_FORM}") from None
    if not isinstance(record, dict):
        raise InputError(f"isn't a JSON object but a {type(record).__name__}. {BEIR_FORM}")
    document_id = record.get("_id")
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    if not isinstance(document_id, str) or not document_id.strip():
        raise InputError(f"lacks `_id`, a string. {BEIR_FORM}")
    if not _is_storable(document_id):
        raise InputError("has an `_id` that isn't valid Unicode.")
    title, text, metadata = record.get("title") or "", record.get("text"), record.get("metadata") or {}
    if not isinstance(text, str):
        raise InputError(f"lacks `text`, a string. {BEIR_FORM}")
    if not isinstance(title, str) or not isinstance(metadata, dict):
        raise InputError("has a `title` that isn't a string or a `metadata` that isn't an object.")
    if not text.strip() and not title.strip():
        raise InputError("has neither text nor title.")
    return {"_id": document_id, "title": title, "text": text, "metadata": metadata}


def _is_storable(text: str) -> bool:
    """Whether text can be written as UTF-8: JSON's escapes allow half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)

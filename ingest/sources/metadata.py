"""What users say of their documents, by `--meta key=value` and by a sidecar file, and values that filters can use."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping

from core.errors import InputError
from core.filters import BUILT_IN
from core.types import MetadataValue
from ingest.formats.described import MAX_INTEGER
from ingest.sources.files import read_file

SIDECAR = ".meta.json"  # `report.pdf.meta.json` speaks of `report.pdf`
MAX_SIDECAR_BYTES = 2**20  # every chunk carries it

# What the index itself says under these names. A title isn't among them: a given one replaces the document's.
RESERVED = frozenset({"format", "source", *BUILT_IN}) - {"title"}
_NAME = re.compile(r"""(?!not$)[^\W\d][^\s"'<>=!(),\\]*""", re.I)  # what a filter takes for a field's name
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")


def parse_metadata(pairs: Iterable[str]) -> dict[str, MetadataValue]:
    """Metadata from `key=value` texts; a key given more than once becomes a list of texts.

    A value is read as by `parse_value`; in double quotes it is always text.

    Raises `InputError` for a pair without `=`, a key that no filter could name, and a reserved key.
    """
    found: dict[str, list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"{pair!r} isn't of the form key=value, as in year=2024.")
        found.setdefault(key.strip(), []).append(value.strip())
    metadata: dict[str, MetadataValue] = {}
    for key, values in found.items():
        texts = [value[1:-1] if re.fullmatch(r'".*"', value, re.S) else value for value in values]
        is_text = len(values) > 1 or texts != values
        metadata[key] = texts if len(texts) > 1 else texts[0] if is_text else parse_value(values[0])
    return check_metadata(metadata)


def parse_value(text: str) -> str | int | float | bool:
    """A number or truth value where the text spells one so that nothing is lost, else the text.

    `007` and `1.10` stay text: as numbers they would read 7 and 1.1.
    """
    if text in ("true", "false"):
        return text == "true"
    if not _NUMBER.fullmatch(text):
        return text
    if "." in text:
        return float(text) if repr(float(text)) == text else text
    number = int(text) if len(text) < 20 else MAX_INTEGER + 1
    return number if abs(number) <= MAX_INTEGER and text != "-0" else text


def check_metadata(values: Mapping[str, object]) -> dict[str, MetadataValue]:
    """User metadata that can be stored and filtered by; null values are left out.

    Raises `InputError`, naming the key, for one that is reserved or that no filter could name, and for a value of
    another kind than text, number, true, false or a list of texts.
    """
    for key in values:
        if key in RESERVED:
            raise InputError(f"metadata {key!r} is what the index itself says of a document. Choose another name.")
        if not is_name(key):
            raise InputError(f"metadata {key!r} has a name that no filter could spell. Use letters, digits and _.")
    return {key: _checked_value(key, value) for key, value in values.items() if value is not None}


def is_name(key: str) -> bool:
    """Whether a filter can name a field so: a letter or `_`, then no spaces, quotes, commas or signs; but not `not`."""
    return _NAME.fullmatch(key) is not None


def is_value(value: object) -> bool:
    """Whether a value can be stored and filtered by: text, a number within 64 bits, true, false or a list of texts."""
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, list):
        return all(isinstance(item, str) and is_storable(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and abs(value) <= MAX_INTEGER


def is_storable(text: str) -> bool:
    """Whether text can be written as UTF-8: JSON's escapes allow half a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def read_sidecar(path: str) -> dict[str, MetadataValue]:
    """The metadata in the sidecar of the document at `path`; empty where there is none.

    Raises `InputError`, naming the sidecar, where it can't be read, isn't a JSON object or holds what
    `check_metadata` refuses.
    """
    sidecar = path + SIDECAR
    if not os.path.lexists(sidecar):
        return {}
    try:
        values = json.loads(read_file(sidecar, MAX_SIDECAR_BYTES).decode("utf-8-sig"))
        if not isinstance(values, dict):
            raise InputError(f"isn't a JSON object but a {type(values).__name__}.")
        return check_metadata(values)
    except InputError as error:
        raise InputError(f"its sidecar {SIDECAR}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"its sidecar {SIDECAR} isn't JSON in UTF-8: {error}") from None


def _checked_value(key: str, value: object) -> MetadataValue:
    if key == "title" and not isinstance(value, str):
        raise InputError(f"metadata 'title' must be text, not {json.dumps(value)[:60]}.")
    if not is_value(value):
        raise InputError(
            f"metadata {key!r} is of a kind that can't be filtered by: {json.dumps(value)[:60]}. "
            "Use text, a number, true, false or a list of texts."
        )
    return value  # type: ignore[return-value]

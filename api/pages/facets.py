"""Filters to choose from: the metadata that a search's best passages have in common."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core.types import Chunk, MetadataValue

COUNTED = 50  # of the best passages: read without their vectors, that takes a few milliseconds
MAX_VALUES = 6  # of a field, the most frequent ones
MAX_FIELDS = 6
MAX_VALUE_CHARACTERS = 60
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a field, how many of the counted passages have it, and the filter that leaves only those."""

    label: str
    n: int
    condition: str


@dataclass(frozen=True, slots=True)
class Facet:
    """A field with its most frequent values."""

    field: str
    values: tuple[Value, ...]


def facets(chunks: Sequence[Chunk], fields: Mapping[str, str]) -> list[Facet]:
    """What passages can be narrowed down by: fields with several values, some of which several passages have.

    `fields` are those that filters know. Values by falling count, ties by name.
    """
    found = []
    for field in sorted(name for name in fields if _NAME.fullmatch(name)):
        counts = Counter(value for chunk in chunks for value in _values(chunk.metadata.get(field)) if _is_short(value))
        if 1 < len(counts) < sum(counts.values()):
            best = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))[:MAX_VALUES]
            found.append(Facet(field, tuple(Value(_label(v), n, condition(field, v)) for v, n in best)))
    return found[:MAX_FIELDS]


def condition(field: str, value: str | int | float | bool) -> str:
    """The filter for a field's value."""
    return f"{field} = {json.dumps(value, ensure_ascii=False)}"


def joined(conditions: Sequence[str]) -> str:
    """One filter of several, all of which must hold."""
    given = [part for part in conditions if part.strip()]
    return given[0] if len(given) == 1 else " and ".join(f"({part})" for part in given)


def _values(value: MetadataValue | None) -> list:
    listed = value if isinstance(value, list) else [] if value is None else [value]
    return list(dict.fromkeys(listed))


def _is_short(value: object) -> bool:
    text = str(value)
    return bool(text.strip()) and text.isprintable() and len(text) <= MAX_VALUE_CHARACTERS


def _label(value: object) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Chip:
    """A chosen condition, and the others, which stay when it is removed."""

    condition: str
    others: tuple[str, ...]


def condition_chips(chosen: Sequence[str]) -> list[Chip]:
    """The chosen conditions, each once."""
    distinct = tuple(dict.fromkeys(part for part in chosen if part.strip()))
    return [Chip(part, tuple(other for other in distinct if other != part)) for part in distinct]

"""Which fields of a foreign record are a document's id, title, text and metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from core.errors import InputError
from core.types import MetadataValue
from ingest.sources.metadata import RESERVED, is_name, is_storable, is_value, parse_value

MAX_LABEL_CHARS = 500  # longer text is no value to filter by, and every chunk would carry it
MAX_FIELDS = 1000  # metadata fields of one record
_TARGETS = ("id", "title", "text", "metadata")
_UNNAMEABLE = re.compile(r"""[\s"'<>=!(),]+""")  # what a filter can't spell in a field's name


class ForeignRecord(InputError):
    """A record lacks what every record of its file should have: it is of another kind."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What a record holds. `id` is "" where none is mapped."""

    id: str
    title: str
    text: str
    metadata: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FieldMap:
    """Fields to read, each a name or a dotted path: `author.name` is `name` in the object, or the objects, `author`.

    Texts of several fields are joined by blank lines, titles by spaces. `metadata` None takes every other field of the
    top level whose value can be filtered by: numbers, truth values, texts up to `MAX_LABEL_CHARS` and lists of texts.
    """

    text: tuple[str, ...]
    title: tuple[str, ...] = ()
    id: str = ""
    metadata: tuple[str, ...] | None = None

    def names(self) -> set[str]:
        """Every field that is read on purpose."""
        return {*self.text, *self.title, *(self.metadata or ()), *([self.id] if self.id else [])}

    def apply(self, record: Mapping[str, object], is_table: bool = False) -> Fields:
        """The record's fields; a table's cells become numbers and truth values where they spell one.

        Metadata names are made such that a filter can spell them: `_` for spaces, and in front of numbers and of names
        that the index itself uses.

        Raises `ForeignRecord` where the mapped id, or both text and title, aren't there; `InputError` where they are
        empty or unusable, and for metadata that can't be stored.
        """
        texts, titles = _texts(record, self.text), _texts(record, self.title)
        if texts is None and titles is None:
            raise ForeignRecord(f"lacks {_named(self.text)}; its fields are {_named(record)}")
        found = Fields(
            id=self._id(record),
            title=" ".join(" ".join(titles or ()).split()),
            text="\n\n".join(texts or ()),
            metadata=self._metadata(record, is_table),
        )
        if not found.text.strip() and not found.title:
            raise InputError("has neither text nor title")
        return found

    def _id(self, record: Mapping[str, object]) -> str:
        if not self.id:
            return ""
        values = _texts(record, (self.id,))
        if values is None:
            raise ForeignRecord(f"lacks {_named([self.id])}; its fields are {_named(record)}")
        if not values or not values[0].strip() or not is_storable(values[0]):
            raise InputError(f"has no usable id in {_named([self.id])}")
        return values[0]

    def _metadata(self, record: Mapping[str, object], is_table: bool) -> dict[str, MetadataValue]:
        found: dict[str, MetadataValue] = {}
        for name, value in self._chosen(record):
            typed = parse_value(value) if is_table and isinstance(value, str) else value
            key = _UNNAMEABLE.sub("_", name.strip())
            if key and typed not in (None, "", []):
                is_free = is_name(key) and key not in (*RESERVED, "title")
                found[key if is_free else f"_{key}"] = typed  # type: ignore[assignment]
        if len(found) > MAX_FIELDS:
            raise InputError(f"has {len(found)} metadata fields, more than {MAX_FIELDS}; name those wanted: metadata=…")
        return found

    def _chosen(self, record: Mapping[str, object]) -> Iterator[tuple[str, object]]:
        if self.metadata is None:
            used = {name if name in record else name.partition(".")[0] for name in self.names()}
            for name, value in record.items():
                is_long = isinstance(value, str) and len(value) > MAX_LABEL_CHARS
                if name not in used and is_value(value) and not is_long:
                    yield name, value
            return
        for name in self.metadata:
            values = _look_up(record, name) or []
            value = [str(item) for item in values] if len(values) > 1 else next(iter(values), None)
            if value is not None and not is_value(value):
                raise InputError(f"has metadata {name!r} of a kind that can't be stored")
            yield name, value


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """The mapping that `id=docno`, `text=title,body` … spell, as `field_map` takes it; repeated targets are joined.

    Raises `InputError` for a pair without `=`.
    """
    fields: dict[str, str] = {}
    for pair in pairs:
        target, equals, names = pair.partition("=")
        if not equals:
            raise InputError(f"{pair!r} isn't of the form FIELD=NAME, as in text=body.")
        target = target.strip()
        fields[target] = f"{fields[target]},{names}" if target in fields else names
    return fields


def field_map(fields: Mapping[str, str]) -> FieldMap:
    """The map that names, for `id`, `title`, `text` and `metadata`, the fields to read, separated by commas.

    Raises `InputError` for another target, more than one id, or a mapping without a text.
    """
    names = {target: tuple(filter(None, map(str.strip, value.split(",")))) for target, value in fields.items()}
    unknown = sorted(set(names) - set(_TARGETS))
    if unknown:
        raise InputError(f"{unknown[0]!r} can't be mapped. What can: {', '.join(_TARGETS)}, as in text=body.")
    if not names.get("text"):
        raise InputError("A mapping must say which field holds the text, as in text=body.")
    if len(names.get("id", ())) > 1:
        raise InputError(f"An id is one field, not {len(names['id'])}: {', '.join(names['id'])}.")
    return FieldMap(names["text"], names.get("title", ()), "".join(names.get("id", ())), names.get("metadata"))


def _texts(record: Mapping[str, object], names: Iterable[str]) -> list[str] | None:
    """What the fields hold as texts, blank ones left out; None where none of them is there."""
    found = [values for name in names if (values := _look_up(record, name)) is not None]
    if not found:
        return None
    return [str(value) for values in found for value in values if not isinstance(value, bool) and str(value).strip()]


def _look_up(record: object, name: str) -> list[object] | None:
    """The plain values of a field, those of a list one by one; None where the field isn't there."""
    if isinstance(record, list):
        found = [values for item in record if (values := _look_up(item, name)) is not None]
        return [value for values in found for value in values] if found else None
    if not isinstance(record, Mapping):
        return None
    if name in record:
        value = record[name]
        items = value if isinstance(value, list) else [value]
        return [item for item in items if isinstance(item, str | int | float)]
    head, dot, rest = name.partition(".")
    return _look_up(record[head], rest) if dot and head in record else None


def _named(names: Iterable[str]) -> str:
    shown = [f"`{name[:40]}`" for name in list(names)[:20]]
    return ", ".join(shown) or "none"

"""What a source says of itself, under the same names and in the same form whatever its format.

`author` is a string, or a list of strings where there are several. `language` is the primary subtag of its language
tag, in lower case ("en" for "en-GB"). `created` and `modified` are ISO 8601 strings, in UTC where the source gives an
offset, as precise as the source is. Since filters order numbers only, each comes with its day as a number:
`created_day >= 20240101`; an unknown month or day counts as 00.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from core.types import MetadataValue

MAX_FIELDS = 200  # that nested metadata is flattened to; a page states a dozen
MAX_INTEGER = 2**63 - 1  # what a store's payload can hold

_PARTIAL = re.compile(r"(\d{4})(?:-(\d\d))?$")
_PDF = re.compile(r"D:(\d{4})(\d\d)(\d\d)(\d\d)?(\d\d)?(\d\d)?(?:Z|([+-]\d\d)'?(\d\d)?)?")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WRITTEN = re.compile(r"(?:(\d{1,2})\.? )?([A-Za-z]{3,9})\.?(?: (\d{1,2}),?)? (\d{4})$")
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_.]|$)")


def describe(
    author: str | Iterable[str] = (), created: object = "", modified: object = "", language: str = "", **others: object
) -> dict[str, MetadataValue]:
    """The fields that are known; what can't be read as a date or a language is left out, as are empty values."""
    fields: dict[str, MetadataValue] = {}
    authors = [author] if isinstance(author, str) else author
    names = list(dict.fromkeys(name for name in (" ".join(str(each).split()) for each in authors) if name))
    if names:
        fields["author"] = names[0] if len(names) == 1 else names
    for name, value in (("created", created), ("modified", modified)):
        if date := iso_date(value):
            fields[name] = date
            fields[f"{name}_day"] = int((date[:10].replace("-", "") + "0000")[:8])
    if found := _LANGUAGE.match(language.strip()):
        fields["language"] = found[1].lower()
    for name, value in others.items():
        kept = list(dict.fromkeys(filter(None, value))) if isinstance(value, list) else value
        if kept not in ("", None, []):
            fields[name] = kept  # type: ignore[assignment]
    return fields


def iso_date(value: object) -> str:
    """A date as an ISO 8601 string, "" for what isn't one.

    Reads ISO 8601, the forms of PDF and e-mail, and English dates in words ("4 March 2021", "March 4, 2021").
    """
    if isinstance(value, datetime.date):  # a datetime is one
        return _written(value)
    text = " ".join(str(value or "").split())
    if found := _PARTIAL.match(text):
        return text if "01" <= (found[2] or "01") <= "12" else ""
    try:
        if found := _PDF.match(text):
            *parts, hours, minutes = found.groups()
            zone = datetime.timezone(datetime.timedelta(hours=int(hours), minutes=int(minutes or 0))) if hours else None
            return _written(datetime.datetime(*(int(part or 0) for part in parts), tzinfo=zone or datetime.UTC))
        if found := _WRITTEN.match(text):
            month = _MONTHS.index(found[2][:3].lower()) + 1
            day = found[1] or found[3]
            return f"{datetime.date(int(found[4]), month, int(day or 1))}"[: 10 if day else 7]
        is_day = len(text) == 10 and text[4] in "-/"
        if is_day:
            return str(datetime.date.fromisoformat(text.replace("/", "-")))
        return _written(datetime.datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        pass
    try:
        return _written(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""


def _written(value: datetime.date) -> str:
    if not isinstance(value, datetime.datetime):
        return value.isoformat()
    if value.tzinfo is None:
        return value.isoformat(timespec="seconds")
    return value.astimezone(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def flatten(tree: Mapping[object, object]) -> dict[str, MetadataValue]:
    """Nested fields under dotted names in lower case, as values that can be stored: `{"a": {"b": 1}}` is `{"a.b": 1}`.

    The names inside a list of mappings gather their values in lists. What is empty, or beyond the first `MAX_FIELDS`
    values (a few lines of YAML can stand for billions), is left out.
    """
    fields: dict[str, MetadataValue] = {}
    pending: list[tuple[str, object, bool]] = [(str(name), value, False) for name, value in tree.items()]
    pending.reverse()
    for _ in range(MAX_FIELDS * 5):
        if not pending or len(fields) >= MAX_FIELDS:
            break
        name, value, is_listed = pending.pop()
        name = name.strip().lower()
        if isinstance(value, Mapping):
            pending += [
                (f"{name}.{key}", inner, is_listed) for key, inner in reversed(list(value.items())[:MAX_FIELDS])
            ]
        elif isinstance(value, list | tuple | set):
            fields.setdefault(name, [])
            pending += [(name, inner, True) for inner in reversed(list(value)[:MAX_FIELDS])]
        elif value is not None and value != "":
            scalar = storable(value)
            if is_listed:
                known = fields.setdefault(name, [])
                if isinstance(known, list):
                    known.append(str(scalar))
            else:
                fields[name] = scalar
    return {name: value for name, value in fields.items() if value != []}


def storable(value: object) -> MetadataValue:
    """A scalar as the store can hold it: dates as ISO 8601, whole numbers beyond 64 bits and all else as text."""
    if isinstance(value, str | bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_INTEGER else str(value)
    return iso_date(value) if isinstance(value, datetime.date) else str(value)


def described_by(fields: Mapping[str, MetadataValue]) -> dict[str, MetadataValue]:
    """The common names for what front matter or a docinfo calls otherwise (`authors`, `date`, `lang` …)."""

    def first(*names: str) -> object:
        return next((fields[name] for name in names if fields.get(name)), "")

    author = first("author", "authors", "author.name", "authors.name", "creator")
    return describe(
        author=author if isinstance(author, list) else str(author),
        created=first("created", "date", "published", "pubdate"),
        modified=first("modified", "updated", "lastmod", "last_modified"),
        language=str(first("language", "lang", "locale")),
    )

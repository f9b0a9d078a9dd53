"""A finding's evidence as rows for readers: whatever a check gives, texts as passages and all else as facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

LONG = 60  # characters from which a string is a passage to read and not a fact
SHOWN = 3  # of a list of passages
TERMS_SHOWN = 12
LEFT_OUT = {"null", "member_ids", "document_id", "chunk_id", "note"}
LABELS = {
    "left": "First part",
    "right": "Second part",
    "unread_text": "Unread",
    "text": "Passage",
    "members": "Member",
    "sentences": "Repeated",
    "dense_ndcg10": "nDCG@10 by vectors",
    "lexical_ndcg10": "nDCG@10 by words",
    "split_at": "split at character",
}
TEXTS = {"left", "right", "unread_text", "text", "terms", "reading"}


@dataclass(frozen=True, slots=True)
class Row:
    """`value` is a passage of the corpus or a sentence where `is_text`, else something short."""

    label: str
    value: str
    is_text: bool = False


def number(value: object, digits: int = 2) -> str:
    """A number for readers: thousands apart, few decimals, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) >= 10):
        return f"{int(value):,}".replace("-", "−")
    shown = f"{value:.{digits}f}"
    if not float(shown) and value:
        shown = f"{value:.1g}"
    return shown.replace("-", "−")


def label(name: str) -> str:
    """What readers call a field."""
    return LABELS.get(name) or name.removeprefix("n_").replace("_", " ")


def rows_of(evidence: Mapping[str, object]) -> list[Row]:
    """All evidence that readers can use, passages first, in the order given; ids of chunks are left out."""
    rows = [row for name, value in evidence.items() if _is_shown(name) for row in _rows(name, value)]
    return sorted(rows, key=lambda row: not row.is_text)


def _is_shown(name: str) -> bool:
    return name not in LEFT_OUT and not name.endswith("_ids")


def _rows(name: str, value: object) -> Iterator[Row]:
    if isinstance(value, str):
        yield Row(label(name), value, name in TEXTS or len(value) > LONG)
    elif isinstance(value, Mapping):
        for inner, item in value.items():
            if _is_shown(inner):
                for row in _rows(inner, item):
                    yield Row(f"{label(name)}: {row.label}", row.value, row.is_text)
    elif isinstance(value, Sequence):
        yield from _listed(name, value)
    elif isinstance(value, bool):
        yield Row("", label(name) if value else f"{label(name)}: no")
    elif name.startswith("n_"):
        yield Row("", f"{number(value)} {label(name) if value != 1 else _singular(label(name))}")
    else:
        yield Row(label(name), number(value))


def _singular(plural: str) -> str:
    return plural.removesuffix("ies") + "y" if plural.endswith("ies") else plural.removesuffix("s")


def _listed(name: str, values: Sequence) -> Iterator[Row]:
    if not values:
        return
    if all(isinstance(value, Mapping) for value in values):
        for value in values[:SHOWN]:
            strings = {inner: item for inner, item in value.items() if isinstance(item, str) and item}
            longest = max(strings, key=lambda inner: len(strings[inner]), default=None)
            if longest is not None:
                called = next((strings[n] for n in ("document_id", "chunk_id") if n in strings and n != longest), "")
                yield Row(called or label(name), strings[longest], True)
    elif all(isinstance(value, list) for value in values):
        for place, value in enumerate(values, start=1):
            yield Row(f"{label(name)} {place}", ", ".join(map(number, value[:TERMS_SHOWN])), name in TEXTS)
        return
    elif any(isinstance(value, str) and len(value) > LONG for value in values) or name == "sentences":
        for value in values[:SHOWN]:
            yield Row(label(name), number(value), True)
    else:
        more = f" and {len(values) - TERMS_SHOWN:,} more" if len(values) > TERMS_SHOWN else ""
        yield Row(label(name), ", ".join(map(number, values[:TERMS_SHOWN])) + more, name in TEXTS)
        return
    if len(values) > SHOWN:
        yield Row(f"{label(name)}: not shown", number(len(values) - SHOWN))

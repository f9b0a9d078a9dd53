"""Colourings of a map: each point gets one of a few labels, by source, topic, finding, metadata or place on an axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.types import Chunk
from eval.kinds import kind_of, ordered

MAX_LABELS = 8  # colours that a reader can still tell apart, the last one for all the rest
N_BANDS = 7  # of numbers, as many shades
MAX_FIELDS = 6  # metadata fields that are offered without being asked for
OTHER_SOURCES, OTHER, NONE = "other sources", "other", "–"
BUILT_IN = ("source", "topic", "finding", "place")


@dataclass(frozen=True, slots=True)
class Colouring:
    """Point i has the label `labels[of[i]]`. Ordered labels run from low to high; `rest` is that of all the rest."""

    name: str
    title: str
    labels: tuple[str, ...]
    of: tuple[int, ...]
    is_ordered: bool = False
    rest: str = ""


def check_colour(name: str | None, fields: Collection[str], has_axis: bool) -> None:
    """Raises InputError where a map can't be coloured by this, listing what it can be coloured by."""
    known = [*BUILT_IN, *(["axis"] if has_axis else []), *sorted(map(field_colour, fields))]
    if name is not None and name not in known:
        raise InputError(f'Can\'t colour the map by "{name}". Use {", ".join(known)}.')


def field_colour(field: str) -> str:
    """The name of the colouring by a metadata field: its own, unless that means something else."""
    return f"metadata.{field}" if field in (*BUILT_IN, "axis") else field


def by_source(chunks: Sequence[Chunk]) -> Colouring:
    """By folder where there are several, else by document; small ones are "other sources"."""
    folders = [source_of(chunk) for chunk in chunks]
    names = folders if len(set(folders)) > 1 else [chunk.title or chunk.document_id for chunk in chunks]
    return categories("source", "source", [name or "(no folder)" for name in names], OTHER_SOURCES)


def source_of(chunk: Chunk) -> str:
    """The folder of a chunk's address; empty where it has none."""
    return chunk.uri.rpartition("/")[0]


def by_topic(topics: Sequence[int | None], names: Mapping[int, str]) -> Colouring:
    """By cluster of the vectors, named by its characteristic words."""
    return categories("topic", "topic", [NONE if t is None else names.get(t, f"topic {t + 1}") for t in topics], OTHER)


def by_finding(kinds: Sequence[Sequence[str]]) -> Colouring:
    """By the gravest kind of finding."""
    labels = [kind_of(ordered(some)[0]).singular if some else "no finding" for some in kinds]
    order = [kind_of(kind).singular for kind in ordered(kind for some in kinds for kind in some)]
    return categories("finding", "finding", labels, "no finding", [*order[: MAX_LABELS - 1]])


def by_place(is_unstable: NDArray[np.bool_]) -> Colouring:
    """By whether another start would have placed the point elsewhere."""
    labels = ["place depends on the start" if moved else "stable place" for moved in is_unstable]
    return categories("place", "how sure the place is", labels, "stable place", ["place depends on the start"])


def by_field(field: str, values: Sequence[object]) -> Colouring:
    """By a metadata field: numbers in bands of equally many points, all else by value; lists by their first."""
    firsts = [value[0] if isinstance(value, list | tuple) and value else value for value in values]
    present = [value for value in firsts if value is not None and value != []]
    is_number = all(isinstance(v, int | float) and not isinstance(v, bool) for v in present)
    name = field_colour(field)
    if is_number and len(set(present)) >= MAX_LABELS:
        return bands(name, field, np.array([np.nan if v is None or v == [] else float(v) for v in firsts]))
    return categories(name, field, [NONE if v is None or v == [] else str(v) for v in firsts], OTHER)


def offered_fields(metadata: Iterable[Mapping[str, object]], asked: str | None) -> list[str]:
    """Fields to colour by: the one asked for, and the first six that have more than one value and repeat some."""
    values: dict[str, Counter[str]] = {}
    rows = list(metadata)
    for fields in rows:
        for name, value in fields.items():
            values.setdefault(name, Counter())[str(value)] += 1
    telling = [name for name, counts in values.items() if 1 < len(counts) <= len(rows) / 2]
    chosen = sorted(telling)[:MAX_FIELDS]
    wanted = [name for name in values if field_colour(name) == asked and name not in chosen]
    return chosen + wanted


def categories(
    name: str, title: str, labels: Sequence[str], rest: str, order: Sequence[str] | None = None
) -> Colouring:
    """Labels by falling count (ties by name), or those of `order`; beyond seven of more than eight all are `rest`."""
    if order is None:
        counts = sorted(Counter(labels).items(), key=lambda item: (item[0] in (rest, NONE), -item[1], item[0]))
        order = [label for label, _ in (counts if len(counts) <= MAX_LABELS else counts[: MAX_LABELS - 1])]
    places = {label: place for place, label in enumerate(order)}
    if any(label not in places for label in labels):
        places[rest] = len(order)
    of = tuple(places.get(label, places.get(rest, 0)) for label in labels)
    return Colouring(name, title, tuple(places), of, rest=rest if rest in places else NONE if NONE in places else "")


def bands(name: str, title: str, scores: NDArray[np.floating]) -> Colouring:
    """Up to seven bands of equally many points, by their bounds; equal scores share one, NaN has a label of its own."""
    known = scores[~np.isnan(scores)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BANDS + 1)))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    digits = 0 if np.all(known == np.round(known)) and np.ptp(known) >= N_BANDS else 2
    sign = "+" if known.min() < 0 else ""
    labels = tuple(f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}" for low, high in pairwise(edges))
    places = np.clip(np.searchsorted(edges, np.nan_to_num(scores), side="right") - 1, 0, len(labels) - 1)
    if len(known) == len(scores):
        return Colouring(name, title, labels, tuple(places.tolist()), is_ordered=True)
    places[np.isnan(scores)] = len(labels)
    return Colouring(name, title, (*labels, NONE), tuple(places.tolist()), is_ordered=True, rest=NONE)

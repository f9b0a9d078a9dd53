"""A map of chunks or documents in the plane. Every verdict is computed in the original space; the map only shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.types import Chunk
from eval.diagnose import Diagnosis
from eval.map.colours import (
    Colouring,
    bands,
    by_field,
    by_finding,
    by_place,
    by_source,
    by_topic,
    check_colour,
    offered_fields,
    source_of,
)
from eval.map.honesty import Honesty, assess
from eval.map.layout import Layout, check_method, lay_out
from eval.neighbours import nearest_rows
from eval.recall import Recall, compute
from eval.sample import Sample, normalized
from eval.subjects import chunks_of_flags

__all__ = ["UNITS", "Colouring", "CorpusMap", "MapOptions", "PlacedQuery", "check_colour", "check_method", "draw_map"]

UNITS = ("chunks", "documents")
MAX_POINTS = 50_000  # what a browser draws without a pause
QUERY_NEIGHBORS = 5
NAMED_BY = 3  # words of a topic


@dataclass(frozen=True, slots=True)
class MapOptions:
    """What to draw. `colour` is the colouring shown first; `axis` a score for each chunk, shape (n_chunks,).

    `queries` are (id, text) with `query_vectors` in the same order, float32, shape (n_queries, dim): they are placed on
    the finished map and don't shape it.
    """

    unit: str = "chunks"
    method: str = "tsne"
    colour: str | None = None
    axis: NDArray[np.floating] | None = None
    queries: Sequence[tuple[str, str]] = ()
    query_vectors: NDArray[np.float32] | None = None
    limit: int = MAX_POINTS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PlacedQuery:
    """A query on the map, and the nearest points in the original space."""

    query_id: str
    text: str
    position: tuple[float, float]
    nearest: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CorpusMap:
    """Places of chunks or documents on the map.

    `members[i]` are the chunks of point i, indices into the sample; `positions`: float32, shape (n, 2), within [0, 1].
    `links[i]` are the points that flag i is about. `n_total` counts what could have been drawn.
    """

    unit: str
    method: str
    members: tuple[tuple[int, ...], ...]
    positions: NDArray[np.float32]
    colour: str
    colourings: tuple[Colouring, ...]
    honesty: Honesty
    links: tuple[tuple[int, ...], ...]
    queries: tuple[PlacedQuery, ...]
    n_total: int
    note: str


def draw_map(
    diagnosis: Diagnosis,
    options: MapOptions | None = None,
    progress: Callable[[str], None] | None = None,
    recall: Recall = compute,
) -> CorpusMap:
    """The map of the chunks, or of documents by the mean of their chunks' vectors: the same for the same arguments.

    Neighbours are exact, the start is fixed. Above `limit` points a sample is drawn that keeps each source's share.
    `recall` may know the places from an earlier map of the same vectors.
    Raises InputError for an unknown unit, method or colour, DependencyError where the method's library is absent.
    """
    options = options or MapOptions()
    if options.unit not in UNITS:
        raise InputError(f'Unknown map "{options.unit}". Use {" or ".join(UNITS)}.')
    sample = diagnosis.sample
    check_method(options.method)
    check_colour(options.colour, {f for chunk in sample.chunks for f in chunk.metadata}, options.axis is not None)
    say = progress or (lambda _: None)
    everything = _members(sample, options.unit)
    members = _stratified(sample, everything, options.limit)
    vectors = _mean_vectors(sample, members)
    layout, honesty = _laid_out(vectors, options, say, recall)
    ends = layout.places if members else np.zeros((1, 2))
    low, high = ends.min(axis=0), ends.max(axis=0)
    centre, width = (low + high) / 2, max(float((high - low).max()), 1e-9)
    point_of = {chunk: point for point, some in enumerate(members) for chunk in some}
    links = tuple(
        tuple(sorted({point_of[chunk] for chunk in chunks if chunk in point_of}))
        for chunks in chunks_of_flags(diagnosis)
    )
    return CorpusMap(
        unit=options.unit,
        method=options.method,
        members=members,
        positions=_within((layout.places - centre) / width, layout.is_line),
        colour=options.colour or ("source" if options.axis is None else "axis"),
        colourings=_colourings(diagnosis, members, links, honesty, options),
        honesty=honesty,
        links=links,
        queries=_place_queries(options, layout, vectors, centre, width),
        n_total=len(everything),
        note=_note(options.unit, len(members), len(everything), layout.is_line),
    )


def _laid_out(
    vectors: NDArray[np.float32], options: MapOptions, say: Callable[[str], None], recall: Recall
) -> tuple[Layout, Honesty]:
    fresh: list[Layout] = []

    def make() -> dict[str, object]:
        say("placing points")
        fresh.append(lay_out(vectors, options.method, options.seed))
        say("checking the map")
        return {"places": fresh[0].places.tolist(), "honesty": assess(vectors, fresh[0], options.seed).to_json()}

    of = blake2b(f"{vectors.shape} {options.seed} ".encode() + vectors.tobytes(), digest_size=16).hexdigest()
    made = recall(f"map-{options.method}-{options.unit}", of, make)
    places = np.array(made["places"], dtype=np.float64).reshape(-1, 2)
    layout = fresh[0] if fresh else lay_out(vectors, options.method, options.seed, places)
    return layout, Honesty.from_json(made["honesty"])


def _within(centred: NDArray[np.float64], is_line: bool) -> NDArray[np.float32]:
    return (0.5 + (centred * 0.9 if is_line else centred)).astype(np.float32)


def _members(sample: Sample, unit: str) -> list[tuple[int, ...]]:
    """The chunks of every point that could be drawn."""
    if unit == "chunks":
        return [(i,) for i in range(len(sample))]
    documents: dict[str, list[int]] = {}
    for i, chunk in enumerate(sample.chunks):
        documents.setdefault(chunk.document_id, []).append(i)
    return [tuple(chunks) for chunks in documents.values()]


def _mean_vectors(sample: Sample, members: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
    means = [sample.vectors[list(chunks)].mean(axis=0) for chunks in members]
    return normalized(np.stack(means) if means else np.zeros((0, sample.vectors.shape[1])))


def _stratified(sample: Sample, members: list[tuple[int, ...]], limit: int) -> tuple[tuple[int, ...], ...]:
    """Every n/limit-th point in the order of sources and documents, so that each keeps its share; in document order."""
    if len(members) <= limit:
        return tuple(members)
    by_sources = sorted(range(len(members)), key=lambda i: (source_of(sample.chunks[members[i][0]]), i))
    drawn = np.linspace(0, len(members) - 1, limit).round().astype(np.int64)
    return tuple(members[i] for i in sorted(by_sources[place] for place in drawn))


def _note(unit: str, n: int, n_total: int, is_line: bool) -> str:
    note = f"All {n:,} {unit}." if n == n_total else f"{n:,} of {n_total:,} {unit}, each source by its share."
    return note + (f" Too few different {unit} for a map: they are listed on a line." if is_line else "")


def _colourings(
    diagnosis: Diagnosis,
    members: Sequence[tuple[int, ...]],
    links: Sequence[tuple[int, ...]],
    honesty: Honesty,
    options: MapOptions,
) -> tuple[Colouring, ...]:
    firsts: list[Chunk] = [diagnosis.sample.chunks[some[0]] for some in members]
    kinds: list[list[str]] = [[] for _ in members]
    for flag, points in zip(diagnosis.flags, links, strict=True):
        for point in points:
            kinds[point].append(flag.kind)
    made = [by_source(firsts)]
    topics, names = _topics(diagnosis)
    if names:
        made.append(by_topic([topics[some[0]] for some in members], names))
    made += [by_finding(kinds), by_place(honesty.is_unstable)]
    if options.axis is not None:
        scores = np.asarray(options.axis, dtype=np.float64)
        made.append(bands("axis", "place on the axis", np.array([scores[list(some)].mean() for some in members])))
    for field in offered_fields((chunk.metadata for chunk in firsts), options.colour):
        made.append(by_field(field, [chunk.metadata.get(field) for chunk in firsts]))
    return tuple(made)


def _topics(diagnosis: Diagnosis) -> tuple[list[int | None], Mapping[int, str]]:
    """The cluster of every chunk, where the diagnosis left it out the one with the nearest mean; names by number."""
    topics = [(row.get("cluster") or {}).get("cluster") for row in diagnosis.scores]
    described = diagnosis.corpus.get("topics", {}).get("clusters") or []
    names = {cluster["cluster"]: ", ".join(cluster["terms"][:NAMED_BY]) for cluster in described}
    left_out = [i for i, topic in enumerate(topics) if topic is None]
    if names and left_out:
        known = np.array([-1 if topic is None else topic for topic in topics])
        vectors, labels = diagnosis.sample.vectors, sorted(set(known.tolist()) - {-1})
        means = normalized(np.stack([vectors[known == label].mean(axis=0) for label in labels]))
        for i, place in zip(left_out, (vectors[left_out] @ means.T).argmax(axis=1).tolist(), strict=True):
            topics[i] = labels[place]
    return topics, names


def _place_queries(
    options: MapOptions, layout, vectors: NDArray[np.float32], centre: NDArray[np.float64], width: float
) -> tuple[PlacedQuery, ...]:
    if options.query_vectors is None or not len(options.queries):
        return ()
    asked = normalized(options.query_vectors)
    places = np.clip(_within((layout.place(asked) - centre) / width, layout.is_line), 0, 1)
    nearest, _ = nearest_rows(asked, vectors, min(QUERY_NEIGHBORS, len(vectors)))
    return tuple(
        PlacedQuery(query_id, text, (float(place[0]), float(place[1])), tuple(points.tolist()))
        for (query_id, text), place, points in zip(options.queries, places, nearest, strict=True)
    )

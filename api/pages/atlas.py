"""The corpus' map on a page: where a query and its hits stand on it, and colours by a concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from core.index import Index
from core.types import Hit
from search.space.axis import ConceptAxis, axis_scores

N_NEAREST = 5  # hits whose places make a query's
N_BANDS = 7  # as many shades as the map's script has for ordered labels
BATCH = 2000


@dataclass(frozen=True, slots=True)
class PlacedQuery:
    """A query on the map: its place, the points that made it, and the points of all hits; best first."""

    text: str
    x: float
    y: float
    nearest: tuple[int, ...]
    hits: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As the page's script takes it."""
        return {"query": [self.text, self.x, self.y, list(self.nearest)], "hits": list(self.hits)}


def place_query(text: str, hits: Sequence[Hit], places: Mapping[str, Any]) -> PlacedQuery | None:
    """The mean place of the nearest hits that are on the map, weighted by their scores; None where none is on it.

    The map isn't laid out anew, so this is where its answers are, not where its vector would be drawn.
    """
    point_of = {chunk_id: point for point, chunk_id in enumerate(places["id"])}
    found = [(point_of[hit.chunk.id], hit.score) for hit in hits if hit.chunk.id in point_of]
    if not found:
        return None
    points, scores = zip(*found[:N_NEAREST], strict=True)
    weights = np.maximum(scores, 0.0)
    if not weights.any():
        weights = np.ones(len(points))
    x, y = (float(np.average([places[axis][point] for point in points], weights=weights)) for axis in "xy")
    return PlacedQuery(text, round(x, 4), round(y, 4), points, tuple(point for point, _ in found))


def axis_colouring(index: Index, toward: str, away: str, places: Mapping[str, Any]) -> dict[str, Any]:
    """A colouring of all points by their place between two texts, as the map's script takes it.

    Raises `InputError` where the texts mean the same.
    """
    axis = ConceptAxis(index, [f"text:{toward}"], [f"text:{away}"]).axis
    ids = places["id"]
    scores = np.full(len(ids), np.nan)
    for start in range(0, len(ids), BATCH):
        vectors = index.store.vectors(ids[start : start + BATCH])
        here = [(start + place, vectors[key]) for place, key in enumerate(ids[start : start + BATCH]) if key in vectors]
        if here:
            rows, found = zip(*here, strict=True)
            scores[list(rows)] = axis_scores(np.array(found), axis)
    labels, of = bands(scores)
    shades = [7 if label == "removed since" else shade for shade, label in enumerate(labels)]
    return {
        "name": "axis",
        "title": f"{away} → {toward}",
        "labels": labels,
        "shades": shades,
        "ordered": True,
        "of": of,
    }


def bands(scores: np.ndarray) -> tuple[list[str], list[int]]:
    """Up to seven bands of equally many scores, by their bounds, and each score's band; NaN has one of its own."""
    known = scores[~np.isnan(scores)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, N_BANDS + 1))) if len(known) else np.array([0.0])
    edges = np.repeat(edges, 2) if len(edges) == 1 else edges
    labels = [f"{low:+.2f} to {high:+.2f}" for low, high in pairwise(edges)]
    of = np.clip(np.searchsorted(edges, np.nan_to_num(scores), side="right") - 1, 0, len(labels) - 1)
    if len(known) < len(scores):
        of[np.isnan(scores)] = len(labels)
        labels.append("removed since")
    return labels, of.tolist()

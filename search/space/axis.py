"""A concept axis: a direction given by two sets of examples, by which passages are ordered, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.index import Index
from core.store import Store
from core.types import Hit
from search.results import hit_json
from search.space.examples import (
    Example,
    Found,
    condition,
    normalised,
    notes_of,
    read_examples,
    read_hits,
    stored_of,
    vectors_of,
    without_copies,
)

MAX_K = 1000
SAMPLE = 2000  # chunks that the share of variance is measured on; ids are hashes, so the first ones are a fair sample
WEAK_AUROC = 0.8  # below it one held-out pair in five or more is out of order
CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Axis:
    """A direction, float32 (dim,), of length 1, with a scale: +1 is the mean of the `toward` examples, −1 the others'.

    `centre` is the dot product of the direction with the point midway between both means, `half_length` half their
    distance.
    """

    direction: np.ndarray
    centre: float
    half_length: float

    def scaled(self, dot: float) -> float:
        """The projection, on the axis' scale, of a vector whose dot product with the direction is `dot`."""
        return (dot - self.centre) / self.half_length


@dataclass(frozen=True, slots=True)
class Trust:
    """How well an axis holds.

    `auroc` is the share of pairs of one example from either side, both held out, that the axis of the others puts in
    order; None with fewer than two examples on a side. `variance_share` is the share of the corpus' variance along the
    axis, None with fewer than two chunks; `average_share` that along an average direction, 1 / dim.
    """

    auroc: float | None
    n_pairs: int
    variance_share: float | None
    average_share: float
    warnings: tuple[str, ...]

    def to_json(self) -> dict:
        """As plain JSON values."""
        return {
            "auroc": self.auroc,
            "pairs": self.n_pairs,
            "variance_share": self.variance_share,
            "average_share": self.average_share,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Placed:
    """A hit and its projection on the axis, on its scale."""

    hit: Hit
    projection: float

    def to_json(self) -> dict:
        """In the form of a search's hit, with `projection`."""
        return {"projection": self.projection} | hit_json(self.hit)


def axis_between(toward: np.ndarray, away: np.ndarray) -> Axis:
    """The axis from the mean of `away` to that of `toward`, both of shape (n, dim), rows of length 1.

    A concept activation vector by difference of means (Kim et al. 2018, "Interpretability Beyond Feature Attribution",
    take a linear classifier's normal; the plain difference needs fewer examples).
    Raises `InputError` where both means are equal.
    """
    ahead, behind = toward.mean(axis=0, dtype=np.float64), away.mean(axis=0, dtype=np.float64)
    direction = normalised(ahead - behind, "Both sides of the axis")
    return Axis(direction, float((ahead + behind) @ direction / 2), float((ahead - behind) @ direction / 2))


def axis_scores(vectors: np.ndarray, axis: Axis) -> np.ndarray:
    """Projections of vectors of shape (n, dim), float64, shape (n,), on the axis' scale."""
    return (vectors.astype(np.float64) @ axis.direction - axis.centre) / axis.half_length


def held_out_auroc(toward: np.ndarray, away: np.ndarray) -> tuple[float | None, int]:
    """The area under the ROC curve by leaving out one pair after the other, and the number of pairs.

    For every pair of one row from either side the axis of all other rows is made; the area is the share of pairs where
    the `toward` row lies further along it, a tie counting half. Leaving out single rows and pooling what they score is
    biased (Airola et al. 2011, "An experimental comparison of cross-validation techniques for estimating the area under
    the ROC curve"). None where a side has fewer than two rows.
    """
    n, m = len(toward), len(away)
    if n < 2 or m < 2:
        return None, 0
    toward, away = toward.astype(np.float64), away.astype(np.float64)
    ahead = (toward.sum(axis=0) - toward) / (n - 1)  # row i: the mean without row i
    behind = (away.sum(axis=0) - away) / (m - 1)
    # (ahead_i − behind_j) · (toward_i − away_j), for all i and j
    gaps = np.sum(ahead * toward, axis=1)[:, None] - ahead @ away.T - toward @ behind.T + np.sum(behind * away, axis=1)
    gaps = np.round(gaps, 6)
    return float(np.mean((gaps > 0) + 0.5 * (gaps == 0))), n * m


def variance_share(vectors: np.ndarray, direction: np.ndarray) -> float | None:
    """The share of the vectors' variance that lies along a direction of length 1; None where there is no variance."""
    total = float(vectors.var(axis=0, dtype=np.float64).sum()) if len(vectors) > 1 else 0.0
    return float((vectors @ direction).var(dtype=np.float64)) / total if total > 0 else None


class ConceptAxis:
    """An axis over one index, made of named examples."""

    def __init__(self, index: Index, toward: Sequence[str], away: Sequence[str]):
        """Examples are named as `read_examples` says, and it raises like that; `InputError` too for an empty side."""
        if not toward or not away:
            raise InputError("An axis needs examples on both sides: give --toward and --away, each at least once.")
        self._index = index
        dimension = index.embedder.dimension
        with index.store.reading():
            self._examples: list[Example] = read_examples(index, [*toward, *away])
            sampled = _sample(index.store, dimension)
        ahead = vectors_of(self._examples[: len(toward)], dimension)
        behind = vectors_of(self._examples[len(toward) :], dimension)
        self.axis = axis_between(ahead, behind)
        self.trust = _trust(ahead, behind, variance_share(sampled, self.axis.direction))
        self.notes = notes_of(self._examples)

    def extremes(self, k: int = 10, where: str | None = None) -> tuple[list[Placed], list[Placed]]:
        """The `k` passages furthest along the axis, and the `k` furthest back; the examples and their copies apart.

        `where` is a filter. Raises `InputError` for k outside [1, 1000] or an unknown filter field.
        """
        if not 1 <= k <= MAX_K:
            raise InputError(f"k is {k}; it must lie between 1 and {MAX_K:,}.")
        with self._index.store.reading():
            return self._furthest(1, k, where), self._furthest(-1, k, where)

    def order(self, hits: Sequence[Hit]) -> list[Placed]:
        """The hits of a search by falling projection, ties in the search's order; each keeps its rank and score."""
        with self._index.store.reading():
            vectors = self._index.store.vectors([hit.chunk.id for hit in hits])
        held = [hit for hit in hits if hit.chunk.id in vectors]
        if not held:
            return []
        scores = axis_scores(np.array([vectors[hit.chunk.id] for hit in held]), self.axis).tolist()
        placed = [Placed(hit, score) for hit, score in zip(held, scores, strict=True)]
        return sorted(placed, key=lambda found: (-round(found.projection, 6), found.hit.rank))

    def _furthest(self, sign: int, k: int, where: str | None) -> list[Placed]:
        store, target = self._index.store, sign * self.axis.direction
        only = condition(self._index, where, self._examples)

        def find(limit: int) -> Found:
            return store.candidates(target, None, limit, only).dense

        ranked = without_copies(store, find, k, stored_of(self._examples, len(target)))
        hits = read_hits(store, ranked, target[None])  # scored by the dot product with `target`
        return [Placed(hit, self.axis.scaled(sign * hit.score)) for hit in hits]


def _sample(store: Store, dimension: int) -> np.ndarray:
    parts = [np.zeros((0, dimension), np.float32)]
    for batch in store.scan():
        parts.append(np.array(list(store.vectors([stored.chunk.id for stored in batch]).values())))
        if sum(map(len, parts)) >= SAMPLE:
            break
    return np.concatenate(parts)


def _trust(toward: np.ndarray, away: np.ndarray, share: float | None) -> Trust:
    auroc, n_pairs = held_out_auroc(toward, away)
    average = 1 / toward.shape[1]
    n, m = len(toward), len(away)
    n_orders = math.comb(n + m, n)
    warnings = []
    if auroc is None:
        warnings.append("The axis is untested: that needs two examples or more on each side.")
    elif auroc < WEAK_AUROC:
        warnings.append(
            f"The axis is weak: made without them, it puts {auroc:.0%} of the pairs of its own examples in order, and "
            "chance would do that with half. Give examples that differ in the concept and in little else."
        )
    if auroc is not None and 1 / n_orders > CHANCE:
        warnings.append(
            f"{n} and {m} examples are too few to tell: chance alone separates them in 1 of {n_orders} cases. "
            "Three on each side are the least."
        )
    if share is not None and share < average:
        warnings.append(
            f"The corpus hardly varies along this axis ({share:.2%} of its variance, an average direction has "
            f"{average:.2%}): most passages lie close together on it."
        )
    return Trust(auroc, n_pairs, share, average, tuple(warnings))

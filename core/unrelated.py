"""What questions about something else reach in an index: the level above which a similarity says anything.

Cosines have no scale of their own: .4 is far in one encoder's space and near in another's. So questions of everyday
life, kept in `unrelated.txt`, are asked of every index. Most of them have nothing to do with any corpus, and a corpus
that does speak of some is no harm, since only the lower half of what they reach is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Self

import numpy as np

from core.embed import Embedder
from core.sparse import SparseVector
from core.store import Store

DEPTH = 100  # candidates of each question; enough that the best sentence is among them
SIXTEENTH = 0.1587  # the quantile one standard deviation below the mean of a normal distribution
LEAST_SPREAD = 1e-3  # of cosines, where all questions reach the same: an index of one chunk


@dataclass(frozen=True, slots=True)
class Unrelated:
    """Median, and spread below the median, of the best cosine that unrelated questions reach: to chunks, to sentences.

    The spread is the distance from the median to the 15.87% quantile, which is the standard deviation where the
    distribution is normal. `n_chunks` is the size of the index when it was measured.
    """

    chunk: float
    chunk_spread: float
    sentence: float
    sentence_spread: float
    n_chunks: int

    def to_json(self) -> dict:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping) -> Self:
        """From what `to_json` made."""
        return cls(**stored)


@cache
def questions() -> tuple[str, ...]:
    """The questions, one a line in `unrelated.txt`."""
    return tuple(files("core").joinpath("unrelated.txt").read_text(encoding="utf-8").split("\n")[:-1])


def measure_unrelated(store: Store, embedder: Embedder) -> Unrelated:
    """Ask the index every question; without chunks all levels are 0. Half a second on two cores."""
    n_chunks = store.count_chunks()
    vectors = embedder.encode_queries(questions()) if n_chunks else ()
    best = [_best(store, vector) for vector in vectors]
    return unrelated_of(np.array([pair for pair in best if pair]), n_chunks)


def unrelated_of(best: np.ndarray, n_chunks: int) -> Unrelated:
    """The levels of the best cosines of chunk and sentence for every question, float64, shape (n_questions, 2)."""
    if not len(best):
        return Unrelated(0.0, LEAST_SPREAD, 0.0, LEAST_SPREAD, n_chunks)
    median = np.median(best, axis=0)
    spread = np.maximum(median - np.quantile(best, SIXTEENTH, axis=0), LEAST_SPREAD)
    return Unrelated(float(median[0]), float(spread[0]), float(median[1]), float(spread[1]), n_chunks)


def _best(store: Store, vector: np.ndarray) -> tuple[float, float] | None:
    found = store.candidates(vector, None, DEPTH).dense
    if not found:
        return None
    scores = store.score([key for key, _ in found], vector, SparseVector([], []))
    return float(np.nanmax(scores.cosine)), float(np.nanmax(scores.sentence))

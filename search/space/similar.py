"""Search by examples: passages near what is liked and away from what isn't, A − B + C."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import InputError
from core.index import Index
from core.types import Hit
from search.results import hit_json
from search.space.examples import (
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

STRATEGIES = ("arithmetic", "average_vector", "best_score")
MAX_K = 1000


@dataclass(frozen=True, slots=True)
class Similar:
    """What a search by examples returned; a hit's score is what `strategy` gave it."""

    like: tuple[str, ...]
    unlike: tuple[str, ...]
    strategy: str
    took_ms: float
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """As plain JSON values; hits have the form of a search's."""
        answer = {
            "like": list(self.like),
            "unlike": list(self.unlike),
            "strategy": self.strategy,
            "took_ms": round(self.took_ms, 2),
            "hits": [hit_json(hit) for hit in self.hits],
        }
        return answer | ({"notes": list(self.notes)} if self.notes else {})


def combine(like: np.ndarray, unlike: np.ndarray) -> np.ndarray:
    """The sum of `like` minus the sum of `unlike`, normalised: A − B + C; float32, shape (dim,).

    Both have shape (n, dim), rows of length 1. The vector offset of Mikolov, Yih and Zweig 2013, "Linguistic
    Regularities in Continuous Space Word Representations". The engine's strategy `sum_scores` gives the same order.
    Raises `InputError` where nothing is left.
    """
    total = like.sum(axis=0, dtype=np.float64) - unlike.sum(axis=0, dtype=np.float64)
    return normalised(total, "The examples")


def similar(
    index: Index,
    like: Sequence[str],
    unlike: Sequence[str] = (),
    k: int = 10,
    strategy: str = "arithmetic",
    where: str | None = None,
) -> Similar:
    """The `k` passages nearest to what the examples make together; examples are named as `read_examples` says.

    `arithmetic` scores by the cosine to `combine(like, unlike)`; `average_vector` and `best_score` are the engine's
    recommend query, see `core.store.Store.recommend`. Examples from the index aren't returned, nor are all chunks of a
    document among them, nor copies of either. `where` is a filter (see `core.filters`).
    Raises `InputError` for no example at all or none to like where that is needed, k outside [1, 1000], an unknown
    strategy or filter field; and as `read_examples` does.
    """
    started = time.perf_counter()
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}; it must lie between 1 and {MAX_K:,}.")
    if strategy not in STRATEGIES:
        raise InputError(f"Unknown strategy {strategy!r}; use one of {', '.join(STRATEGIES)}.")
    if not like and (not unlike or strategy == "average_vector"):
        raise InputError(f"There is no example to be like, and {strategy} needs one: a chunk, a document or 'text:…'.")
    store, dimension = index.store, index.embedder.dimension
    with store.reading():
        examples = read_examples(index, [*like, *unlike])
        liked = vectors_of(examples[: len(like)], dimension)
        unliked = vectors_of(examples[len(like) :], dimension)
        only = condition(index, where, examples)
        targets = liked if strategy == "best_score" else combine(liked, unliked)[None]

        def find(limit: int) -> Found:
            if strategy == "arithmetic":
                return store.candidates(targets[0], None, limit, only).dense
            return store.recommend(liked, unliked, strategy, limit, only)

        ranked = without_copies(store, find, k, stored_of(examples, dimension))
        hits = read_hits(store, ranked, targets)
    took_ms = (time.perf_counter() - started) * 1000
    return Similar(tuple(like), tuple(unlike), strategy, took_ms, hits, notes_of(examples))

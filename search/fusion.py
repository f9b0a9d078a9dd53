"""Ways to make one ranking of two: pure functions over `{chunk id: score}`.

Every fusion takes the same two legs, `dense` and `sparse`, and returns the fused score of every id in either, with
what each leg contributed to it. Higher is better; an empty leg contributes nothing; order among equals is left to
the caller (`order`, by id).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

RRF_K = 60  # Cormack, Clarke and Büttcher 2009
DBSF_SIGMAS = 3.0  # Qdrant's distribution-based score fusion


@dataclass(frozen=True, slots=True)
class Fused:
    """Fused scores by id, and the normalised scores of either leg that they were made of."""

    scores: Mapping[str, float]
    dense: Mapping[str, float]
    sparse: Mapping[str, float]


def order(scores: Mapping[str, float]) -> list[str]:
    """Ids from the highest score to the lowest, ties by id."""
    return sorted(scores, key=lambda chunk_id: (-scores[chunk_id], chunk_id))


def convex(dense: Mapping[str, float], sparse: Mapping[str, float], weight: float) -> Fused:
    """weight · d + (1 − weight) · s, with d and s the min-max normalised scores of the legs.

    (x − min) / (max − min) over the ids of that leg. Where max = min the leg tells nothing apart: all count 1, or
    0 where the leg gave nothing (max = 0); neither changes the order.
    An id that a leg lacks counts 0 there, so pass legs that were completed over the union of candidates.
    Bruch, Gai and Ingber 2022, "An Analysis of Fusion Functions for Hybrid Retrieval".
    """
    d, s = _min_max(dense), _min_max(sparse)
    return _combine(d, s, lambda left, right: weight * left + (1 - weight) * right)


def rrf(dense: Mapping[str, float], sparse: Mapping[str, float], k: int = RRF_K) -> Fused:
    """1 / (k + rank) summed over the legs that hold the id, ranks from 1, ties by id.

    Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet …", with their k = 60.
    """
    d, s = _reciprocal_ranks(dense, k), _reciprocal_ranks(sparse, k)
    return _combine(d, s, lambda left, right: left + right)


def dbsf(dense: Mapping[str, float], sparse: Mapping[str, float]) -> Fused:
    """The mean of (x − (μ − 3σ)) / 6σ over both legs, each clipped to [0, 1].

    μ and σ are the leg's mean and sample standard deviation; 0.5 for all where σ = 0. An id that a leg lacks counts
    0 there. Distribution-based score fusion, as in Qdrant.
    """
    d, s = _by_deviation(dense), _by_deviation(sparse)
    return _combine(d, s, lambda left, right: (left + right) / 2)


def _combine(dense: Mapping[str, float], sparse: Mapping[str, float], rule: Callable[[float, float], float]) -> Fused:
    ids = dense.keys() | sparse.keys()
    return Fused({key: rule(dense.get(key, 0.0), sparse.get(key, 0.0)) for key in ids}, dense, sparse)


def _min_max(scores: Mapping[str, float]) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    spread = high - low
    if spread == 0:
        return dict.fromkeys(scores, 1.0 if high > 0 else 0.0)
    return {chunk_id: (score - low) / spread for chunk_id, score in scores.items()}


def _reciprocal_ranks(scores: Mapping[str, float], k: int) -> dict[str, float]:
    return {chunk_id: 1 / (k + rank) for rank, chunk_id in enumerate(order(scores), start=1)}


def _by_deviation(scores: Mapping[str, float]) -> dict[str, float]:
    deviation = statistics.stdev(scores.values()) if len(scores) > 1 else 0.0
    if deviation == 0:
        return dict.fromkeys(scores, 0.5)
    low = statistics.fmean(scores.values()) - DBSF_SIGMAS * deviation
    width = 2 * DBSF_SIGMAS * deviation
    return {chunk_id: min(1.0, max(0.0, (score - low) / width)) for chunk_id, score in scores.items()}

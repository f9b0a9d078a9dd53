"""Ways to make one ranking of two: pure functions over aligned arrays of scores.

Every fusion takes the legs `dense` and `sparse`, float64, shape (n_candidates,), where NaN says that a leg doesn't hold
the candidate. It returns the fused scores and what each leg contributed, all of that shape. Higher is better. Order
among equals is left to the caller: `order` keeps the candidates' own order, so pass them sorted by id.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RRF_K = 60  # Cormack, Clarke and Büttcher 2009
DBSF_SIGMAS = 3.0  # Qdrant's distribution-based score fusion
TIE_DECIMALS = 9  # fused scores that agree to here are equal: sums of floats depend on their order


@dataclass(frozen=True, slots=True)
class Fused:
    """Fused scores, and the normalised scores of either leg that they were made of; 0 where a leg holds nothing."""

    scores: np.ndarray
    dense: np.ndarray
    sparse: np.ndarray


def order(scores: np.ndarray) -> np.ndarray:
    """Positions from the highest score to the lowest, int64; ties keep their order, NaN is left out."""
    ranked = np.argsort(-np.round(scores, TIE_DECIMALS), kind="stable")
    return ranked[~np.isnan(scores[ranked])]


def convex(dense: np.ndarray, sparse: np.ndarray, weight: float) -> Fused:
    """weight · d + (1 − weight) · s, with d and s the min-max normalised scores of the legs.

    (x − min) / (max − min) over what the leg holds. Where max = min the leg tells nothing apart: all count 1, or 0
    where the leg gave nothing (max ≤ 0); neither changes the order. A candidate that a leg lacks counts 0 there, so
    pass legs that were completed over the union of candidates.
    Bruch, Gai and Ingber 2022, "An Analysis of Fusion Functions for Hybrid Retrieval".
    """
    d, s = min_max(dense), min_max(sparse)
    return Fused(weight * d + (1 - weight) * s, d, s)


def min_max(scores: np.ndarray) -> np.ndarray:
    """(x − min) / (max − min) over what isn't NaN; where max = min all count 1, or 0 if that is no more than 0."""
    held = ~np.isnan(scores)
    if not held.any():
        return np.zeros_like(scores)
    low, high = scores[held].min(), scores[held].max()
    if high == low:
        return np.where(held & (high > 0), 1.0, 0.0)
    return np.where(held, (scores - low) / (high - low), 0.0)


def rrf(dense: np.ndarray, sparse: np.ndarray, k: int = RRF_K) -> Fused:
    """1 / (k + rank) summed over the legs that hold the candidate, ranks from 1, ties in the candidates' order.

    Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet …", with their k = 60.
    """
    d, s = _reciprocal_ranks(dense, k), _reciprocal_ranks(sparse, k)
    return Fused(d + s, d, s)


def dbsf(dense: np.ndarray, sparse: np.ndarray) -> Fused:
    """The mean of (x − (μ − 3σ)) / 6σ over both legs, each clipped to [0, 1].

    μ and σ are the leg's mean and sample standard deviation; 0.5 for all where σ = 0. A candidate that a leg lacks
    counts 0 there. Distribution-based score fusion, as in Qdrant.
    """
    d, s = _by_deviation(dense), _by_deviation(sparse)
    return Fused((d + s) / 2, d, s)


def _reciprocal_ranks(scores: np.ndarray, k: int) -> np.ndarray:
    ranked = order(scores)
    reciprocal = np.zeros_like(scores)
    reciprocal[ranked] = 1 / (k + np.arange(1, len(ranked) + 1))
    return reciprocal


def _by_deviation(scores: np.ndarray) -> np.ndarray:
    held = ~np.isnan(scores)
    deviation = scores[held].std(ddof=1) if held.sum() > 1 else 0.0
    if deviation == 0:
        return np.where(held, 0.5, 0.0)
    low = scores[held].mean() - DBSF_SIGMAS * deviation
    return np.where(held, np.clip((scores - low) / (2 * DBSF_SIGMAS * deviation), 0.0, 1.0), 0.0)

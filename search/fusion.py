"""Ways to make one ranking of two: pure functions over aligned arrays of scores, all behind one interface.

Every fusion takes the legs `dense` and `sparse`, float64, shape (n_candidates,), and the dense leg's `weight` in
[0, 1]. NaN says that a leg doesn't hold the candidate; a search passes scores that were completed over the union of
both legs' candidates, so that a candidate found by one leg is judged by both. It returns the fused scores and what
each leg contributed, all of that shape; none are changed in place. Higher is better, and no candidates give no scores.
Order among equals is left to the caller: `order` keeps the candidates' own order, so pass them sorted by id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

EQUAL = 0.5  # the weight at which both legs count alike, as RRF and DBSF were published
RRF_K = 60  # Cormack, Clarke and Büttcher 2009
DBSF_SIGMAS = 3.0  # Qdrant's distribution-based score fusion
DENSE_LOWEST, SPARSE_LOWEST = -1.0, 0.0  # the least that a cosine and a BM25 score can be
TIE_DECIMALS = 9  # fused scores that agree to here are equal: sums of floats depend on their order


@dataclass(frozen=True, slots=True)
class Fused:
    """Fused scores, and the normalised scores of either leg that they were made of."""

    scores: np.ndarray
    dense: np.ndarray
    sparse: np.ndarray


class Fusion(Protocol):
    """One way to fuse."""

    def __call__(self, dense: np.ndarray, sparse: np.ndarray, weight: float = EQUAL, /) -> Fused:
        """The fused scores; `weight` is the dense leg's share."""
        ...


def order(scores: np.ndarray) -> np.ndarray:
    """Positions from the highest score to the lowest, int64; ties keep their order, NaN is left out."""
    ranked = np.argsort(-np.round(scores, TIE_DECIMALS), kind="stable")
    return ranked[~np.isnan(scores[ranked])]


def convex(dense: np.ndarray, sparse: np.ndarray, weight: float = EQUAL) -> Fused:
    """weight · d + (1 − weight) · s, with d and s the min-max normalised scores of the legs.

    (x − min) / (max − min) over what the leg holds. Where max = min the leg tells nothing apart: all count 1, or 0
    where the leg gave nothing (max ≤ 0); neither changes the order. A candidate that a leg lacks counts 0 there, so
    pass legs that were completed over the union of candidates.
    Bruch, Gai and Ingber 2022, "An Analysis of Fusion Functions for Hybrid Retrieval".
    """
    return _weighted(min_max(dense), min_max(sparse), weight)


def tm2c2(dense: np.ndarray, sparse: np.ndarray, weight: float = EQUAL) -> Fused:
    """The convex combination with theoretical minima: (x − least) / (max − least) over what the leg holds.

    The least is what the scoring function can give, −1 for a cosine and 0 for BM25, not what it gave here; so a leg
    whose scores lie close together moves the order less. All count 0 where max ≤ least, and so does a candidate that
    a leg lacks.
    Bruch, Gai and Ingber 2022, "An Analysis of Fusion Functions for Hybrid Retrieval" (their TM2C2).
    """
    return _weighted(_above(dense, DENSE_LOWEST), _above(sparse, SPARSE_LOWEST), weight)


def rrf(dense: np.ndarray, sparse: np.ndarray, weight: float = EQUAL, k: int = RRF_K) -> Fused:
    """2 · weight / (k + rank in dense) + 2 · (1 − weight) / (k + rank in sparse), ranks from 1.

    Ties rank in the candidates' order. A candidate that a leg lacks counts 0 there. With equal weights it is the
    published formula, the sum of 1 / (k + rank), with their k = 60.
    Cormack, Clarke and Büttcher 2009, "Reciprocal Rank Fusion outperforms Condorcet …".
    """
    fused = _weighted(_reciprocal_ranks(dense, k), _reciprocal_ranks(sparse, k), weight)
    return Fused(2 * fused.scores, fused.dense, fused.sparse)


def dbsf(dense: np.ndarray, sparse: np.ndarray, weight: float = EQUAL) -> Fused:
    """weight · d + (1 − weight) · s, with d and s = (x − (μ − 3σ)) / 6σ, clipped to [0, 1].

    μ and σ are the leg's mean and sample standard deviation; 0.5 for all where σ = 0. A candidate that a leg lacks
    counts 0 there. Distribution-based score fusion, as in Qdrant, which adds the legs up unweighted.
    """
    return _weighted(_by_deviation(dense), _by_deviation(sparse), weight)


def zscore(dense: np.ndarray, sparse: np.ndarray, weight: float = EQUAL) -> Fused:
    """weight · d + (1 − weight) · s, with d and s = (x − μ) / σ of the legs' scores.

    μ and σ are the mean and the standard deviation (of the population) over what the leg holds; 0 for all where
    σ = 0. A candidate that a leg lacks counts as the leg's lowest. Scores may be negative.
    Renda and Straccia 2003, "Web Metasearch: Rank vs. Score Based Rank Aggregation Methods" (Z-score normalisation).
    """
    return _weighted(_standardised(dense), _standardised(sparse), weight)


FUSIONS: Mapping[str, Fusion] = MappingProxyType(
    {"convex": convex, "tm2c2": tm2c2, "rrf": rrf, "dbsf": dbsf, "zscore": zscore}
)
WEIGHTED = frozenset({"convex", "tm2c2", "zscore"})  # a search weighs the legs in these; the others stay as published


def min_max(scores: np.ndarray) -> np.ndarray:
    """(x − min) / (max − min) over what isn't NaN; where max = min all count 1, or 0 if that is no more than 0."""
    held = ~np.isnan(scores)
    if not held.any():
        return np.zeros_like(scores)
    low, high = scores[held].min(), scores[held].max()
    if high == low:
        return np.where(held & (high > 0), 1.0, 0.0)
    return np.where(held, (scores - low) / (high - low), 0.0)


def _weighted(dense: np.ndarray, sparse: np.ndarray, weight: float) -> Fused:
    return Fused(weight * dense + (1 - weight) * sparse, dense, sparse)


def _above(scores: np.ndarray, least: float) -> np.ndarray:
    held = ~np.isnan(scores)
    high = scores[held].max(initial=least)
    above = np.maximum(scores, least) - least  # a cosine may fall under −1 by rounding
    return np.where(held, above / (high - least), 0.0) if high > least else np.zeros_like(scores)


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


def _standardised(scores: np.ndarray) -> np.ndarray:
    held = ~np.isnan(scores)
    deviation = scores[held].std() if held.any() else 0.0
    if deviation == 0:
        return np.zeros_like(scores)
    return (np.where(held, scores, scores[held].min()) - scores[held].mean()) / deviation

"""Fewer hits that say the same: maximal marginal relevance."""

from __future__ import annotations

import numpy as np

from core.store import SCORE_DECIMALS


def maximal_marginal_relevance(relevance: np.ndarray, vectors: np.ndarray, diversity: float) -> list[int]:
    """All rows in the order in which they add most: greedily the row with the highest

        (1 − diversity) · relevance − diversity · max cosine to the rows before it.

    `relevance` is float64, shape (n,), scaled to [0, 1]; `vectors` float32, shape (n, dim), of length 1. The first row
    is the most relevant; ties go to the lower row. Diversity 0 gives the order of relevance, 1 ignores it after the
    first row.
    Carbonell and Goldstein 1998, "The Use of MMR, Diversity-Based Reranking …", with λ = 1 − diversity.
    """
    if not len(relevance):
        return []
    chosen = [int(np.argmax(relevance))]
    nearest = np.full(len(relevance), -np.inf)
    left = np.ones(len(relevance), dtype=bool)
    left[chosen[0]] = False
    while left.any():
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
        gain = np.round((1 - diversity) * relevance - diversity * nearest, SCORE_DECIMALS)
        chosen.append(int(np.argmax(np.where(left, gain, -np.inf))))
        left[chosen[-1]] = False
    return chosen

"""The best way to cut a sequence of vectors into stretches of like ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Units:
    """What is to be cut, unit by unit, as arrays of n units.

    `sums`, float (n, dim), and `sizes` (n,) are the sum and the number of each unit's vectors. `bonus` (n,) is what a
    cut in front of a unit gains by itself. A stretch from unit i to unit j costs `ends[:, j] - starts[:, i]`, each of
    its measures (rows) by itself, and `extra[i]` more for beginning with i.
    """

    sums: np.ndarray
    sizes: np.ndarray
    bonus: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    extra: np.ndarray


def partition(units: Units, limit: float, penalty: float, noise: float) -> list[tuple[int, int]]:
    """The stretches, as half-open ranges of units, that together score best; none costs more than `limit`.

    The score of a stretch of n vectors with sum s is |s|² / (n · noise) − penalty + the bonus of its first unit, which
    the first stretch of all doesn't get. Up to a constant |s|² / n is minus the sum of squared distances from the mean,
    the criterion of Ward 1963. The best sum over all partitions is found by dynamic programming (Fisher 1958, "On
    Grouping for Maximum Homogeneity"; with a penalty for each part: Jackson et al. 2005, "An Algorithm for Optimal
    Partitioning of Data on an Interval"). Of equals the one whose last stretch is longest. A unit beyond the limit
    stands alone.
    """
    n = len(units.sizes)
    sums = np.concatenate([np.zeros((1, units.sums.shape[1])), np.cumsum(units.sums, axis=0, dtype=np.float64)])
    sizes = np.concatenate([[0], np.cumsum(units.sizes)])
    bonus = np.concatenate([[0.0], units.bonus[1:]])
    best = np.zeros(n + 1)
    begins = [0] * (n + 1)
    low = 0
    for stop in range(1, n + 1):
        ends = units.ends[:, stop - 1]
        while low < stop - 1 and (ends - units.starts[:, low] > limit).any():
            low += 1
        stretch = sums[stop] - sums[low:stop]
        scores = np.einsum("ij,ij->i", stretch, stretch) / ((sizes[stop] - sizes[low:stop]) * noise)
        scores += best[low:stop] + bonus[low:stop]
        costs = (ends[:, None] - units.starts[:, low:stop]).max(axis=0) + units.extra[low:stop]
        scores[:-1][costs[:-1] > limit] = -np.inf
        begin = int(np.argmax(scores))
        best[stop] = scores[begin] - penalty
        begins[stop] = low + begin
    stretches = []
    stop = n
    while stop:
        stretches.append((begins[stop], stop))
        stop = begins[stop]
    return stretches[::-1]

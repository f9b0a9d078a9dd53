"""How far to believe a map: trustworthiness, continuity, kept neighbours, and places that depend on the start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes

from eval.map.layout import Layout

N_NEIGHBORS = 10
N_MEASURED = 2000  # points that the shares are measured on, against all others
JITTER = 0.5  # of the start's standard deviation
N_RUNS = (2, 1)  # further maps, up to this many points and above
MANY_POINTS = 5000
MOVED = 0.1  # of the map's width: a place that moves more between starts is marked


@dataclass(frozen=True, slots=True)
class Honesty:
    """`trustworthiness`, `continuity`, `knn_preservation` lie in [0, 1], None where there is no map to judge.

    `k` neighbours were looked at, of `n_measured` points. `is_unstable`: bool, shape (n,), the points that moved by
    more than `threshold` of the map's width in one of `n_runs` maps from jittered starts.
    """

    trustworthiness: float | None
    continuity: float | None
    knn_preservation: float | None
    k: int
    n_measured: int
    n_runs: int
    is_unstable: NDArray[np.bool_]
    threshold: float = MOVED

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold."""
        return asdict(self) | {"is_unstable": self.is_unstable.tolist()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(**{**stored, "is_unstable": np.array(stored["is_unstable"], dtype=bool)})


def assess(vectors: NDArray[np.float32], layout: Layout, seed: int = 0) -> Honesty:
    """How far to believe the layout of these unit rows; of a line nothing is claimed."""
    n = len(vectors)
    k = min(N_NEIGHBORS, (n - 1) // 2)
    if layout.is_line or k < 1:
        return Honesty(None, None, None, k, 0, 0, np.zeros(n, dtype=bool))
    trust, continuity, kept, n_measured = faithfulness(vectors, layout.places, k)
    n_runs = N_RUNS[n > MANY_POINTS]
    unstable = np.zeros(n, dtype=bool)
    width = float(np.ptp(layout.places, axis=0).max())
    for run in range(1, n_runs + 1):
        unstable |= displacement(layout.places, layout.again(seed + run, JITTER)) > MOVED * width
    return Honesty(trust, continuity, kept, k, n_measured, n_runs, unstable)


def faithfulness(vectors: NDArray[np.float32], places: NDArray[np.float64], k: int) -> tuple[float, float, float, int]:
    """Trustworthiness, continuity (Venna and Kaski 2001), the share of the k nearest neighbours kept, points measured.

    For n points, with U_k(i) the points among the k nearest of i on the map but not in truth, and r(i, j) the rank of j
    among the neighbours of i in truth, from 1: trustworthiness = 1 − 2 / (n·k·(2n − 3k − 1)) · Σ_i Σ_{j ∈ U_k(i)}
    (r(i, j) − k). Continuity is the same with map and truth exchanged. Ties share the better rank. Above 2,000 points
    the mean over i runs over 2,000 evenly spaced ones, each against all n. Needs k < n / 2.
    """
    n = len(vectors)
    measured = np.arange(n) if n <= N_MEASURED else np.linspace(0, n - 1, N_MEASURED).round().astype(np.int64)
    squares = (places**2).sum(axis=1)
    intruded = missed = kept = 0.0
    for rows in np.array_split(measured, max(1, len(measured) * n // 10_000_000)):
        truth = -(vectors[rows] @ vectors.T).astype(np.float64)
        shown = squares[rows, None] + squares - 2 * places[rows] @ places.T
        for distance in (truth, shown):
            distance[np.arange(len(rows)), rows] = np.inf
        in_truth, in_map = _nearest(truth, k), _nearest(shown, k)
        intruded += np.maximum(_ranks(truth, in_map) - k, 0).sum()
        missed += np.maximum(_ranks(shown, in_truth) - k, 0).sum()
        kept += (in_truth[:, :, None] == in_map[:, None, :]).sum()
    norm = 2 / (len(measured) * k * (2 * n - 3 * k - 1))
    return float(1 - norm * intruded), float(1 - norm * missed), float(kept / len(measured) / k), len(measured)


def _nearest(distance: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """The columns of the k smallest distances of each row, shape (n_rows, k), in no order."""
    return np.argpartition(distance, k - 1, axis=1)[:, :k]


def _ranks(distance: NDArray[np.float64], columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """1 + the number of smaller distances in each row, for the columns of that row; shape as `columns`."""
    found = np.take_along_axis(distance, columns, axis=1)
    return 1 + np.stack([(distance < value[:, None]).sum(axis=1) for value in found.T], axis=1)


def displacement(places: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each point lies from its place after the best turn, mirroring, shift and scaling of `other`, shape (n,).

    Orthogonal Procrustes (Schönemann 1966) with a common scale.
    """
    centre, moved = places - places.mean(axis=0), other - other.mean(axis=0)
    turn, scale = orthogonal_procrustes(moved, centre)
    fitted = moved @ turn * (scale / max(float((moved**2).sum()), 1e-12))
    return np.linalg.norm(fitted - centre, axis=1)

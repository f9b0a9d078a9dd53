"""How sure a mean or a difference is: bootstrap intervals and the paired randomisation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError

N_DRAWS = 10_000  # enough that a 95% limit moves by less than 1% of the interval's width between seeds
DRAWN_AT_ONCE = 4_000_000  # numbers held in memory while resampling


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and the limits between which it lies with the stated confidence."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, float]:
        """As plain JSON values."""
        return asdict(self)


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.floating], seed: int = 0, n: int = N_DRAWS, level: float = 0.95
) -> Interval:
    """The mean of the values with its percentile bootstrap interval.

    Efron (1979): draw `n` samples of the same size with replacement and take the (1 - level) / 2 quantiles of their
    means. One value gives an interval of width zero. Raises InputError on no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise InputError("No values to average: at least one judged query is needed.")
    rng = np.random.default_rng(seed)
    rows_at_once = max(1, DRAWN_AT_ONCE // array.size)
    means = np.concatenate(
        [
            array[rng.integers(0, array.size, size=(min(rows_at_once, n - start), array.size))].mean(axis=1)
            for start in range(0, n, rows_at_once)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(array.mean()), float(low), float(high))


def paired_randomization(
    a: Sequence[float] | NDArray[np.floating],
    b: Sequence[float] | NDArray[np.floating],
    seed: int = 0,
    n: int = N_DRAWS,
) -> float:
    """The two-sided probability of a mean difference at least this large if the two systems were exchangeable.

    Fisher's randomisation test as used in retrieval by Smucker, Allan and Carterette (2007): flip the sign of each
    query's difference at random. p = (1 + number of draws at least as extreme) / (1 + n), so it is never zero.
    Raises InputError when the lengths differ or nothing is given.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape or first.size == 0:
        raise InputError(f"A paired test needs the same queries on both sides, got {first.size} and {second.size}.")
    difference = first - second
    observed = abs(difference.mean())
    rng = np.random.default_rng(seed)
    rows_at_once = max(1, DRAWN_AT_ONCE // difference.size)
    extreme = 0
    for start in range(0, n, rows_at_once):
        signs = rng.integers(0, 2, size=(min(rows_at_once, n - start), difference.size), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ difference) / difference.size >= observed - 1e-12).sum())
    return (1 + extreme) / (1 + n)

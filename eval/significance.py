"""How sure a mean or a difference is: bootstrap intervals and the paired randomisation test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError

LEVEL = 0.05  # of p, below which a difference is called sure
Z_LEVEL, Z_POWER = 1.9600, 0.8416  # normal quantiles of 1 − LEVEL / 2 and of a power of 80%
MIN_PAIRS = 6  # with five, the 2⁵ ways to flip signs can't give a p below 2/32 = .0625
NO_DIFFERENCE = 1e-12  # of two means: the rounding of their sums
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
        extreme += int((np.abs(signs @ difference) / difference.size >= observed - NO_DIFFERENCE).sum())
    return (1 + extreme) / (1 + n)


def queries_needed(differences: Sequence[float] | NDArray[np.floating], p: float) -> int | None:
    """How many queries would make a mean difference of this size sure (p < .05) with a probability of 80%.

    n = ((z(1 − α/2) + z(power)) · s / d)², with the mean d and standard deviation s (n − 1 degrees) of the paired
    differences: the sample size of a paired comparison (Cohen 1988, "Statistical Power Analysis"; Webber, Moffat and
    Zobel 2008, "Statistical Power in Retrieval Experimentation"). It takes d for the truth, which is as uncertain as
    its interval. Never fewer than `MIN_PAIRS`, nor than one more than there are.
    None where `p` says that the difference is sure already, where it is 0, and where one query shows no spread.
    """
    array = np.asarray(differences, dtype=np.float64)
    mean = abs(float(array.mean())) if array.size else 0.0
    if p < LEVEL or mean < NO_DIFFERENCE or array.size < 2:
        return None
    needed = ceil(((Z_LEVEL + Z_POWER) * float(array.std(ddof=1)) / mean) ** 2)
    return max(needed, MIN_PAIRS, array.size + 1)

"""The partition of vectors: the very best of all ways to cut, found by trying every one."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.chunkers.partition import Units, partition


def make_units(sums, lengths, bonus=None, extra=None) -> Units:
    ends = np.cumsum(lengths)[None, :].astype(float)
    n = len(lengths)
    return Units(
        sums=np.asarray(sums, dtype=float),
        sizes=np.ones(n, dtype=int),
        bonus=np.zeros(n) if bonus is None else np.asarray(bonus, dtype=float),
        starts=ends - np.asarray(lengths, dtype=float),
        ends=ends,
        extra=np.zeros(n) if extra is None else np.asarray(extra, dtype=float),
    )


def score(units: Units, stretches, penalty: float, noise: float) -> float:
    total = 0.0
    for first, stop in stretches:
        mean = units.sums[first:stop].mean(axis=0)
        within = sum(float(((vector - mean) ** 2).sum()) for vector in units.sums[first:stop])
        total += -within / noise - penalty + (units.bonus[first] if first else 0.0)
    return total


def every_partition(n: int):
    for k in range(n):
        for cuts in combinations(range(1, n), k):
            yield list(zip([0, *cuts], [*cuts, n], strict=True))


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=9),
    seed=st.integers(0, 10_000),
    penalty=st.floats(0, 3),
    limit=st.integers(3, 15),
)
def test_nothing_scores_better_than_the_partition(lengths, seed, penalty, limit):
    rng = np.random.default_rng(seed)
    n = len(lengths)
    units = make_units(rng.standard_normal((n, 3)), lengths, rng.uniform(-1, 1, n), rng.integers(0, 3, n))

    def fits(first: int, stop: int) -> bool:
        return stop - first == 1 or sum(lengths[first:stop]) + units.extra[first] <= limit

    found = partition(units, limit, penalty, noise=0.5)
    assert all(fits(*stretch) for stretch in found)
    allowed = [way for way in every_partition(n) if all(fits(*stretch) for stretch in way)]
    best = max(score(units, way, penalty, 0.5) for way in allowed)
    assert score(units, found, penalty, 0.5) == pytest.approx(best)


def test_cuts_stand_where_the_vectors_change():
    topics = [[1, 0, 0]] * 3 + [[0, 1, 0]] * 4 + [[0, 0, 1]] * 2
    assert partition(make_units(topics, [1] * 9), 9, 1.0, 0.5) == [(0, 3), (3, 7), (7, 9)]


def test_equal_vectors_are_cut_only_where_the_limit_asks():
    assert partition(make_units([[1.0, 0.0]] * 10, [1] * 10), 10, 1.0, 0.5) == [(0, 10)]
    assert len(partition(make_units([[1.0, 0.0]] * 10, [1] * 10), 4, 1.0, 0.5)) == 3


def test_one_unit():
    assert partition(make_units([[1.0, 0.0]], [50]), 10, 1.0, 0.5) == [(0, 1)]

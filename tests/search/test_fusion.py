"""Fusions: sums written out, and what must hold for any input."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.fusion import convex, dbsf, order, rrf

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-10, 10), max_size=8)


def test_convex_is_the_weighted_sum_of_min_max() -> None:
    fused = convex({"a": 0.9, "b": 0.5, "c": 0.1}, {"a": 0.0, "b": 8.0, "c": 4.0}, 0.6)
    assert fused.scores["a"] == pytest.approx(0.6 * 1.0 + 0.4 * 0.0)
    assert fused.scores["b"] == pytest.approx(0.6 * 0.5 + 0.4 * 1.0)
    assert fused.scores["c"] == pytest.approx(0.6 * 0.0 + 0.4 * 0.5)
    assert (fused.dense["b"], fused.sparse["b"]) == (pytest.approx(0.5), pytest.approx(1.0))


def test_convex_of_a_leg_that_tells_nothing_apart() -> None:
    fused = convex({"a": 0.9, "b": 0.5}, {"a": 0.0, "b": 0.0}, 0.6)
    assert [fused.scores[key] for key in "ab"] == [pytest.approx(0.6), 0.0]
    alone = convex({"a": 0.3}, {"a": 5.0}, 0.6)
    assert alone.scores["a"] == pytest.approx(1.0)


def test_rrf_counts_ranks_from_one() -> None:
    fused = rrf({"a": 3.0, "b": 2.0, "c": 1.0}, {"c": 9.0, "d": 5.0})
    assert fused.scores["a"] == pytest.approx(1 / (60 + 1))
    assert fused.scores["c"] == pytest.approx(1 / (60 + 3) + 1 / (60 + 1))
    assert fused.scores["d"] == pytest.approx(1 / (60 + 2))


def test_rrf_breaks_ties_by_id() -> None:
    fused = rrf({"b": 1.0, "a": 1.0}, {})
    assert fused.scores["a"] == pytest.approx(1 / 61)
    assert fused.scores["b"] == pytest.approx(1 / 62)


def test_dbsf_is_the_mean_of_clipped_deviations() -> None:
    fused = dbsf({"a": 1.0, "b": 3.0}, {"a": 2.0})
    deviation = 2**0.5  # sample standard deviation of 1 and 3
    assert fused.dense["b"] == pytest.approx((3 - (2 - 3 * deviation)) / (6 * deviation))
    assert fused.scores["a"] == pytest.approx(((1 - (2 - 3 * deviation)) / (6 * deviation) + 0.5) / 2)


def test_order_is_by_score_then_id() -> None:
    assert order({"b": 1.0, "a": 1.0, "c": 2.0}) == ["c", "a", "b"]
    assert order({}) == []


@given(SCORES, SCORES)
def test_legs_may_change_places(dense: dict[str, float], sparse: dict[str, float]) -> None:
    for fuse in (rrf, dbsf, lambda left, right: convex(left, right, 0.5)):
        one, other = fuse(dense, sparse), fuse(sparse, dense)
        assert one.scores.keys() == other.scores.keys() == dense.keys() | sparse.keys()
        for key, score in one.scores.items():
            assert score == pytest.approx(other.scores[key])


@given(SCORES, SCORES, st.floats(0, 1))
def test_convex_stays_in_the_unit_interval_and_touches_nothing(
    dense: dict[str, float], sparse: dict[str, float], weight: float
) -> None:
    before = copy.deepcopy((dense, sparse))
    fused = convex(dense, sparse, weight)
    assert (dense, sparse) == before
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in fused.scores.values())


@given(SCORES, SCORES, st.floats(0.01, 100), st.floats(-50, 50))
def test_convex_does_not_mind_the_scale_of_a_leg(
    dense: dict[str, float], sparse: dict[str, float], scale: float, shift: float
) -> None:
    if sparse and max(sparse.values()) - min(sparse.values()) < 1e-3:
        return  # rounding decides there
    scaled = {key: score * scale + shift for key, score in sparse.items()}
    one, other = convex(dense, sparse, 0.6), convex(dense, scaled, 0.6)
    assert all(score == pytest.approx(other.scores[key], abs=1e-6) for key, score in one.scores.items())

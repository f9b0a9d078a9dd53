"""Fusions: sums written out, and what must hold for any input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from search.fusion import FUSIONS, WEIGHTED, convex, dbsf, order, rrf, tm2c2, zscore

LACKS = np.nan
LEG = arrays(np.float64, 8, elements=st.one_of(st.floats(-10, 10), st.just(LACKS)))


def test_convex_is_the_weighted_sum_of_min_max() -> None:
    fused = convex(np.array([0.9, 0.5, 0.1]), np.array([0.0, 8.0, 4.0]), 0.6)
    assert fused.scores == pytest.approx([0.6 * 1.0 + 0.4 * 0.0, 0.6 * 0.5 + 0.4 * 1.0, 0.6 * 0.0 + 0.4 * 0.5])
    assert fused.dense == pytest.approx([1.0, 0.5, 0.0])
    assert fused.sparse == pytest.approx([0.0, 1.0, 0.5])


def test_convex_of_a_leg_that_tells_nothing_apart() -> None:
    assert convex(np.array([0.9, 0.5]), np.array([0.0, 0.0]), 0.6).scores == pytest.approx([0.6, 0.0])
    assert convex(np.array([0.3]), np.array([5.0]), 0.6).scores == pytest.approx([1.0])
    assert convex(np.array([]), np.array([]), 0.6).scores.shape == (0,)


def test_what_a_leg_lacks_counts_nothing() -> None:
    assert convex(np.array([0.9, LACKS, 0.1]), np.array([1.0, 2.0, LACKS]), 0.6).scores == pytest.approx(
        [0.6, 0.4, 0.0]
    )


def test_rrf_counts_ranks_from_one() -> None:
    fused = rrf(np.array([3.0, 2.0, 1.0, LACKS]), np.array([LACKS, LACKS, 9.0, 5.0]))
    assert fused.scores == pytest.approx([1 / (60 + 1), 1 / (60 + 2), 1 / (60 + 3) + 1 / (60 + 1), 1 / (60 + 2)])


def test_rrf_breaks_ties_in_the_given_order() -> None:
    assert rrf(np.array([1.0, 1.0]), np.array([LACKS, LACKS])).scores == pytest.approx([1 / 61, 1 / 62])


def test_dbsf_is_the_mean_of_clipped_deviations() -> None:
    fused = dbsf(np.array([1.0, 3.0]), np.array([2.0, LACKS]))
    deviation = 2**0.5  # sample standard deviation of 1 and 3
    low = 2 - 3 * deviation
    assert fused.scores == pytest.approx([((1 - low) / (6 * deviation) + 0.5) / 2, (3 - low) / (6 * deviation) / 2])


def test_order_is_by_score_then_as_given() -> None:
    assert order(np.array([1.0, 2.0, 1.0, LACKS, 2.0])).tolist() == [1, 4, 0, 2]
    assert order(np.array([0.1 + 0.2, 0.3])).tolist() == [0, 1]  # the last digits of a sum decide nothing
    assert order(np.array([])).tolist() == []


def test_rrf_weighs_the_legs() -> None:
    fused = rrf(np.array([2.0, 1.0]), np.array([1.0, 2.0]), 0.75, k=10)
    assert fused.scores == pytest.approx([1.5 / 11 + 0.5 / 12, 1.5 / 12 + 0.5 / 11])


def test_tm2c2_scales_from_what_a_leg_can_give_at_least() -> None:
    fused = tm2c2(np.array([0.6, -0.2, LACKS]), np.array([8.0, 0.0, 2.0]), 0.6)
    assert fused.dense == pytest.approx([1.6 / 1.6, 0.8 / 1.6, 0.0])
    assert fused.sparse == pytest.approx([1.0, 0.0, 0.25])
    assert fused.scores == pytest.approx([1.0, 0.6 * 0.5, 0.4 * 0.25])
    assert tm2c2(np.array([-1.0]), np.array([0.0]), 0.6).scores.tolist() == [0.0]
    smallest = np.finfo(np.float64).tiny
    assert tm2c2(np.array([LACKS, LACKS]), np.array([-4.0, smallest]), 0.0).scores.tolist() == [0.0, 1.0]


def test_zscore_counts_deviations_from_the_mean() -> None:
    fused = zscore(np.array([1.0, 3.0, LACKS]), np.array([5.0, 5.0, 5.0]), 0.6)
    assert fused.dense == pytest.approx([-1.0, 1.0, -1.0])  # μ = 2, σ = 1; what the leg lacks counts as its lowest
    assert fused.scores == pytest.approx([-0.6, 0.6, -0.6])


def test_every_fusion_goes_by_its_name() -> None:
    assert {name: fusion.__name__ for name, fusion in FUSIONS.items()} == {name: name for name in FUSIONS}
    assert FUSIONS.keys() >= WEIGHTED


@given(LEG, LEG, st.floats(0, 1))
def test_legs_may_change_places(dense: np.ndarray, sparse: np.ndarray, weight: float) -> None:
    for name in FUSIONS.keys() - {"tm2c2"}:  # it knows which leg is which: their least values differ
        one, other = FUSIONS[name](dense, sparse, weight), FUSIONS[name](sparse, dense, 1 - weight)
        assert one.scores == pytest.approx(other.scores)


@given(LEG, LEG, st.floats(0, 1))
def test_scores_are_numbers_and_the_legs_are_untouched(dense: np.ndarray, sparse: np.ndarray, weight: float) -> None:
    before = dense.copy(), sparse.copy()
    for name, fusion in FUSIONS.items():
        fused = fusion(dense, sparse, weight)
        assert np.isfinite(fused.scores).all()
        if name in ("convex", "dbsf", "rrf"):
            assert np.all((fused.scores >= -1e-9) & (fused.scores <= 1 + 1e-9))
        empty = np.array([])
        assert fusion(empty, empty, weight).scores.shape == (0,)
    assert np.array_equal(dense, before[0], equal_nan=True)
    assert np.array_equal(sparse, before[1], equal_nan=True)


@given(LEG, LEG, st.integers(0, 7), st.floats(0.1, 5))
def test_a_better_score_in_one_leg_never_costs_a_place(
    dense: np.ndarray, sparse: np.ndarray, row: int, gain: float
) -> None:
    """Among complete scores: raising one candidate's score in a leg leaves it above all that it was above."""
    dense, sparse = np.nan_to_num(dense, nan=0.5), np.nan_to_num(sparse, nan=0.5)
    better = dense.copy()
    better[row] += gain
    for name in FUSIONS.keys() - {"dbsf", "zscore"}:  # raising one score there stretches the leg's own deviation
        before, after = FUSIONS[name](dense, sparse, 0.5).scores, FUSIONS[name](better, sparse, 0.5).scores
        if name != "rrf" and better[row] > dense.max():
            continue  # a new maximum rescales the leg
        assert np.all(after[row] - after[before <= before[row]] >= -1e-9)


@given(LEG, LEG, st.floats(0.01, 100), st.floats(-50, 50))
def test_convex_does_not_mind_the_scale_of_a_leg(
    dense: np.ndarray, sparse: np.ndarray, scale: float, shift: float
) -> None:
    held = sparse[~np.isnan(sparse)]
    if len(held) < 2 or held.max() - held.min() < 1e-3:
        return  # a leg that tells nothing apart, or that rounding decides
    one, other = convex(dense, sparse, 0.6), convex(dense, sparse * scale + shift, 0.6)
    assert one.scores == pytest.approx(other.scores, abs=1e-6)

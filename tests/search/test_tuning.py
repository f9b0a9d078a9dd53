"""The weight that is chosen for a corpus."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InputError
from search.features import NAMES
from search.shipped import load_shipped
from search.tuning import WEIGHTS, Tuning, cross_validate, flat_top, load_model, prior, tune, tune_judged

MEANS = load_model().means


def peaked(at: float, n: int, noise: float, seed: int = 0) -> np.ndarray:
    """Curves that are best at a weight, with noise of each query's own."""
    rng = np.random.default_rng(seed)
    return 0.6 - (WEIGHTS - at) ** 2 + rng.normal(0, noise, (n, len(WEIGHTS)))


def test_what_is_shipped_fits_the_features():
    model = load_model()
    assert model.coefficients.shape == (len(NAMES), len(WEIGHTS))
    assert (model.lowest <= model.highest).all()
    assert model.intercept.sum() == pytest.approx(0, abs=1e-4)  # curves count from their mean
    assert load_shipped()["confidence"]["coefficients"].shape == (len(NAMES),)


def test_the_middle_of_the_flat_top():
    curve = np.zeros(len(WEIGHTS))
    curve[8:13] = 0.1
    assert flat_top(curve) == pytest.approx(WEIGHTS[10])
    curve[2] = 0.2
    assert flat_top(curve) == pytest.approx(WEIGHTS[2])


def test_average_queries_get_a_weight_near_the_usual_one():
    found = tune(np.tile(MEANS, (50, 1)), "queries")
    assert 0.5 <= found.alpha <= 0.75
    assert found.interval == (pytest.approx(found.alpha), pytest.approx(found.alpha))
    assert found.n_queries == 50


def test_an_encoder_that_finds_nothing_loses_weight():
    """Where the best sentences are no nearer than to unrelated questions and BM25 is sharp, words count for more."""
    model = load_model()
    broken = dict(zip(NAMES, MEANS, strict=True)) | {
        "top cosine": 0.0, "top sentence": 0.0, "top cosine − tenth": 0.3, "top cosine − mean": 0.8,
        "top sentence − mean": 0.8, "dense spread": 0.3, "overlap at 10": 0.05, "overlap at 100": 0.1,
        "BM25 of the dense top": 0.1, "dense of the BM25 top": 0.3, "correlation": 0.0,
    }  # fmt: skip
    row = np.array([broken[name] for name in NAMES])
    assert tune(row[None], "queries").alpha < tune(MEANS[None], "queries").alpha
    assert model.pulls(row).sum() < 0


def test_what_lies_outside_of_training_counts_no_more_than_its_edge():
    model = load_model()
    np.testing.assert_allclose(model.curves((model.highest + 100)[None]), model.curves(model.highest[None]))


def test_shares_add_up_to_the_curve():
    model = load_model()
    rows = np.random.default_rng(1).normal(MEANS, model.deviations, (5, len(NAMES)))
    np.testing.assert_allclose(model.intercept + model.shares(rows).sum(axis=1), model.curves(rows))


def test_where_nothing_is_known_the_usual_weight_stays():
    found = prior()
    assert found.alpha == flat_top(np.array(found.curve))
    assert 0.5 <= found.alpha <= 0.7
    assert found.basis == "prior"


def test_no_query_is_an_error():
    with pytest.raises(InputError, match="no query"):
        tune(np.empty((0, len(NAMES))), "queries")


def test_it_survives_being_stored():
    found = tune_judged(peaked(0.4, 30, 0.05), np.tile(MEANS, (30, 1)))
    assert Tuning.from_json(found.to_json()) == found
    assert found.basis == "judgements"
    assert found.interval[0] <= found.alpha <= found.interval[1]


def test_a_clear_winner_is_declared():
    verdict = cross_validate(peaked(0.2, 200, 0.02), beside=0.8)
    assert verdict.is_sure
    assert verdict.alpha == pytest.approx(0.2, abs=0.06)
    assert verdict.gain == pytest.approx(0.36, abs=0.03)
    assert verdict.n_needed < 200


def test_chance_seldom_wins():
    """Where no weight is better than another, a gain is sure in at most 2.5% of draws, give or take chance."""
    draws = [0.5 + np.random.default_rng(seed).normal(0, 0.2, (40, len(WEIGHTS))) for seed in range(400)]
    assert np.mean([cross_validate(curves, beside=0.6).is_sure for curves in draws]) < 0.045


def test_a_gain_within_chance_says_how_many_queries_it_takes():
    rng = np.random.default_rng(3)
    curves = np.tile(0.5 + rng.normal(0, 0.2, (40, 1)), (1, len(WEIGHTS)))
    curves[:, :10] += rng.normal(0.02, 0.15, (40, 1))
    verdict = cross_validate(curves, beside=0.8)
    assert not verdict.is_sure
    if verdict.gain > 0:
        assert verdict.n_needed > 40
    else:
        assert verdict.n_needed is None


def test_too_few_judged_queries_are_an_error():
    with pytest.raises(InputError, match="too few"):
        cross_validate(peaked(0.5, 4, 0.1), beside=0.6)

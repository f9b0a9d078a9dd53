"""Concept axes: the scale is the stated one, the test by held-out pairs is honest, and passages come in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import InputError
from core.index import Index
from search.retriever import Retriever
from search.space.axis import Axis, ConceptAxis, axis_between, axis_scores, held_out_auroc, variance_share

LOOPS = ["text:repeat a loop", "text:the while statement", "text:iterate over items"]
NUMBERS = ["text:floating point numbers", "integers", "text:digits of a literal"]
ROWS = arrays(np.float64, (7, 5), elements=st.floats(-1, 1)).filter(
    lambda rows: (
        np.linalg.norm(rows, axis=1).min() > 0.1 and np.linalg.norm(rows[:3].mean(axis=0) - rows[3:].mean(axis=0)) > 0.1
    )
)


def _split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows[:3].astype(np.float32), rows[3:].astype(np.float32)


@given(ROWS)
def test_the_means_of_the_examples_are_at_one_and_minus_one(rows: np.ndarray) -> None:
    toward, away = _split(rows)
    axis = axis_between(toward, away)
    assert np.linalg.norm(axis.direction) == pytest.approx(1, abs=1e-6)
    assert axis_scores(toward, axis).mean() == pytest.approx(1, abs=1e-4)
    assert axis_scores(away, axis).mean() == pytest.approx(-1, abs=1e-4)
    back = axis_between(away, toward)
    assert axis_scores(rows, back) == pytest.approx(-axis_scores(rows, axis), abs=1e-4)
    assert axis.scaled(float(toward[0] @ axis.direction)) == pytest.approx(axis_scores(toward[:1], axis)[0], abs=1e-4)


def test_scores_by_hand() -> None:
    axis = Axis(np.array([1, 0], np.float32), 0.5, 0.25)
    assert axis_scores(np.array([[0.5, 9], [0.75, 0], [0, 0]]), axis).tolist() == [0, 1, -2]
    assert axis_scores(np.zeros((0, 2)), axis).shape == (0,)


@given(ROWS)
def test_held_out_pairs_by_making_every_axis(rows: np.ndarray) -> None:
    toward, away = _split(rows)
    order = []
    for i in range(len(toward)):
        for j in range(len(away)):
            ahead, behind = (
                np.delete(rows, row, 0).mean(axis=0, dtype=np.float64) for rows, row in ((toward, i), (away, j))
            )
            rest = ahead - behind
            gap = round(float((toward[i].astype(np.float64) - away[j]) @ rest), 6)
            order.append(0.5 if gap == 0 else float(gap > 0))
    auroc, n_pairs = held_out_auroc(toward, away)
    assert n_pairs == 12
    assert auroc == pytest.approx(np.mean(order), abs=0.05)  # a gap on the edge of rounding may fall on either side


def test_examples_without_a_concept_score_like_chance() -> None:
    rng = np.random.default_rng(3)
    drawn = [held_out_auroc(*np.split(rng.normal(size=(12, 40)), 2))[0] for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(0.5, abs=0.03)


def test_a_planted_concept_is_found() -> None:
    rng = np.random.default_rng(4)
    concept = np.eye(40)[0] * 6
    assert held_out_auroc(rng.normal(size=(8, 40)) + concept, rng.normal(size=(8, 40)) - concept) == (1.0, 64)


def test_too_few_to_hold_out() -> None:
    assert held_out_auroc(np.ones((1, 3)), np.ones((5, 3))) == (None, 0)


def test_the_share_of_variance() -> None:
    vectors = np.array([[3, 0, 1], [-3, 0, 1], [0, 1, 1], [0, -1, 1]], np.float32)
    assert [variance_share(vectors, direction) for direction in np.eye(3)] == pytest.approx([0.9, 0.1, 0])
    assert variance_share(vectors[:1], np.eye(3)[0]) is None
    assert variance_share(np.ones((4, 3)), np.eye(3)[0]) is None


def test_extremes_are_those_of_the_whole_corpus(index: Index) -> None:
    concept = ConceptAxis(index, LOOPS, NUMBERS)
    toward, away = concept.extremes(5)
    stored = {found.chunk.id: found for found in index.scan() if found.chunk.document_id != "integers"}
    places = dict(
        zip(stored, axis_scores(np.array([f.dense for f in stored.values()]), concept.axis).tolist(), strict=True)
    )
    for side, sign in ((toward, -1), (away, 1)):
        best = sorted(places, key=lambda key: (round(sign * places[key], 5), key))[:5]
        assert [placed.hit.chunk.id for placed in side] == best
        assert [placed.projection for placed in side] == pytest.approx([places[key] for key in best], abs=1e-4)
    assert toward[0].hit.chunk.metadata["kind"] == "loop"
    assert away[0].hit.chunk.metadata["kind"] == "number"
    assert concept.trust.auroc == 1
    assert concept.trust.n_pairs == 9
    assert concept.trust.variance_share > concept.trust.average_share
    assert concept.trust.warnings == ()


def test_filters_hold(index: Index) -> None:
    toward, away = ConceptAxis(index, LOOPS, NUMBERS).extremes(50, 'kind = "error"')
    assert {placed.hit.chunk.metadata["kind"] for placed in (*toward, *away)} == {"error"}
    assert [placed.hit.chunk.id for placed in toward] == [placed.hit.chunk.id for placed in reversed(away)]


def test_hits_are_ordered_and_keep_what_they_were(index: Index) -> None:
    concept = ConceptAxis(index, LOOPS, NUMBERS)
    hits = Retriever(index).search("value of an expression", 20).hits
    placed = concept.order(hits)
    assert sorted((found.hit for found in placed), key=lambda hit: hit.rank) == list(hits)
    assert [found.projection for found in placed] == sorted((found.projection for found in placed), reverse=True)
    vectors = index.store.vectors([found.hit.chunk.id for found in placed])
    expected = axis_scores(np.array([vectors[found.hit.chunk.id] for found in placed]), concept.axis)
    assert [found.projection for found in placed] == pytest.approx(expected)
    assert placed[0].to_json()["projection"] == placed[0].projection
    assert placed[0].to_json()["rank"] == placed[0].hit.rank
    assert concept.order([]) == []


def test_a_concept_that_is_none_is_warned_of(index: Index) -> None:
    mixed = ConceptAxis(
        index, ["text:loop", "text:number", "text:error"], ["text:loops", "text:numbers", "text:errors"]
    )
    assert mixed.trust.auroc < 0.8
    assert any("weak" in warning for warning in mixed.trust.warnings)


def test_few_examples_are_warned_of(index: Index) -> None:
    (warning,) = ConceptAxis(index, LOOPS[:1], NUMBERS).trust.warnings
    assert "untested" in warning
    (warning,) = ConceptAxis(index, LOOPS[:2], NUMBERS[:2]).trust.warnings
    assert "1 of 6 cases" in warning


def test_what_is_refused(index: Index) -> None:
    with pytest.raises(InputError, match="both sides"):
        ConceptAxis(index, LOOPS, [])
    with pytest.raises(InputError, match="cancel each other out"):
        ConceptAxis(index, ["break"], ["break"])
    with pytest.raises(InputError, match="k is 0"):
        ConceptAxis(index, LOOPS, NUMBERS).extremes(0)

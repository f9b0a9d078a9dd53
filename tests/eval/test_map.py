"""The map: neighbours, honesty against scikit-learn, places for what comes later, colours, samples."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from core.errors import DependencyError, InputError
from core.types import Flag
from eval.diagnose import Diagnosis, diagnose
from eval.map import MapOptions, check_method, draw_map
from eval.map.colours import by_field, by_source, categories, offered_fields
from eval.map.honesty import assess, displacement, faithfulness
from eval.map.layout import lay_out
from eval.neighbours import nearest_rows
from eval.subjects import chunks_of_flags
from tests.eval.corpus import make_chunk, topical_corpus


@pytest.fixture(autouse=True)
def one_layout(monkeypatch):
    """No map is drawn again from other starts: that is tested by itself."""
    monkeypatch.setattr("eval.map.honesty.N_RUNS", (0, 0))


@pytest.fixture(scope="module")
def diagnosis() -> Diagnosis:
    return diagnose(topical_corpus(120, muddy=10)[0])


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return topical_corpus(150)[0].vectors


@pytest.fixture(scope="module")
def layout(rows):
    return lay_out(rows)


def with_chunks(diagnosis: Diagnosis, change) -> Diagnosis:
    """The diagnosis over chunks of which each is changed by its place."""
    chunks = tuple(change(i, chunk) for i, chunk in enumerate(diagnosis.sample.chunks))
    return replace(diagnosis, sample=replace(diagnosis.sample, chunks=chunks))


def test_neighbours_are_those_of_a_full_comparison(rows, monkeypatch):
    monkeypatch.setattr("eval.neighbours.VALUES_AT_ONCE", 1000)  # several blocks
    found, distances = nearest_rows(rows, rows, 7, own=np.arange(len(rows)))
    full = np.linalg.norm(rows[:, None].astype(np.float64) - rows, axis=2)
    np.fill_diagonal(full, np.inf)
    np.testing.assert_array_equal(found, np.argsort(full, axis=1, kind="stable")[:, :7])
    np.testing.assert_allclose(distances, np.sort(full, axis=1)[:, :7], atol=1e-3)
    everything, _ = nearest_rows(rows[:3], rows[:5], 5)
    assert [sorted(row) for row in everything.tolist()] == [[0, 1, 2, 3, 4]] * 3


def test_faithfulness_is_that_of_scikit_learn_both_ways(rows):
    places = np.random.default_rng(0).standard_normal((len(rows), 2))
    trust, continuity, kept, n_measured = faithfulness(rows, places, 10)
    assert trust == pytest.approx(trustworthiness(rows, places, n_neighbors=10), abs=1e-6)
    assert continuity == pytest.approx(trustworthiness(places, rows, n_neighbors=10), abs=1e-6)
    assert kept == pytest.approx(10 / 149, abs=0.05)  # what chance keeps
    assert n_measured == 150


def test_faithfulness_on_a_part_of_the_points_is_near_that_on_all(rows, layout, monkeypatch):
    full = faithfulness(rows, layout.places, 10)
    monkeypatch.setattr("eval.map.honesty.N_MEASURED", 60)
    part = faithfulness(rows, layout.places, 10)
    assert part[3] == 60
    np.testing.assert_allclose(part[:3], full[:3], atol=0.05)


def test_displacement_sees_through_turns_mirrors_shifts_and_scales():
    places = np.random.default_rng(0).standard_normal((50, 2))
    turn = np.array([[0.6, 0.8], [0.8, -0.6]])
    np.testing.assert_allclose(displacement(places, 3 * places @ turn + 5), 0, atol=1e-9)
    moved = places.copy()
    moved[7] += 4
    assert displacement(places, moved).argmax() == 7


def test_a_map_keeps_neighbours_and_says_how_many(diagnosis):
    drawn = draw_map(diagnosis)
    assert drawn.honesty.trustworthiness > 0.9
    assert drawn.honesty.continuity > 0.9
    assert drawn.honesty.knn_preservation > 0.5
    assert drawn.positions.min() >= 0
    assert drawn.positions.max() <= 1
    assert not drawn.honesty.is_unstable.any()


def test_points_that_another_start_places_elsewhere_are_marked(rows, layout, monkeypatch):
    class Restless:
        """A layout of which another start moves one point by a fifth of the width, and turns all the rest."""

        is_line = False
        places = layout.places

        def again(self, seed, jitter):
            assert jitter > 0
            moved = self.places[:, ::-1].copy()
            moved[10 + seed] += 0.2 * np.ptp(self.places, axis=0).max()
            return moved

    monkeypatch.setattr("eval.map.honesty.N_RUNS", (2, 1))
    honesty = assess(rows, Restless())
    assert np.flatnonzero(honesty.is_unstable).tolist() == [11, 12]
    assert honesty.threshold == 0.1


def test_another_start_gives_another_map_and_always_the_same_one(layout):
    other = layout.again(1, 0.5)
    assert not np.array_equal(other, layout.places)
    np.testing.assert_array_equal(other, layout.again(1, 0.5))


def test_what_comes_later_is_placed_among_its_neighbours_and_moves_nothing(rows):
    known, later = rows[:130], rows[130:]
    layout = lay_out(known)
    before = layout.places.copy()
    placed = layout.place(later)
    np.testing.assert_array_equal(layout.places, before)
    np.testing.assert_array_equal(placed, layout.place(later))
    np.testing.assert_allclose(layout.place(later[:1]), placed[:1], atol=1e-6)  # each by itself
    nearest, _ = nearest_rows(later, known, 5)
    width = np.ptp(layout.places)
    distance = [
        np.linalg.norm(layout.places[near] - place, axis=1).min() for near, place in zip(nearest, placed, strict=True)
    ]
    assert np.median(distance) < 0.05 * width
    assert np.max(distance) < 0.3 * width


@pytest.mark.parametrize("gradient", ["bh", "fft"])
def test_known_places_are_a_layout_without_another_optimisation(rows, monkeypatch, gradient):
    monkeypatch.setattr("eval.map.layout.INTERPOLATED_FROM", 0 if gradient == "fft" else 10**6)
    monkeypatch.setattr("eval.map.layout.EXAGGERATED_STEPS", 50)
    monkeypatch.setattr("eval.map.layout.STEPS", 100)
    known, later = rows[:120], rows[120:]
    layout = lay_out(known)
    placed = layout.place(later)
    monkeypatch.setattr("eval.map.layout._Tsne._optimised", None)
    again = lay_out(known, places=layout.places.copy())
    np.testing.assert_array_equal(again.places, layout.places)
    np.testing.assert_array_equal(again.place(later), placed)


def test_a_recalled_map_is_the_map(diagnosis, monkeypatch):
    kept: dict = {}

    def recall(name, key, make):
        if (name, key) not in kept:
            kept[name, key] = json.dumps(make())
        return json.loads(kept[name, key])

    first = draw_map(diagnosis, recall=recall)
    documents = draw_map(diagnosis, MapOptions(unit="documents"), recall=recall)
    assert len(kept) == 2
    monkeypatch.setattr("eval.map.layout._Tsne._optimised", None)
    again = draw_map(diagnosis, recall=recall)
    np.testing.assert_array_equal(again.positions, first.positions)
    np.testing.assert_array_equal(again.honesty.is_unstable, first.honesty.is_unstable)
    assert again.honesty.to_json() == first.honesty.to_json()
    assert again.colourings == first.colourings
    assert documents.unit == "documents"
    changed = replace(diagnosis, sample=replace(diagnosis.sample, vectors=diagnosis.sample.vectors[::-1].copy()))
    with pytest.raises(TypeError):
        draw_map(changed, recall=recall)


def test_queries_stand_on_the_map_with_their_neighbours(diagnosis):
    vectors = diagnosis.sample.vectors
    drawn = draw_map(diagnosis, MapOptions(queries=[("q1", "first"), ("q2", "last")], query_vectors=vectors[[0, -1]]))
    assert [query.query_id for query in drawn.queries] == ["q1", "q2"]
    assert drawn.queries[0].nearest[0] == 0
    np.testing.assert_allclose(drawn.queries[0].position, drawn.positions[0], atol=0.1)
    np.testing.assert_array_equal(drawn.positions, draw_map(diagnosis).positions)  # queries don't shape it


def test_documents_are_placed_by_the_mean_of_their_chunks(diagnosis):
    paired = with_chunks(diagnosis, lambda i, chunk: replace(chunk, document_id=f"d{i // 2:03d}"))
    drawn = draw_map(paired, MapOptions(unit="documents"))
    assert drawn.members == tuple((2 * i, 2 * i + 1) for i in range(60))
    assert drawn.n_total == 60
    flagged = {place for places in drawn.links for place in places}
    assert flagged == {place // 2 for places in chunks_of_flags(paired) for place in places}


def test_a_sample_keeps_the_share_of_every_source(diagnosis):
    sourced = with_chunks(diagnosis, lambda i, chunk: replace(chunk, uri=f"{'ab'[i % 3 == 0]}/{i}.txt"))
    drawn = draw_map(sourced, MapOptions(limit=60))
    assert len(drawn.members) == 60
    assert sum(sourced.sample.chunks[some[0]].uri.startswith("b/") for some in drawn.members) == 20
    assert "60 of 120 chunks, each source by its share" in drawn.note
    assert drawn.members == tuple(sorted(drawn.members))


@pytest.mark.parametrize("n", [0, 1, 4])
def test_few_chunks_stand_on_a_line(n):
    small = diagnose(topical_corpus(n)[0])
    options = MapOptions(queries=[("q", "?")], query_vectors=small.sample.vectors[:1]) if n else MapOptions()
    drawn = draw_map(small, options)
    assert len(drawn.positions) == n
    assert drawn.honesty.trustworthiness is None
    assert len(drawn.queries) == min(n, 1)
    assert "on a line" in drawn.note


def test_colours(diagnosis):
    tagged = with_chunks(
        diagnosis,
        lambda i, chunk: replace(
            chunk, metadata={"year": 1900 + i, "team": "red" if i % 2 else "blue", "note": str(i)}
        ),
    )
    axis = np.linspace(-1, 2, 120)
    drawn = draw_map(tagged, MapOptions(colour="year", axis=axis))
    colourings = {colouring.name: colouring for colouring in drawn.colourings}
    assert list(colourings) == ["source", "topic", "finding", "place", "axis", "team", "year"]  # a note is no group
    assert drawn.colour == "year"
    assert colourings["year"].is_ordered
    assert colourings["year"].labels[0] == "1900 to 1917"
    assert colourings["team"].labels == ("blue", "red")
    assert colourings["axis"].labels[0] == "-1.00 to -0.57"
    assert np.ptp(np.bincount(colourings["axis"].of)) <= 1
    assert "muddy chunk" in colourings["finding"].labels
    assert set(colourings["place"].labels) <= {"place depends on the start", "stable place"}
    assert draw_map(tagged, MapOptions(axis=axis)).colour == "axis"


def test_categories_beyond_what_eyes_tell_apart_are_one():
    many = categories("x", "x", [f"l{i // 2}" for i in range(40)], "other")
    assert len(many.labels) == 8
    assert many.labels[-1] == many.rest == "other"
    assert many.of[-1] == 7
    assert by_field("f", [["a", "b"], None, "a", []]).labels == ("a", "–")
    assert by_field("f", [1.0, None, *range(20)]).rest == "–"
    assert by_field("source", ["a", "b"]).name == "metadata.source"
    assert offered_fields([{"a": 1}, {"a": 1}, {"a": 2}, {"a": 2, "b": 3}], None) == ["a"]
    assert offered_fields([{"a": 1, "b": 2}], "b") == ["b"]


def test_folders_are_sources_where_there_are_several():
    chunks = [make_chunk(f"c{i}", ["Text."], uri=f"file:///{'ab'[i % 2]}/{i}.md", title=f"T{i}") for i in range(4)]
    assert by_source(chunks).labels == ("file:///a", "file:///b")
    assert by_source(chunks[::2]).labels == ("T0", "T2")


def test_topics_that_were_sampled_are_filled_in_by_the_nearest_mean(diagnosis):
    full = draw_map(diagnosis)
    rows = tuple({**row, "cluster": {"cluster": None}} if i % 4 == 0 else row for i, row in enumerate(diagnosis.scores))
    part = draw_map(replace(diagnosis, scores=rows))
    topics = [{c.name: c for c in drawn.colourings}["topic"] for drawn in (full, part)]
    names = [[topic.labels[of] for of in topic.of] for topic in topics]
    assert np.mean([a == b for a, b in zip(*names, strict=True)]) > 0.95


def test_findings_are_linked_with_their_chunks():
    chunks = [
        make_chunk("c0", ["Rivers and water and stones."], "d0"),
        make_chunk("c1", ["Taxes and law and money."], "d1"),
        make_chunk("c2", ["All rights reserved by the author.", "Water."], "d2"),
    ]
    sample = replace(topical_corpus(3)[0], chunks=chunks)
    flags = (
        Flag("muddy_chunk", "c1", 1, 1, 1, {}, ""),
        Flag("duplicate", "c0", 1, 1, 1, {"member_ids": ["c0", "c2"]}, ""),
        Flag("merged_topics", "a | b", 1, 1, 1, {"member_ids": [["c0"], ["c1"]]}, ""),
        Flag("merged_topics", "a | b", 1, 1, 1, {"terms": [["rivers", "water"], ["taxes", "money."]]}, ""),
        Flag("boilerplate", "All", 1, 1, 1, {"sentences": ["All rights reserved…"], "documents": ["d1", "d2"]}, ""),
        Flag("domain_mismatch", "corpus", 1, 1, 1, {}, ""),
    )
    linked = chunks_of_flags(Diagnosis(sample, flags, {}, ()))
    assert linked == [(1,), (0, 2), (0, 1), (0, 1), (2,), ()]


def test_what_no_map_can_be_is_said(diagnosis, monkeypatch):
    with pytest.raises(InputError, match=r'by "nothing"\. Use source, topic, finding, place'):
        draw_map(diagnosis, MapOptions(colour="nothing"))
    with pytest.raises(InputError, match="chunks or documents"):
        draw_map(diagnosis, MapOptions(unit="words"))
    with pytest.raises(InputError, match="tsne or umap"):
        draw_map(diagnosis, MapOptions(method="pca"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"pip install 'limpid\[umap\]'"):
        check_method("umap")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("umap") is None, reason="umap-learn isn't installed")
def test_umap_is_the_same_twice_and_places_what_comes_later(rows):
    layout = lay_out(rows[:130], "umap")
    np.testing.assert_array_equal(layout.places, lay_out(rows[:130], "umap").places)
    placed = layout.place(rows[130:])
    nearest, _ = nearest_rows(rows[130:], rows[:130], 1)
    distance = np.linalg.norm(layout.places[nearest[:, 0]] - placed, axis=1)
    assert np.median(distance) < 0.1 * np.ptp(layout.places)
    known = lay_out(rows[:130], "umap", places=layout.places)
    np.testing.assert_array_equal(known.place(rows[130:]), placed)

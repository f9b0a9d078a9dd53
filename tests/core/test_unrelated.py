"""The level that unrelated questions reach."""

from __future__ import annotations

import numpy as np
import pytest

from core.index import open_index
from core.settings import Settings
from core.unrelated import LEAST_SPREAD, Unrelated, measure_unrelated, questions, unrelated_of
from ingest.pipeline import ingest, remove
from ingest.sources import discover


def test_the_questions_are_many_and_different():
    assert len(questions()) >= 100
    assert len(set(questions())) == len(questions())
    assert all(question.strip() == question and question for question in questions())


def test_the_spread_is_that_of_the_lower_half():
    rng = np.random.default_rng(0)
    best = rng.normal([0.3, 0.4], [0.05, 0.1], (20_000, 2))
    clean = unrelated_of(best, 1)
    assert (clean.chunk, clean.chunk_spread) == pytest.approx((0.3, 0.05), abs=0.003)
    assert (clean.sentence, clean.sentence_spread) == pytest.approx((0.4, 0.1), abs=0.005)
    best[:2000] += 0.5  # the corpus speaks of one question in ten
    disturbed = unrelated_of(best, 1)
    assert disturbed.chunk == pytest.approx(0.3, abs=0.02)
    assert disturbed.chunk_spread == pytest.approx(0.05, abs=0.01)


def test_an_index_without_chunks_has_levels_too():
    assert unrelated_of(np.empty((0, 2)), 0) == Unrelated(0.0, LEAST_SPREAD, 0.0, LEAST_SPREAD, 0)


def test_an_ingest_measures_it_and_follows_the_corpus(settings: Settings, write):
    for number, text in enumerate(("The oven bakes bread at 230 degrees.", "Rye dough needs a sourdough starter.")):
        write(f"pages/{number}.md", text)
    folder = str(write("pages/2.md", "Salt tightens the gluten of a dough.").parent)
    with open_index(settings, create=True) as index:
        ingest(index, discover([folder]), settings)
        measured = Unrelated.from_json(index.meta.unrelated)
        assert measured == measure_unrelated(index.store, index.embedder)
        assert measured.n_chunks == 3
        asked = index.embedder.encode_query("at which temperature is bread baked")
        best = max(float(found.dense @ asked) for found in index.scan())
        assert best > measured.chunk + 3 * measured.chunk_spread
        remove(index, [next(iter(index.store.records())).id], settings)
        assert index.meta.unrelated["n_chunks"] == 2
    with open_index(settings) as index:
        assert index.meta.unrelated["n_chunks"] == 2

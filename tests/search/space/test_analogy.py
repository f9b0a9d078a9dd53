"""Analogies: both formulas by hand, terms that are the corpus' own, and what is asked for is no answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from core.errors import InputError
from core.index import Index
from search.space.analogy import analogy, frequent_terms, three_cos_add, three_cos_mul


def test_the_formulas_by_hand() -> None:
    a, b, c = np.eye(3)
    terms = np.array([[0.6, 0.8, 0], [0, 0.6, 0.8]])
    assert three_cos_add(terms, a, b, c) == pytest.approx([0.8 - 0.6, 0.6 + 0.8])
    expected = [0.9 * 0.5 / (0.8 + 0.001), 0.8 * 0.9 / (0.5 + 0.001)]
    assert three_cos_mul(terms, a, b, c) == pytest.approx(expected)


def test_terms_are_the_corpus_own(index: Index) -> None:
    terms = frequent_terms(index.store, index.analyzer)
    texts = " ".join(found.chunk.text.lower() for found in index.scan())
    assert {"loop", "exception", "integer"} <= {term.rstrip("s") for term in terms}
    assert not {"the", "and", "is"} & set(terms)
    assert all(term in texts and not term[0].isdigit() for term in terms)
    stems = [stem for term in terms for stem in index.analyzer.query(term).indices]
    assert len(stems) == len(set(stems)) == len(terms)
    assert frequent_terms(index.store, index.analyzer, 20) == terms[:20]


def test_the_most_frequent_come_first(index: Index) -> None:
    first, *_, last = frequent_terms(index.store, index.analyzer)
    counted = [
        sum(term in set(found.chunk.text.lower().replace('"', " ").split()) for found in index.scan())
        for term in (first, last)
    ]
    assert counted[0] > counted[1]


def _planted(texts: Sequence[str]) -> np.ndarray:
    """Words that the test places, all others at a right angle to them."""
    placed = {"small": [1, 0, 0, 0, 0], "big": [1, 1, 0, 0, 0], "loop": [0, 0, 1, 0, 0], "try": [0, 1, 1, 0, 0]}
    rows = np.array([placed.get(text, [0, 0, 0, 0, 1]) for text in texts], dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_planted_analogy_is_found(index: Index) -> None:
    found = analogy(index, "small", "big", "loop", _planted)
    assert found.by_add[0].term == found.by_mul[0].term == "try"
    assert found.by_add[0].add == pytest.approx(0.5 - 0 + 2**-0.5, abs=1e-6)
    assert found.by_add[0].rank_near_c == 1
    assert [answer.add for answer in found.by_add] == sorted((answer.add for answer in found.by_add), reverse=True)
    assert [answer.mul for answer in found.by_mul] == sorted((answer.mul for answer in found.by_mul), reverse=True)


def test_real_terms(index: Index) -> None:
    found = analogy(index, "loop", "loops", "exception", index.embedder.encode_documents, k=5)
    shown = found.to_json()
    assert len(shown["3CosAdd"]) == len(shown["3CosMul"]) == 5
    given_stems = {stem for term in ("loop", "exception") for stem in index.analyzer.query(term).indices}
    for answer in (*found.by_add, *found.by_mul):
        assert not given_stems.intersection(index.analyzer.query(answer.term).indices)
        assert 1 <= answer.rank_near_c <= found.n_terms
    assert "not what is true" in shown["caveat"]
    assert {"error", "except"} & {answer.term for answer in found.by_add}


@pytest.mark.parametrize(
    ("terms", "k", "message"),
    [(("a", " ", "c"), 5, "has 0 characters"), (("a", "b", "c" * 201), 5, "has 201"), (("a", "b", "c"), 0, "k is 0")],
)
def test_what_is_refused(index: Index, terms: tuple[str, str, str], k: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        analogy(index, *terms, _planted, k)

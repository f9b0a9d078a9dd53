"""BM25 against a written-out sum and against rank-bm25's statistics, on real documents."""

from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from core.errors import ConfigError
from core.sparse import Analyzer
from core.store import EmbeddedChunk
from core.store.edge import EdgeStore
from core.types import Chunk

K1, B = 1.2, 0.75
QUERIES = ["raise an exception", "format specification width precision", "class attribute lookup __getattr__", "loop"]


def _passages() -> list[str]:
    """Words of real documents; how numbers and signs are divided is the tokenizer's own affair."""
    texts = [text[start : start + 800] for text in topics.values() for start in range(0, len(text), 8000)]
    return [" ".join(re.findall(r"[A-Za-z_]+", text)) for text in texts]


def _terms(analyzer: Analyzer, text: str) -> list[int]:
    """The text's terms, one id for each occurrence, by analysing word after word."""
    return [index for word in re.findall(r"\w+", text) for index in analyzer.query(word).indices]


def _store(folder: Path, analyzer: Analyzer, passages: dict[str, str]) -> EdgeStore:
    store = EdgeStore(folder, 2, min_free_mb=0)
    vector = np.array([1.0, 0.0], dtype=np.float32)
    _add(store, analyzer, passages, vector)
    return store


def _add(store: EdgeStore, analyzer: Analyzer, passages: dict[str, str], vector: np.ndarray) -> None:
    store.upsert(
        [
            EmbeddedChunk(
                Chunk(key, f"doc {key}", 0, 0, len(text), text), "g", vector, vector[None], analyzer.document(text)
            )
            for key, text in passages.items()
        ],
        [],
    )


def _key(number: int) -> str:
    return f"{number + 1:016x}"


@pytest.fixture(scope="module")
def passages() -> dict[str, str]:
    return {_key(number): text for number, text in enumerate(_passages())}


def test_engine_scores_equal_rank_bm25_with_lucenes_idf(tmp_path: Path, passages: dict[str, str]) -> None:
    counting = Analyzer("english", K1, B, 1.0)
    documents = {key: _terms(counting, text) for key, text in passages.items()}
    oracle = BM25Okapi(list(documents.values()), k1=K1, b=B)
    analyzer = Analyzer("english", K1, B, oracle.avgdl)
    store = _store(tmp_path / "index", analyzer, passages)
    holding = Counter(term for terms in documents.values() for term in set(terms))
    # rank-bm25's own idf can be negative; Lucene's, which the engine uses, can't. All else is the oracle's.
    n = oracle.corpus_size
    oracle.idf = {term: math.log(1 + (n - count + 0.5) / (count + 0.5)) for term, count in holding.items()}
    for query in QUERIES:
        expected = dict(zip(documents, oracle.get_scores(sorted(set(_terms(analyzer, query)))), strict=True))
        found = dict(store.candidates(None, analyzer.query(query), len(passages)).sparse)
        assert found
        assert found.keys() == {key for key, score in expected.items() if score > 0}
        for key, score in found.items():
            assert score == pytest.approx(expected[key], rel=1e-4)
    store.close()


def test_lengths_are_term_counts(passages: dict[str, str]) -> None:
    analyzer = Analyzer("english", K1, B, 50.0)
    for text in passages.values():
        assert analyzer.length(text) == len(_terms(analyzer, text))


def test_weights_are_the_formula() -> None:
    analyzer = Analyzer("english", 1.5, 0.5, 4.0)
    vector = analyzer.document("fox fox dog the of")  # length 3, stop words don't count
    (fox,), (dog,) = analyzer.query("fox").indices, analyzer.query("dog").indices
    weights = dict(zip(vector.indices, vector.values, strict=True))
    norm = 1.5 * (1 - 0.5 + 0.5 * 3 / 4)
    assert weights[fox] == pytest.approx(2 * 2.5 / (2 + norm), rel=1e-5)
    assert weights[dog] == pytest.approx(1 * 2.5 / (1 + norm), rel=1e-5)


def test_incremental_scores_equal_a_fresh_build(tmp_path: Path, passages: dict[str, str]) -> None:
    analyzer = Analyzer("english", K1, B, 60.0)
    vector = np.array([1.0, 0.0], dtype=np.float32)
    keys = list(passages)
    final = {key: passages[key] for key in keys[10:]} | {keys[12]: "an updated passage about exceptions"}
    grown = _store(tmp_path / "grown", analyzer, {key: passages[key] for key in keys[:30]})
    grown.optimize()
    _add(grown, analyzer, {key: passages[key] for key in keys[30:]}, vector)
    _add(grown, analyzer, {keys[12]: final[keys[12]]}, vector)
    grown.delete_documents([f"doc {key}" for key in keys[:10]])
    grown.optimize()
    fresh = _store(tmp_path / "fresh", analyzer, final)
    fresh.optimize()
    for query in QUERIES:
        terms = analyzer.query(query)
        ours, theirs = (
            dict(grown.candidates(None, terms, 1000).sparse),
            dict(fresh.candidates(None, terms, 1000).sparse),
        )
        assert ours
        assert ours == pytest.approx(theirs, abs=2e-6)  # float32 sums, added in another order
    grown.close()
    fresh.close()


def test_terms_spell_the_query_back() -> None:
    analyzer = Analyzer("english", K1, B, 50.0)
    spelled = analyzer.terms("Which exceptions does __set_name__ raise, and why?")
    assert list(dict.fromkeys(spelled.values())) == ["exceptions", "__set_name__", "raise", "why"] or set(
        spelled.values()
    ) >= {"exceptions", "__set_name__", "raise"}
    assert analyzer.query("the of and").indices == []
    assert analyzer.document("").indices == []


def test_unknown_language_names_the_setting() -> None:
    with pytest.raises(ConfigError, match="language"):
        Analyzer("klingon", K1, B, 50.0)


def test_languages_without_spaces_are_divided_into_words() -> None:
    analyzer = Analyzer("english", K1, B, 10.0)
    sentence = "豹队的防守只让对手得了308分，在联赛中排名第六。"
    assert analyzer.length(sentence) >= 8
    assert set(analyzer.query("联赛").indices) <= set(analyzer.document(sentence).indices)
    assert not set(analyzer.query("天气").indices) & set(analyzer.document(sentence).indices)

"""Search over a real index: what each leg gives, that scores are true, and that ranks hold together."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest

from core.errors import InputError
from core.index import Index
from search.ranking import SENTENCE_SHARE
from search.results import results_json
from search.retriever import Retriever
from tests.search.conftest import NAMES

QUERIES = ("stop a loop early", "raise an exception __cause__", "an anonymous function", "zyzzyva", "remove a name")


@pytest.fixture(scope="module")
def retriever(index: Index) -> Retriever:
    return Retriever(index)


@pytest.mark.parametrize("query", QUERIES)
def test_every_score_is_the_true_one(index: Index, retriever: Retriever, query: str) -> None:
    vector = index.embedder.encode_query(query)
    stored = {found.chunk.id: found for found in index.scan()}
    hits = retriever.search(query, k=1000).hits
    assert {hit.chunk.id for hit in hits} <= stored.keys()
    for hit in hits:
        found = stored[hit.chunk.id]
        cosine, sentence = float(found.dense @ vector), float(np.max(found.sentences @ vector))
        assert hit.cosine == pytest.approx(cosine, abs=1e-5)
        assert hit.sentence_cosine == pytest.approx(sentence, abs=1e-3)
        assert hit.legs["dense"].score == pytest.approx(
            (1 - SENTENCE_SHARE) * cosine + SENTENCE_SHARE * sentence, abs=1e-3
        )
    lexical = {hit.chunk.id: hit.legs["sparse"].score for hit in retriever.search(query, k=1000, mode="sparse").hits}
    for hit in hits:
        # A chunk that only the dense leg returned is given its BM25 score too, which is zero only without its terms.
        assert hit.legs["sparse"].score == pytest.approx(lexical.get(hit.chunk.id, 0.0), abs=1e-5)
        assert (hit.legs["sparse"].rank is None) == (hit.legs["sparse"].score == 0)


@pytest.mark.parametrize("query", QUERIES)
def test_convex_fusion_is_the_weighted_sum_over_the_union(retriever: Retriever, query: str) -> None:
    hits = retriever.search(query, k=1000).hits
    for leg in ("dense", "sparse"):
        raw = [hit.legs[leg].score for hit in hits]
        spread = max(raw) - min(raw)
        for hit in hits:
            expected = (hit.legs[leg].score - min(raw)) / spread if spread else float(max(raw) > 0)
            assert hit.legs[leg].normalized == pytest.approx(expected)
    for hit in hits:
        assert hit.score == pytest.approx(0.6 * hit.legs["dense"].normalized + 0.4 * hit.legs["sparse"].normalized)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_short_list_is_the_start_of_a_long_one(retriever: Retriever) -> None:
    for mode in ("hybrid", "dense", "sparse"):
        long = retriever.search("handle an error", k=30, mode=mode).hits
        assert [hit.chunk.id for hit in retriever.search("handle an error", k=7, mode=mode).hits] == [
            hit.chunk.id for hit in long[:7]
        ]


def test_the_same_query_gives_the_same_answer(retriever: Retriever) -> None:
    first, second = (retriever.search("stop a loop", k=20, explain=True) for _ in range(2))
    assert first.hits == second.hits


def test_the_best_sentence_is_the_nearest(index: Index, retriever: Retriever) -> None:
    for query in QUERIES:
        vector = index.embedder.encode_query(query)
        for hit in retriever.search(query, k=5).hits:
            assert hit.best_sentence in hit.chunk.sentences
            (found,) = index.store.fetch([hit.chunk.id], sentences=True).values()
            scores = found.sentences @ vector
            at = hit.chunk.sentences.index(hit.best_sentence)
            assert scores[at] == pytest.approx(max(scores))


def test_exact_words_are_found_and_named(retriever: Retriever) -> None:
    top = retriever.search("what is __cause__ for", explain=True).hits[0]
    assert "__cause__" in top.chunk.text
    assert "__cause__" in top.matched_terms


def test_unknown_words_leave_the_dense_leg(retriever: Retriever) -> None:
    hits = retriever.search("zyzzyva", k=5).hits
    assert len(hits) == 5
    assert all(hit.legs["sparse"].rank is None for hit in hits)
    assert retriever.search("zyzzyva", mode="sparse").hits == ()


def test_rrf_ranks_every_candidate_by_both_legs(index: Index) -> None:
    hits = Retriever(index, 5).search("raise an exception", k=6, fusion="rrf").hits
    assert not all(leg.found for hit in hits for leg in hit.legs.values())  # some ranks are of completed scores
    for hit in hits:
        assert hit.score == pytest.approx(sum(1 / (60 + leg.rank) for leg in hit.legs.values() if leg.rank))


def test_filters_hold_on_both_legs(retriever: Retriever) -> None:
    where = f"size <= {len(topics['return'])} and document_id != 'break'"
    allowed = {name for name in NAMES if len(topics[name]) <= len(topics["return"])} - {"break"}
    for mode in ("hybrid", "dense", "sparse"):
        found = {hit.chunk.document_id for hit in retriever.search("return a value", k=50, mode=mode, where=where).hits}
        assert found
        assert found <= allowed


def test_documents_score_as_their_best_chunk(retriever: Retriever) -> None:
    for mode in ("hybrid", "dense", "sparse"):
        best: dict[str, float] = {}
        for hit in retriever.search("handle an error", k=1000, mode=mode).hits:
            best.setdefault(hit.chunk.document_id, hit.score)
        ranked = retriever.rank_documents("handle an error", k=5, mode=mode)
        assert ranked == sorted(best.items(), key=lambda found: (-found[1], found[0]))[:5]


def test_offsets_point_into_the_document(index: Index, retriever: Retriever) -> None:
    for hit in retriever.search("class attributes", k=20).hits:
        text = index.store.record(hit.chunk.document_id).text
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text


def test_a_query_beyond_the_window_says_so(retriever: Retriever) -> None:
    (note,) = retriever.search("loop " * 400).notes
    assert "402 tokens; the encoder read the first 256" in note


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"query": ""}, "empty"),
        ({"query": "x", "k": 0}, "between 1 and"),
        ({"query": "x", "k": 10_001}, "between 1 and"),
        ({"query": "x", "mode": "both"}, "Unknown mode 'both'"),
        ({"query": "x", "fusion": "sum"}, "Unknown fusion 'sum'"),
        ({"query": "x", "where": "colour = 1"}, "unknown field 'colour'"),
        ({"query": "x", "offset": -1}, "offset is -1; it must lie between 0 and 9999"),
        ({"query": "x", "offset": 9999, "k": 2}, "offset . k is 10001"),
        ({"query": "x", "group": "title"}, "Unknown group 'title'; use one of document"),
        ({"query": "x", "per_document": 2}, "ask for group 'document' too"),
        ({"query": "x", "diversity": 1.1}, "diversity is 1.1; it must lie between 0 and 1"),
        ({"query": "x", "neighbours": 11}, "neighbours is 11"),
        ({"query": "x", "neighbours": 1, "passage": "section"}, "neighbours widen chunks"),
        ({"query": "x", "diversity": 0.5, "passage": "sentences"}, "use another passage"),
        ({"query": "x", "rerank": True}, "no reranker"),
    ],
)
def test_wrong_calls(retriever: Retriever, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        retriever.search(**arguments)


def test_json_has_the_contracts_keys(retriever: Retriever, tmp_path: Path) -> None:
    answer = json.loads(json.dumps(results_json(retriever.search("stop a loop", k=3))))
    assert answer.keys() == {"query", "mode", "took_ms", "hits", "signals"}
    wanted = {"rank", "score", "document_id", "chunk_id", "text", "start", "end", "page", "headings", "uri", "legs"}
    for hit in answer["hits"]:
        assert wanted <= hit.keys()
        assert hit["legs"].keys() == {"dense", "sparse"}
        assert hit["legs"]["dense"].keys() == {"rank", "score"}

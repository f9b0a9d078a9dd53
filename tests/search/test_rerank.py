"""Reranking: a cross-encoder's order of the first candidates, and what the rest becomes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from core.embed.cross_encoder import PairScores
from core.errors import InputError
from core.index import Index
from search.rerank import Reranker
from search.results import results_json
from search.retriever import Retriever

QUERY, DEPTH = "raise an exception", 6


class ByLength:
    """Stands where the cross-encoder is: the shorter the text, the better; remembers what it read."""

    name, runtime, max_tokens = "by length", "none", 512

    def __init__(self, n_cut: int = 0):
        self.read: list[str] = []
        self._n_cut = n_cut

    def score(self, query: str, texts: Sequence[str]) -> PairScores:
        assert query == QUERY
        self.read += texts
        return PairScores(-np.array([len(text) for text in texts], dtype=np.float64), self._n_cut)


@pytest.fixture
def encoder() -> ByLength:
    return ByLength()


@pytest.fixture
def retriever(index: Index, encoder: ByLength) -> Retriever:
    return Retriever(index, reranker=Reranker(encoder, DEPTH))


def test_the_first_candidates_are_read_and_reordered(index: Index, retriever: Retriever, encoder: ByLength) -> None:
    plain = Retriever(index).search(QUERY, 20).hits
    hits = retriever.search(QUERY, 20, rerank=True).hits
    assert encoder.read == [hit.chunk.embedding_text for hit in plain[:DEPTH]]
    expected = sorted(plain[:DEPTH], key=lambda hit: len(hit.chunk.embedding_text))
    assert [hit.chunk.id for hit in hits] == [hit.chunk.id for hit in [*expected, *plain[DEPTH:]]]
    assert [hit.chunk.id for hit in hits[:DEPTH]] != [hit.chunk.id for hit in plain[:DEPTH]]
    scores = {hit.chunk.id: hit.score for hit in plain}
    for hit in hits[:DEPTH]:
        assert hit.reranked.score == -len(hit.chunk.embedding_text)
        assert plain[hit.reranked.rank_before - 1].chunk.id == hit.chunk.id
        assert hit.score == scores[hit.chunk.id]  # what fusion gave it
    assert all(hit.reranked is None for hit in hits[DEPTH:])


def test_pages_of_a_reranked_list_fit_together(retriever: Retriever) -> None:
    whole = retriever.search(QUERY, 20, rerank=True).hits
    first, second = (retriever.search(QUERY, k, offset=start, rerank=True).hits for k, start in ((4, 0), (16, 4)))
    assert (*first, *second) == whole


def test_it_reads_nothing_unless_it_is_asked(index: Index, retriever: Retriever, encoder: ByLength) -> None:
    plain = Retriever(index).search(QUERY).hits
    assert retriever.search(QUERY, rerank=False).hits == retriever.search(QUERY).hits == plain
    assert not encoder.read
    assert retriever.search(QUERY, rerank=True).hits != plain
    with pytest.raises(InputError, match="LIMPID_RERANKER"):
        Retriever(index).search(QUERY, rerank=True)


def test_it_is_on_where_tuning_has_found_a_gain(
    index: Index, retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index.meta, "tuning", {"alpha": 0.6, "rerank": True})
    assert retriever.search(QUERY).hits[0].reranked
    assert not retriever.search(QUERY, rerank=False).hits[0].reranked
    assert not Retriever(index).search(QUERY).hits[0].reranked


def test_filters_groups_and_diversity_go_with_it(retriever: Retriever) -> None:
    where = 'document_id in ("raise", "try", "exceptions")'
    hits = retriever.search(QUERY, 20, where=where, group="document", diversity=0.2, rerank=True).hits
    assert sorted(hit.chunk.document_id for hit in hits) == ["exceptions", "raise", "try"]
    assert any(hit.reranked for hit in hits)
    sentences = retriever.search(QUERY, 3, passage="sentences", rerank=True).hits
    assert any(hit.reranked for hit in sentences)


def test_documents_stand_in_the_reranked_order(index: Index, retriever: Retriever) -> None:
    hits = retriever.search(QUERY, 1000, rerank=True).hits
    order = list(dict.fromkeys(hit.chunk.document_id for hit in hits))
    ranked = retriever.rank_documents(QUERY, 5, rerank=True)
    assert [key for key, _ in ranked] == order[:5]
    assert [score for _, score in ranked] == [1 / rank for rank in range(1, 6)]
    assert retriever.rank_documents(QUERY, 5) == Retriever(index).rank_documents(QUERY, 5)


def test_json_says_what_the_reranker_gave(retriever: Retriever) -> None:
    found = retriever.search(QUERY, 20, rerank=True)
    assert sum(hit.reranked is not None for hit in found.hits) == DEPTH
    for hit, shown in zip(found.hits, results_json(found)["hits"], strict=True):
        if hit.reranked:
            assert shown["rerank"] == {"score": hit.reranked.score, "rank_before": hit.reranked.rank_before}
        else:
            assert "rerank" not in shown


def test_passages_that_were_cut_are_told(index: Index) -> None:
    retriever = Retriever(index, reranker=Reranker(ByLength(n_cut=2), DEPTH))
    told = "The reranker reads 512 tokens of query and passage together: 2 of 6 passages were cut for it."
    assert told in retriever.search(QUERY, rerank=True).notes


def test_nothing_found_is_nothing_to_read(index: Index, encoder: ByLength) -> None:
    retriever = Retriever(index, reranker=Reranker(encoder))
    assert retriever.search(QUERY, where='document_id = "nowhere"', rerank=True).hits == ()

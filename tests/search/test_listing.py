"""The list behind a page: pages fit together, and diversity, grouping and surroundings keep their promises on them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.index import Index
from search.diversity import maximal_marginal_relevance
from search.fusion import FUSIONS, min_max
from search.ranking import MODES, Ranker
from search.retriever import Retriever

QUERIES = ("stop a loop early", "raise an exception __cause__", "an anonymous function", "zyzzyva", "the statement")
PASSAGES = ({}, {"passage": "sentences"}, {"passage": "section"}, {"neighbours": 1})
FEW = 7  # candidates of each leg: so few that most pages lie behind the first part of the list


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_pages_make_one_list(index: Index, data: st.DataObject) -> None:
    retriever = Retriever(index, FEW)
    how = data.draw(st.sampled_from(PASSAGES)) | {
        "mode": data.draw(st.sampled_from(MODES)),
        "fusion": data.draw(st.sampled_from(sorted(FUSIONS))),
        "group": data.draw(st.sampled_from([None, "document"])),
        "where": data.draw(st.sampled_from([None, "size > 3000"])),
    }
    if how["group"]:
        how["per_document"] = data.draw(st.integers(1, 3))
    if how.get("passage") != "sentences":
        how["diversity"] = data.draw(st.sampled_from([0.0, 0.3, 1.0]))
    query = data.draw(st.sampled_from(QUERIES))
    sizes = data.draw(st.lists(st.integers(1, 25), min_size=1, max_size=4))
    paged, offset = [], 0
    for k in sizes:
        paged += retriever.search(query, k, offset=offset, **how).hits
        offset += k
    assert tuple(paged) == retriever.search(query, offset, **how).hits
    assert [hit.rank for hit in paged] == list(range(1, len(paged) + 1))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fusion", ["convex", "zscore"])
def test_the_list_holds_every_candidate_once_by_falling_score(index: Index, mode: str, fusion: str) -> None:
    n_chunks = index.store.count_chunks()
    hits = Retriever(index, FEW).search("the statement", 1000, mode, fusion=fusion).hits
    assert len({hit.chunk.id for hit in hits}) == len(hits)
    if mode != "sparse":
        assert len(hits) == n_chunks
    assert n_chunks > 4 * FEW  # otherwise the list has a part or two
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_deep_list_begins_as_a_shallow_one(index: Index) -> None:
    ranking = Ranker(index, FEW).rank("the statement")
    expected = [ranking.ids[row] for row in ranking.best()]
    hits = Retriever(index, FEW).search("the statement", 1000).hits
    assert [hit.chunk.id for hit in hits[: len(expected)]] == expected
    assert [hit.score for hit in hits[: len(expected)]] == pytest.approx(ranking.fused.scores[ranking.best()].tolist())


@pytest.mark.parametrize("per_document", [1, 2])
@pytest.mark.parametrize("passage", ["chunk", "sentences"])
def test_a_group_keeps_the_best_of_each_document_and_counts_the_rest(
    index: Index, per_document: int, passage: str
) -> None:
    retriever = Retriever(index, 1000)
    query = "raise an exception"
    every = retriever.search(query, 1000, passage=passage).hits
    hits = retriever.search(query, 1000, passage=passage, group="document", per_document=per_document).hits
    n_of, kept = Counter(hit.chunk.document_id for hit in every), Counter()
    expected = []
    for hit in every:
        kept[hit.chunk.document_id] += 1
        if kept[hit.chunk.document_id] <= per_document:
            expected.append((hit.chunk.id, hit.score, max(0, n_of[hit.chunk.document_id] - per_document)))
    assert [(hit.chunk.id, hit.score, hit.n_more) for hit in hits] == expected
    assert any(hit.n_more for hit in hits)
    assert all(hit.n_more is None for hit in every)


def test_diversity_orders_by_marginal_relevance(index: Index) -> None:
    query, diversity = "raise an exception", 0.4
    retriever = Retriever(index)
    plain = retriever.search(query, 1000).hits
    hits = retriever.search(query, 1000, diversity=diversity).hits
    vectors = index.store.vectors([hit.chunk.id for hit in plain])
    relevance = dict(zip([hit.chunk.id for hit in plain], min_max(np.array([hit.score for hit in plain])), strict=True))
    assert {hit.chunk.id for hit in hits} == relevance.keys()
    chosen: list[str] = []
    for hit in hits[:8]:
        gains = {
            key: (1 - diversity) * relevance[key]
            - diversity * max((float(vectors[key] @ vectors[other]) for other in chosen), default=0.0)
            for key in relevance.keys() - set(chosen)
        }
        assert gains[hit.chunk.id] == pytest.approx(max(gains.values()), abs=2e-6)
        chosen.append(hit.chunk.id)
    assert [hit.chunk.id for hit in hits] != [hit.chunk.id for hit in plain]


def test_marginal_relevance_written_out() -> None:
    vectors = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    relevance = np.array([1.0, 0.9, 0.2])
    # Second place: row 1 gets .5 · .9 − .5 · 1 = −.05, row 2 gets .5 · .2 − .5 · 0 = .1.
    assert maximal_marginal_relevance(relevance, vectors, 0.5) == [0, 2, 1]
    assert maximal_marginal_relevance(relevance, vectors, 0.0) == [0, 1, 2]
    assert maximal_marginal_relevance(np.array([]), np.empty((0, 2)), 0.5) == []


@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 5))
def test_marginal_relevance_leaves_nothing_out(n: int, diversity: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = rng.random(n)
    rows = maximal_marginal_relevance(relevance, vectors, diversity)
    assert sorted(rows) == list(range(n))
    assert rows[0] == int(np.argmax(relevance))
    assert maximal_marginal_relevance(relevance, vectors, 0.0) == np.argsort(-relevance).tolist()


@pytest.mark.parametrize("reach", [1, 3])
def test_surroundings_stand_word_for_word_and_nothing_comes_twice(index: Index, reach: int) -> None:
    plain = {hit.chunk.id: hit for hit in Retriever(index).search("raise an exception", 1000).hits}
    hits = Retriever(index).search("raise an exception", 25, neighbours=reach).hits
    taken = []
    for hit in hits:
        text = index.store.record(hit.chunk.document_id).text
        assert text[hit.passage.start : hit.passage.end] == hit.passage.text
        assert hit.passage.start <= hit.chunk.start < hit.chunk.end <= hit.passage.end
        assert hit.score == plain[hit.chunk.id].score
        taken.append((hit.chunk.document_id, hit.passage.start, hit.passage.end))
    for one, other in pairwise(sorted(taken)):
        assert one[0] != other[0] or one[2] <= other[1]
    assert len(hits[0].passage.text) > len(hits[0].chunk.text)
    assert [hit.score for hit in hits[:3]] == sorted((hit.score for hit in hits[:3]), reverse=True)


@pytest.mark.parametrize(
    "how",
    [
        {"fusion": name} for name in FUSIONS
    ] + [{"diversity": 0.6}, {"group": "document"}, {"passage": "sentences"}, {"passage": "section"}],
)  # fmt: skip
def test_filters_hold_whatever_comes_after(index: Index, how: dict) -> None:
    where = 'letter in ("e", "r", "t") and size >= 1500 and not document_id = "raise"'
    hits = Retriever(index, FEW).search("raise an exception", 60, where=where, **how).hits
    of = {record.id: record.metadata for record in index.store.records()}
    allowed = {key for key, m in of.items() if m["letter"] in "ert" and m["size"] >= 1500} - {"raise"}
    assert {"exceptions", "try"} <= allowed < of.keys()
    assert {"exceptions", "try"} <= {hit.chunk.document_id for hit in hits} <= allowed

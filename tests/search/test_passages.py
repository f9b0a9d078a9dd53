"""Passages of sentences and sections: pure functions over made-up chunks, their properties, and over a real index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pydoc_data.topics import topics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from core.index import Index, open_index
from core.settings import Settings
from core.types import Chunk, Span
from search.passages import MAX_CHARS, section, sentence_scores, stretches, surroundings
from search.results import results_json
from search.retriever import Retriever

QUERIES = ("how is an exception caught", "when is the else clause of a loop executed", "__cause__", "remove a name")


def _chunk(position: int, n_sentences: int = 3, document_id: str = "d", headings: tuple[str, ...] = ("H",)) -> Chunk:
    """Chunks of ten-character sentences, one after the other; five characters stand between two sentences."""
    start = position * 15 * n_sentences
    spans = tuple(Span(start + 15 * i, start + 15 * i + 10) for i in range(n_sentences))
    return Chunk(
        f"{document_id}{position}", document_id, position, start, spans[-1].end, "x" * (spans[-1].end - start),
        headings=headings, sentences=spans,
    )  # fmt: skip


def _spans(found) -> list[tuple[int, int]]:
    return [(stretch.start, stretch.end) for stretch in found]


def test_a_sentence_scores_half_by_itself_and_half_by_its_chunk() -> None:
    scores = sentence_scores([np.array([1.0, 0.0]), np.array([0.5])], np.array([0.2, 1.0]))
    assert [values.tolist() for values in scores] == [[0.6, 0.1], [0.75]]


def test_one_clear_answer_is_one_sentence() -> None:
    (found,) = stretches([_chunk(0)], [np.array([0.1, 1.0, 0.2])], threshold=0.6)
    assert (found.start, found.end) == (15, 25)
    assert found.best == Span(15, 25)
    assert found.score == 1.0


def test_weak_sentences_between_strong_ones_are_bridged() -> None:
    chunk = _chunk(0, 6)
    scores = [np.array([1.0, 0.0, 0.0, 0.9, 0.0, 0.0])]
    assert _spans(stretches([chunk], scores, 0.6, max_gap=2)) == [(0, 55)]
    assert _spans(stretches([chunk], scores, 0.6, max_gap=1)) == [(0, 10), (45, 55)]


def test_a_passage_runs_on_into_the_next_chunk_of_its_section() -> None:
    scores = [np.array([0.0, 0.0, 0.8]), np.array([1.0, 0.0, 0.0])]
    for chunks, expected in (
        ([_chunk(0), _chunk(1)], [(30, 55)]),
        ([_chunk(1), _chunk(0)], None),  # the order in which they were ranked doesn't matter
        ([_chunk(0), _chunk(1, headings=("Other",))], [(45, 55), (30, 40)]),
        ([_chunk(0), _chunk(1, document_id="e")], [(45, 55), (30, 40)]),
        ([_chunk(0), _chunk(2)], [(90, 100), (30, 40)]),
    ):
        if expected is None:
            (found,) = stretches(chunks, scores[::-1], 0.6)
            assert (found.start, found.end, found.row) == (30, 55, 0)
            assert found.rows == (1, 0)
        else:
            assert _spans(stretches(chunks, scores, 0.6)) == expected


def test_a_long_passage_is_cut_at_its_weakest_sentence() -> None:
    scores = [np.array([0.9, 0.8, 0.7, 0.95, 1.0, 0.85])]
    assert _spans(stretches([_chunk(0, 6)], scores, 0.5, max_chars=45)) == [(45, 85), (0, 25)]


def test_only_a_single_sentence_may_be_longer_than_the_limit() -> None:
    assert _spans(stretches([_chunk(0)], [np.array([1.0, 0.9, 0.0])], 0.5, max_chars=5)) == [(0, 10)]


def test_no_sentences_no_passages() -> None:
    assert stretches([], [], 0.5) == []


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_passages_are_disjoint_hold_their_best_sentence_and_keep_the_limits(data: st.DataObject) -> None:
    n_chunks = data.draw(st.integers(1, 6))
    chunks = [_chunk(position, 3, headings=(data.draw(st.sampled_from("AB")),)) for position in range(n_chunks)]
    chunks = data.draw(st.permutations(chunks))
    scores = [np.array(data.draw(st.lists(st.floats(0, 1), min_size=3, max_size=3))) for _ in chunks]
    threshold, gap = data.draw(st.floats(0, 1)), data.draw(st.integers(0, 3))
    limit = data.draw(st.integers(10, 100))
    found = stretches(chunks, scores, threshold, gap, limit)
    best = max(values.max() for values in scores)
    assert found[0].score == best
    assert [stretch.score for stretch in found] == sorted((stretch.score for stretch in found), reverse=True)
    for one, other in pairwise(sorted(found, key=lambda stretch: stretch.start)):
        assert one.end <= other.start
    for stretch in found:
        assert stretch.end - stretch.start <= max(limit, 10)
        assert stretch.start <= stretch.best.start < stretch.best.end <= stretch.end
        assert stretch.best in chunks[stretch.row].sentences
        assert stretch.row in stretch.rows
        assert stretch.score >= threshold * best
        assert len({chunks[row].headings for row in stretch.rows}) == 1


def test_a_section_is_the_chunk_with_its_neighbours_under_the_same_headings() -> None:
    chunks = [_chunk(i, headings=("A",) if 1 <= i <= 4 else ("B",)) for i in range(7)]
    around = {chunk.position: chunk for chunk in chunks}
    assert [chunk.position for chunk in section(chunks[2], around)] == [1, 2, 3, 4]
    assert [chunk.position for chunk in section(chunks[2], around, max_chars=90)] == [2, 3]
    assert [chunk.position for chunk in section(chunks[2], around, max_chars=1)] == [2]
    assert section(chunks[2], {}) == [chunks[2]]
    del around[3]
    assert [chunk.position for chunk in section(chunks[2], around)] == [1, 2]


def _around(chunks: list[Chunk]) -> dict[str, dict[int, Chunk]]:
    around: dict[str, dict[int, Chunk]] = {}
    for chunk in chunks:
        around.setdefault(chunk.document_id, {})[chunk.position] = chunk
    return around


def _positions(found: list[tuple[int, list[Chunk]]]) -> list[tuple[int, list[int]]]:
    return [(row, [chunk.position for chunk in chunks]) for row, chunks in found]


def test_surroundings_that_touch_are_one() -> None:
    chunks = [_chunk(i, headings=(str(i),)) for i in range(12)]  # headings don't matter
    around = _around([*chunks, _chunk(4, document_id="e")])
    assert _positions(surroundings([chunks[5]], around, 1, {})) == [(0, [4, 5, 6])]
    assert _positions(surroundings([chunks[0]], around, 2, {})) == [(0, [0, 1, 2])]
    assert _positions(surroundings([chunks[8], chunks[5]], around, 1, {})) == [(0, [4, 5, 6, 7, 8, 9])]
    assert _positions(surroundings([chunks[9], chunks[5]], around, 1, {})) == [(0, [8, 9, 10]), (1, [4, 5, 6])]
    assert _positions(surroundings([chunks[5], chunks[5]], around, 0, {})) == [(0, [5])]
    assert surroundings([], {}, 1, {}) == []
    apart = surroundings([chunks[5], _chunk(4, document_id="e")], around, 1, {})
    assert [[chunk.document_id for chunk in found] for _, found in apart] == [["d"] * 3, ["e"]]


def test_surroundings_leave_out_what_was_returned_already() -> None:
    chunks = [_chunk(i) for i in range(12)]
    around = _around(chunks)
    assert _positions(surroundings([chunks[5]], around, 2, {"d": {4}})) == [(0, [5, 6, 7])]
    assert surroundings([chunks[5]], around, 2, {"d": {5}}) == []
    assert _positions(surroundings([chunks[5]], around, 2, {"e": {5}})) == [(0, [3, 4, 5, 6, 7])]
    del around["d"][6]
    assert _positions(surroundings([chunks[5]], around, 2, {})) == [(0, [3, 4, 5])]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    from ingest.pipeline import ingest
    from ingest.sources import discover

    folder = tmp_path_factory.mktemp("passages")
    corpus = folder / "corpus.jsonl"
    names = ("del", "exceptions", "for", "raise", "try", "while")
    corpus.write_text("\n".join(json.dumps({"_id": name, "title": name, "text": topics[name]}) for name in names))
    page = folder / "page.txt"
    page.write_text("The harbour opens at six.\n\n" + "Ships wait outside the harbour until the tide turns. " * 3)
    made_with = Settings(index=str(folder / "index"), offline=True, chunk_tokens=60)
    with open_index(made_with, create=True) as opened:
        assert not ingest(opened, discover([str(corpus), str(page)]), made_with).failures
        yield opened


@pytest.mark.parametrize("passage", ["sentences", "section"])
@pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
def test_a_passage_is_found_in_its_document_word_for_word(index: Index, passage: str, mode: str) -> None:
    retriever = Retriever(index)
    n_joined = 0
    for query in QUERIES:
        hits = retriever.search(query, k=5, mode=mode, passage=passage).hits
        assert hits
        assert len(hits) <= 5
        taken = []
        for hit in hits:
            text = index.store.record(hit.chunk.document_id).text
            assert text[hit.passage.start : hit.passage.end] == hit.passage.text
            assert len(hit.passage.text) <= MAX_CHARS
            if hit.best_sentence:
                assert hit.passage.start <= hit.best_sentence.start < hit.best_sentence.end <= hit.passage.end
                assert hit.best_sentence in hit.chunk.sentences
            taken.append((hit.chunk.document_id, hit.passage.start, hit.passage.end))
            n_joined += hit.passage.start < hit.chunk.start or hit.passage.end > hit.chunk.end
        for one, other in pairwise(sorted(taken)):
            assert one[0] != other[0] or one[2] <= other[1]
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert n_joined  # otherwise nothing here has tested passages over several chunks


def test_sentences_score_by_cosine_and_bm25_over_the_best_chunks(index: Index) -> None:
    """The first passage's best sentence, found again from stored vectors and BM25 sums alone."""
    query = QUERIES[1]
    retriever = Retriever(index)
    vector, analyzer = index.embedder.encode_query(query), index.analyzer
    ranked = retriever.search(query, k=1000).hits
    fused = np.array([hit.score for hit in ranked])
    scaled = (fused - fused.min()) / (fused.max() - fused.min())
    stored = index.store.fetch([hit.chunk.id for hit in ranked[:30]], sentences=True)
    n_chunks, holding = 0, dict.fromkeys(analyzer.query(query).indices, 0)
    for found in index.scan():
        n_chunks += 1
        for term in set(analyzer.document(found.chunk.lexical_text).indices) & holding.keys():
            holding[term] += 1
    cosines, bm25, owners, spans = [], [], [], []
    for row, hit in enumerate(ranked[:30]):
        chunk = hit.chunk
        for span, sentence in zip(chunk.sentences, stored[chunk.id].sentences, strict=True):
            document = analyzer.document(chunk.between(span.start, span.end))
            weights = dict(zip(document.indices, document.values, strict=True))
            cosines.append(float(sentence @ vector))
            bm25.append(
                sum(
                    np.log(1 + (n_chunks - n + 0.5) / (n + 0.5)) * weights[term]
                    for term, n in holding.items()
                    if term in weights and n
                )
            )
            owners.append(row)
            spans.append(span)
    scale = lambda values: (np.array(values) - min(values)) / (max(values) - min(values))  # noqa: E731
    expected = 0.5 * (0.6 * scale(cosines) + 0.4 * scale(bm25)) + 0.5 * scaled[owners]
    best = int(expected.argmax())
    first = retriever.search(query, k=3, passage="sentences").hits[0]
    assert first.best_sentence == spans[best]
    assert first.score == pytest.approx(expected[best], abs=1e-4)


def test_a_lower_threshold_returns_more_text(index: Index) -> None:
    lengths = [
        sum(
            len(hit.passage.text)
            for query in QUERIES
            for hit in Retriever(index, passage_threshold=threshold).search(query, k=100, passage="sentences").hits
        )
        for threshold in (1.0, 0.7, 0.4)
    ]
    assert lengths[0] < lengths[1] < lengths[2]


def test_few_passages_are_the_first_of_many(index: Index) -> None:
    retriever = Retriever(index)
    for query in QUERIES:
        many = retriever.search(query, k=20, passage="sentences").hits
        assert retriever.search(query, k=2, passage="sentences").hits == many[:2]


def test_a_section_spans_its_chunks_and_is_returned_once(index: Index) -> None:
    hits = Retriever(index).search("when do the ships enter the harbour?", k=20, passage="section").hits
    of_page = [hit for hit in hits if hit.chunk.uri.endswith("page.txt")]
    (hit,) = of_page
    assert hit.passage.text == index.store.record(hit.chunk.document_id).text.strip()


def test_json_holds_the_passage(index: Index) -> None:
    results = Retriever(index).search(QUERIES[0], k=3, passage="sentences")
    for answered, hit in zip(results_json(results)["hits"], results.hits, strict=True):
        assert answered["chunk_id"] == hit.chunk.id
        assert (answered["text"], answered["start"], answered["end"]) == (
            hit.passage.text, hit.passage.start, hit.passage.end,
        )  # fmt: skip


def test_nothing_found_gives_no_passages(index: Index) -> None:
    for passage in ("sentences", "section"):
        assert Retriever(index).search("zyzzyva", mode="sparse", passage=passage).hits == ()


def test_an_unknown_passage_is_refused(index: Index) -> None:
    with pytest.raises(InputError, match="Unknown passage 'page'; use one of chunk, sentences, section"):
        Retriever(index).search("x", passage="page")

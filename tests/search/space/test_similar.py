"""Search by examples: the arithmetic is the stated one, examples and their copies stay out, filters hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import InputError, NotFound
from core.index import Index
from search.results import results_json
from search.retriever import Retriever
from search.space.examples import COPY_COSINE, MAX_EXAMPLES, read_examples
from search.space.similar import STRATEGIES, combine, similar
from tests.search.space.conftest import TWIN


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def _chunks(index: Index, document_id: str) -> dict[str, np.ndarray]:
    return {found.chunk.id: found.dense for found in index.scan() if found.chunk.document_id == document_id}


ROWS = arrays(np.float64, (5, 8), elements=st.floats(-1, 1)).filter(
    lambda rows: np.linalg.norm(rows, axis=1).min() > 0.1
)


@given(ROWS, st.permutations(range(3)))
def test_a_minus_b_plus_c(rows: np.ndarray, order: list[int]) -> None:
    unit = _unit(rows)
    like, unlike = unit[:3], unit[3:]
    expected = unit[0].astype(np.float64) + unit[1] + unit[2] - unit[3] - unit[4]
    if np.linalg.norm(expected) < 1e-3:
        return
    made = combine(like, unlike)
    assert made.dtype == np.float32
    assert np.linalg.norm(made) == pytest.approx(1, abs=1e-6)
    assert made == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert combine(like[order], unlike) == pytest.approx(made, abs=1e-5)


def test_one_example_is_itself() -> None:
    vector = _unit(np.random.default_rng(0).normal(size=(1, 8)))
    assert combine(vector, vector[:0]) == pytest.approx(vector[0], abs=1e-6)
    assert combine(vector[:0], vector) == pytest.approx(-vector[0], abs=1e-6)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_text_is_a_plain_search_of_chunk_vectors(index: Index, strategy: str) -> None:
    text = "how do I leave a loop early?"
    hits = similar(index, [f"text:{text}"], k=8, strategy=strategy).hits
    plain = index.store.candidates(index.embedder.encode_query(text), None, 8).dense
    assert [hit.chunk.id for hit in hits] == [key for key, _ in plain]
    if strategy != "best_score":
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in plain], abs=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_scores_are_the_stated_ones(index: Index, strategy: str) -> None:
    like, unlike = ["text:leave a loop", "raise"], ["text:an exception", "integers"]
    vectors = np.array([example.vector for example in read_examples(index, [*like, *unlike])], dtype=np.float64)
    queries = {
        "arithmetic": vectors[0] + vectors[1] - vectors[2] - vectors[3],
        "average_vector": vectors[0] + vectors[1] - (vectors[2] + vectors[3]) / 2,
    }
    hits = similar(index, like, unlike, k=100, strategy=strategy).hits
    stored = {found.chunk.id: found.dense.astype(np.float64) for found in index.scan()}
    for hit in hits:
        dense = stored[hit.chunk.id]
        if strategy == "best_score":
            near, far = (vectors[:2] @ dense).max(), (vectors[2:] @ dense).max()
            best = max(near, far)
            expected = (1 + best / (1 + abs(best))) / 2 * (1 if near > far else -1)
        else:
            expected = dense @ queries[strategy] / np.linalg.norm(queries[strategy])
        assert hit.score == pytest.approx(expected, abs=1e-5)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    example_chunks = _chunks(index, "raise") | _chunks(index, "integers")
    left_out = stored.keys() - {hit.chunk.id for hit in hits}
    copied = {
        key
        for key, dense in stored.items()
        if max(float(dense @ vector) for vector in example_chunks.values()) >= COPY_COSINE
    }
    assert left_out == example_chunks.keys() | copied  # nothing else


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_examples_and_their_copies_stay_out(index: Index, strategy: str) -> None:
    ours, copies = _chunks(index, "continue"), _chunks(index, TWIN)
    assert len(ours) == len(copies) == 1
    for name in ("continue", next(iter(ours))):
        for like, unlike in (([name], []), (["while"], [name])):
            found = {hit.chunk.id for hit in similar(index, like, unlike, k=100, strategy=strategy).hits}
            assert found
            assert not found & (ours.keys() | copies.keys())
    by_text = similar(index, ["text:continue"], k=100, strategy=strategy).hits
    assert {hit.chunk.id for hit in by_text} >= ours.keys() | copies.keys()  # a text is in no index


def test_a_document_is_the_mean_of_its_chunks(index: Index) -> None:
    (example,) = read_examples(index, ["try"])
    chunks = _chunks(index, "try")
    mean = np.mean(list(chunks.values()), axis=0)
    assert len(chunks) > 3
    assert example.vector == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert len(example.stored) == len(chunks)


def test_subtracting_moves_away(index: Index) -> None:
    """Errors without exceptions' own words: the first hits leave what is subtracted."""
    kinds = [hit.chunk.metadata["kind"] for hit in similar(index, ["text:loop", "text:error"], k=5).hits]
    without = [hit.chunk.metadata["kind"] for hit in similar(index, ["text:loop"], ["text:error"], k=5).hits]
    assert without.count("loop") == 5
    assert kinds.count("loop") < 5


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_filters_hold(index: Index, strategy: str) -> None:
    found = similar(index, ["break"], ["text:number"], k=100, strategy=strategy, where='kind = "error"').hits
    assert {hit.chunk.document_id for hit in found} == {"exceptions", "raise", "try"}


def test_hits_have_the_form_of_a_search(index: Index) -> None:
    answer = similar(index, ["while"], k=2).to_json()
    searched = results_json(Retriever(index).search("a loop", 2, mode="dense"))
    for hit in answer["hits"]:
        assert hit.keys() == searched["hits"][0].keys()
        assert hit["legs"].keys() == {"dense"}
        assert hit["legs"]["dense"] == {"rank": hit["rank"], "score": hit["score"]}
        assert hit["best_sentence"]["text"] in hit["text"]
    assert answer["like"] == ["while"]
    assert "notes" not in answer


def test_a_text_that_the_encoder_cuts_is_told(index: Index) -> None:
    (note,) = similar(index, ["text:" + "loop " * 1000], k=1).notes
    assert f"the first {index.embedder.tokenizer.max_tokens}" in note


@pytest.mark.parametrize(
    ("like", "unlike", "options", "message"),
    [
        ([], [], {}, "no example to be like"),
        ([], ["break"], {"strategy": "average_vector"}, "average_vector needs one"),
        (["break"], ["break"], {}, "cancel each other out"),
        (["text: "], [], {}, "is empty"),
        (["break"], [], {"k": 0}, "k is 0"),
        (["break"], [], {"strategy": "mean"}, "Unknown strategy 'mean'"),
        (["break"], [], {"where": "colour = 1"}, "unknown field 'colour'"),
        (["break"] * (MAX_EXAMPLES + 1), [], {}, f"the limit is {MAX_EXAMPLES}"),
    ],
)
def test_what_is_refused(index: Index, like: list[str], unlike: list[str], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similar(index, like, unlike, **options)


@pytest.mark.parametrize("name", ["nowhere", "0123456789abcdef", "file:///nowhere"])
def test_an_unknown_example_is_not_found(index: Index, name: str) -> None:
    with pytest.raises(NotFound, match="neither a chunk nor a document"):
        similar(index, [name])


def test_away_from_something_alone(index: Index) -> None:
    hits = similar(index, [], ["text:floating point numbers"], k=100).hits
    plain = index.store.candidates(index.embedder.encode_query("floating point numbers"), None, 100).dense
    assert [hit.score for hit in hits] == pytest.approx([-score for _, score in reversed(plain)], abs=1e-5)

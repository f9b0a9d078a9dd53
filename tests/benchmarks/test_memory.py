"""The parts of the memory benchmark: a stand-in whose vectors can be ingested, and documents of the promised length."""

import json

import numpy as np

from benchmarks.memory import WORDS, StandIn, write_records, write_small_files


def test_the_stand_in_gives_unit_vectors_that_depend_on_the_text_alone(embedder):
    stand_in = StandIn(embedder)
    vectors = stand_in.encode_documents(["one", "two", "three"])
    assert vectors.shape == (3, embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(StandIn(embedder).encode_documents(["two"]), vectors[1:2])
    assert abs(vectors[0] @ vectors[1]) < 0.5
    assert stand_in.tokenizer is embedder.tokenizer


def test_records_and_files_hold_texts_of_the_promised_length(tmp_path):
    write_records(tmp_path / "corpus.jsonl", 250)
    texts = [json.loads(line)["text"] for line in (tmp_path / "corpus.jsonl").read_text().splitlines()]
    assert len(set(texts)) == 250
    assert {WORDS[0] <= len(text.split()) <= WORDS[1] for text in texts} == {True}
    write_small_files(tmp_path / "files", 250)
    assert sorted(path.read_text() for path in (tmp_path / "files").rglob("*.txt")) == sorted(texts)

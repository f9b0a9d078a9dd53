"""Vectors are encoded once and remembered on disk; whatever befalls that file, the vectors are right."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from core.embed import Embedder
from ingest.vectors import VectorCache, Vectors

TEXTS = ["An apple fell.", "The Moon did not.", "Gravity explains both."]


class Counting:
    """The real encoder, counting the texts that it is given."""

    def __init__(self, embedder: Embedder):
        self._embedder = embedder
        self.texts: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._embedder, name)

    def encode_documents(self, texts, on_progress=None):
        self.texts += texts
        return self._embedder.encode_documents(texts, on_progress)


@pytest.fixture
def counting(embedder: Embedder) -> Counting:
    return Counting(embedder)


def vectors_of(counting: Counting, folder: Path, texts: list[str], max_bytes: int = 1 << 20) -> dict[str, np.ndarray]:
    done: list[int] = []
    with VectorCache(folder, counting, max_bytes) as cache:
        found = Vectors(counting, cache).of(texts, done.append)
    assert sum(done) == len(set(texts))
    return found


def test_each_text_is_encoded_once(counting: Counting, tmp_path: Path):
    first = vectors_of(counting, tmp_path, [*TEXTS, TEXTS[0]])
    assert sorted(counting.texts) == sorted(TEXTS)
    again = vectors_of(counting, tmp_path, [*TEXTS, "A new one."])
    assert sorted(counting.texts) == sorted([*TEXTS, "A new one."])
    for text in TEXTS:
        np.testing.assert_array_equal(first[text], again[text])


def test_vectors_are_those_of_the_encoder_and_of_length_1(counting: Counting, tmp_path: Path):
    found = vectors_of(counting, tmp_path, TEXTS)
    exact = counting.encode_documents(TEXTS)
    for text, vector in zip(TEXTS, exact, strict=True):
        assert found[text].dtype == np.float32
        assert np.linalg.norm(found[text]) == pytest.approx(1, abs=1e-6)
        assert float(found[text] @ vector) > 1 - 1e-6


def test_without_a_cache_the_vectors_are_the_same(counting: Counting, tmp_path: Path):
    kept = vectors_of(counting, tmp_path, TEXTS)
    bare = vectors_of(counting, tmp_path / "none", TEXTS, max_bytes=0)
    assert not (tmp_path / "none").exists()
    for text in TEXTS:
        np.testing.assert_array_equal(kept[text], bare[text])


def test_another_prompt_or_runtime_is_another_space(counting: Counting, tmp_path: Path):
    vectors_of(counting, tmp_path, TEXTS)
    counting.prompts = {**counting.prompts, "document": "passage: "}
    vectors_of(counting, tmp_path, TEXTS)
    assert len(counting.texts) == 2 * len(TEXTS)
    counting.runtime = "another"
    vectors_of(counting, tmp_path, TEXTS)
    assert len(counting.texts) == 3 * len(TEXTS)


@pytest.mark.parametrize("damage", ["garbage", "truncated", "folder"])
def test_a_broken_file_costs_the_cache_only(counting: Counting, tmp_path: Path, damage: str):
    vectors_of(counting, tmp_path, TEXTS)
    (file,) = tmp_path.glob("*.sqlite")
    if damage == "garbage":
        file.write_bytes(b"no database" * 1000)
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        file.unlink()
        file.mkdir()
    counting.texts.clear()
    assert vectors_of(counting, tmp_path, TEXTS).keys() == set(TEXTS)
    assert sorted(counting.texts) == sorted(TEXTS)
    if damage == "garbage":  # it was replaced, and works again
        vectors_of(counting, tmp_path, TEXTS)
        assert len(counting.texts) == len(TEXTS)


def test_a_locked_file_costs_the_cache_only(counting: Counting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ingest.vectors.BUSY_TIMEOUT_S", 0.1)
    vectors_of(counting, tmp_path, TEXTS[:1])
    (file,) = tmp_path.glob("*.sqlite")
    other = sqlite3.connect(file)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert vectors_of(counting, tmp_path, TEXTS).keys() == set(TEXTS)
    finally:
        other.close()


def test_a_full_cache_drops_the_oldest(counting: Counting, tmp_path: Path):
    texts = [f"Sentence number {number} of a long series." for number in range(300)]
    limit = 120_000
    for first in range(0, len(texts), 50):
        vectors_of(counting, tmp_path, texts[first : first + 50], limit)
    counting.texts.clear()
    vectors_of(counting, tmp_path, texts[-20:], limit)
    assert counting.texts == []
    vectors_of(counting, tmp_path, texts[:20], limit)
    assert len(counting.texts) == 20


def test_work_that_is_not_wanted_any_more_ends(counting: Counting, tmp_path: Path):
    class Ended(Exception):
        pass

    def check() -> None:
        raise Ended

    with VectorCache(tmp_path, counting, 0) as cache, pytest.raises(Ended):
        Vectors(counting, cache).of(TEXTS, lambda n: None, check)
    assert counting.texts == []

"""Whether a model fits a corpus, and whether its vectors hold whole chunks: found where planted, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest

from eval.diagnose import QueryEvidence, diagnose
from eval.diagnose.mismatch import find_mismatch
from eval.diagnose.truncation import find_truncated
from eval.diagnose.understanding import LIMIT, LIMIT_OF_SHORT, find_understanding
from eval.sample import Sample, collect, normalized
from tests.eval.corpus import make_chunk

DIM = 64
N_TOPICS = 20


def direction(name: str) -> np.ndarray:
    seed = int.from_bytes(blake2b(name.encode(), digest_size=4).digest())
    return np.random.default_rng(seed).standard_normal(DIM)


def by_words(texts: Sequence[str]) -> np.ndarray:
    """An encoder that knows no meaning: every word points somewhere."""
    return normalized(np.stack([sum((direction(word) for word in text.split()), np.zeros(DIM)) for text in texts]))


def by_meaning(texts: Sequence[str]) -> np.ndarray:
    """One to which words of a topic, which end with its number, are near to each other."""
    shared = [sum((2 * direction(f"topic {w.strip('.')[-2:]}") for w in text.split()), np.zeros(DIM)) for text in texts]
    return normalized(by_words(texts) + normalized(np.stack(shared)))


def passages(encode, n: int = 120, n_sentences: int = 6, n_words: int = 8) -> Sample:
    """Passages on one of 20 topics each, whose sentences share hardly a word."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        letters = rng.choice(list("bcdfghklmnprstvz"), size=(n_sentences, n_words, 5))
        topic = f"{i % N_TOPICS:02d}"
        sentences = [" ".join("".join(word) + topic for word in line) + "." for line in letters]
        rows.append((make_chunk(f"d{i:03d}#0", sentences), encode([" ".join(sentences)])[0], encode(sentences)))
    return collect(rows, 256)


def long_passages(n_words: int, n_read: int, n: int = 40, tokens: int | None = None) -> Sample:
    """Passages of so many words, one token each, whose vectors know the first `n_read`."""
    rows = []
    for i in range(n):
        words = [f"w{i}x{j}" for j in range(n_words)]
        vector = by_words([" ".join(words[:n_read])])[0]
        count = n_words if tokens is None else tokens
        chunk = replace(make_chunk(f"d{i:03d}#0", [" ".join(words)], encoder_tokens=count), sentences=())
        rows.append((chunk, vector, np.zeros((0, DIM))))
    return collect(rows, 512)


def pieces(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def test_understanding_is_chance_for_unknown_words_and_high_for_known_ones():
    unknown = find_understanding(passages(by_words), by_words)
    assert unknown.probability.low < 0.5 < unknown.probability.high
    assert find_understanding(passages(by_meaning), by_meaning).probability.low > 0.9
    assert unknown.limit == LIMIT
    assert unknown.n == 120


def test_a_part_never_holds_words_of_the_rest():
    asked: list[list[str]] = []

    def noting(texts: Sequence[str]) -> np.ndarray:
        asked.append(list(texts))
        return by_words(texts)

    sample = passages(by_words, 40)
    sentences = [
        "Harbours freeze early.",
        "The harbour of the north froze, harbour masters say.",
        "So it is.",
    ]
    rows = [(make_chunk("own#0", sentences), sample.vectors[0], np.zeros((3, DIM)))]
    rows += list(zip(sample.chunks, sample.vectors, sample.sentence_vectors, strict=True))
    find_understanding(collect(rows, 256), noting)
    parts, rests = asked
    assert len(parts) == len(rests) >= 40
    for part, rest in zip(parts, rests, strict=True):
        stems = {word.strip(".,").lower()[:4] for word in rest.split()}
        assert len(part.split()) >= 3
        assert not stems & {word[:4] for word in part.split()}


def test_short_messages_are_halved_and_judged_by_a_lower_limit():
    found = find_understanding(passages(by_meaning, n_sentences=1, n_words=12), by_meaning)
    assert found.limit == LIMIT_OF_SHORT
    assert found.probability.low > 0.9
    assert find_understanding(passages(by_meaning, n=29), by_meaning) is None


def test_an_unknown_vocabulary_is_a_mismatch_and_a_known_one_is_not():
    finding = find_mismatch(passages(by_words), encode=by_words)
    (flag,) = finding.flags
    assert (flag.kind, flag.subject, flag.threshold) == ("domain_mismatch", "corpus", LIMIT)
    assert flag.score < flag.threshold
    healthy = find_mismatch(passages(by_meaning), encode=by_meaning)
    assert not healthy.flags
    assert healthy.numbers["mismatch"]["basis"] == "corpus"
    assert "--queries" in healthy.numbers["mismatch"]["note"]


@pytest.mark.parametrize(("gap", "verdict"), [(-0.4, "broken"), (-0.15, "unsure"), (0.0, "healthy")])
def test_queries_decide_what_the_corpus_leaves_open(gap: float, verdict: str):
    short = passages(by_meaning, n=20)
    assert find_mismatch(short, encode=by_meaning).numbers["mismatch"]["verdict"] == "unsure"
    gaps = gap + 0.05 * np.random.default_rng(0).standard_normal(50)
    mismatch = find_mismatch(short, encode=by_meaning, queries=QueryEvidence(gaps)).numbers["mismatch"]
    assert (mismatch["verdict"], mismatch["basis"], mismatch["n_queries"]) == (verdict, "queries", 50)
    assert mismatch["expected_gap"] == pytest.approx(gap, abs=0.03)
    assert mismatch["interval"][0] < mismatch["expected_gap"] < mismatch["interval"][1]
    few = find_mismatch(short, encode=by_meaning, queries=QueryEvidence(gaps[:10])).numbers["mismatch"]
    assert few["verdict"] == "unsure"


def test_queries_do_not_acquit_an_unknown_vocabulary():
    sound = QueryEvidence(np.full(50, 0.1))
    assert find_mismatch(passages(by_words), encode=by_words, queries=sound).flags


@pytest.mark.parametrize(("n_words", "n_read"), [(120, 64), (200, 64), (300, 256), (500, 256)])
def test_vectors_of_beginnings_are_found_where_counts_show_nothing(n_words: int, n_read: int):
    finding = find_truncated(long_passages(n_words, n_read), encode=by_words)
    assert len(finding.flags) == 40
    flag = finding.flags[0]
    assert flag.score < flag.threshold
    assert flag.evidence["unread_text"]
    assert n_read <= finding.numbers["read_tokens_at_most"] <= n_words
    assert all(row["flagged"] for row in finding.scores["truncated"])
    assert not find_truncated(long_passages(n_words, n_words), encode=by_words).flags


def test_chunks_that_nobody_counted_are_counted():
    uncounted = long_passages(200, 64, tokens=0)
    assert not find_truncated(uncounted, encode=by_words).flags
    assert len(find_truncated(uncounted, encode=by_words, pieces=pieces).flags) == 40
    over = find_truncated(replace(uncounted, max_tokens=128), pieces=pieces)
    assert (over.flags[0].score, over.flags[0].threshold, over.flags[0].confidence) == (200, 128, 1)


def test_short_or_few_chunks_are_not_measured():
    assert find_truncated(long_passages(90, 40), encode=by_words).numbers["bands"] == []
    assert find_truncated(long_passages(200, 64, n=14), encode=by_words).numbers["bands"] == []


def test_a_diagnosis_passes_queries_on():
    sample = passages(by_meaning, n=20)
    told = diagnose(sample, encode=by_meaning, queries=QueryEvidence(np.full(50, -0.5))).corpus["mismatch"]
    assert (told["verdict"], told["basis"]) == ("broken", "queries")

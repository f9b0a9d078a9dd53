"""Corpora with a known geometry, so that tests know what a check must find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.types import Chunk, Span
from eval.sample import Sample, collect, normalized

DIM = 64
NOISE = 1.1  # of a sentence around its passage, as a share of the topic's length
PASSAGE_NOISE = 0.6  # of a passage around its topic


def make_chunk(chunk_id: str, sentences: list[str], document_id: str = "", start: int = 0, **fields: object) -> Chunk:
    """A chunk whose text is the sentences joined by blanks, `start` characters into its document."""
    spans, offset = [], start
    for sentence in sentences:
        spans.append(Span(offset, offset + len(sentence)))
        offset += len(sentence) + 1
    text = " ".join(sentences)
    return Chunk(
        id=chunk_id,
        document_id=document_id or chunk_id.partition("#")[0],
        position=0,
        start=start,
        end=start + len(text),
        text=text,
        sentences=tuple(spans),
        **{"encoder_tokens": 2 * len(text.split()), **fields},
    )


def topic_sentences(rng: np.random.Generator, topic: NDArray[np.float64], n: int) -> NDArray[np.float32]:
    """Unit sentence vectors around a topic's direction."""
    return normalized(topic + NOISE * rng.standard_normal((n, DIM)) / np.sqrt(DIM))


def topical_corpus(n: int = 300, n_topics: int = 12, muddy: int = 0, seed: int = 0) -> tuple[Sample, set[str]]:
    """A corpus of `n` chunks on one topic each, the first `muddy` of them half and half.

    Returns the sample and the ids of the muddy chunks, each of which should be split before its fifth sentence.
    """
    rng = np.random.default_rng(seed)
    topics = rng.standard_normal((n_topics, DIM)) / np.sqrt(DIM)
    own_words = [[f"word{topic}x{i}" for i in range(12)] for topic in range(n_topics)]
    rows, planted = [], set()
    for i in range(n):
        topic, other = i % n_topics, (i + 5) % n_topics
        halves = [topic] * 4 + [other if i < muddy else topic] * 4
        own = PASSAGE_NOISE * rng.standard_normal(DIM) / np.sqrt(DIM)
        vectors = np.concatenate([topic_sentences(rng, topics[half] + own, 1) for half in halves])
        sentences = [" ".join(rng.choice(own_words[half], 6)) + f" c{i:04d}s{j}." for j, half in enumerate(halves)]
        chunk = make_chunk(f"d{i:04d}#0", sentences, start=100)
        if i < muddy:
            planted.add(chunk.id)
        rows.append((chunk, normalized(vectors.mean(axis=0)), vectors))
    return collect(rows, max_tokens=256), planted

"""Faults of the vectors: each function plants one into a sample and says which chunks hold it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from benchmarks.faults.material import rewritten
from eval.neighbours import nearest_rows
from eval.sample import Sample, normalized

STRETCH = 10  # chunks of one document that share a topic
MIN_TOPIC = 30  # chunks of a topic that something is planted into
N_NEAR, COHERENT, MIXED = 10, 0.5, 0.1
N_HUBS, N_LONE, N_CROWDED = 5, 10, 40


def narrowed(sample: Sample, kept: int, strength: float, seed: int) -> Sample:
    """Vectors pressed into `kept` directions and towards a common one; at strength 0 they stay, at 1 nothing else is
    left."""
    rng = np.random.default_rng(seed)
    centered = sample.vectors - sample.vectors.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:kept]
    common = normalized(rng.standard_normal(sample.vectors.shape[1]))
    flat = normalized(centered @ axes.T @ axes + common)
    return replace(sample, vectors=normalized((1 - strength) * sample.vectors + strength * flat))


def lexical_topics(sample: Sample, n_topics: int, seed: int) -> np.ndarray:
    """A topic for each chunk, shape (n_chunks,): factors of the tf-idf of ten chunks of one document at a time.

    By another way than the diagnosis finds its topics (non-negative matrix factorisation of stretches of documents, not
    k-means on single chunks), so that what is planted isn't what is looked for.
    """
    from sklearn.decomposition import NMF
    from sklearn.feature_extraction.text import TfidfVectorizer

    stretches: dict[tuple[str, int], list[int]] = {}
    for i, chunk in enumerate(sample.chunks):
        stretches.setdefault((chunk.document_id, i // STRETCH), []).append(i)
    texts = [" ".join(sample.chunks[i].lexical_text for i in rows) for rows in stretches.values()]
    weights = TfidfVectorizer(min_df=2, max_df=0.4, max_features=20_000).fit_transform(texts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        factors = NMF(n_topics, init="nndsvda", max_iter=150, random_state=seed).fit_transform(weights)
    topics = np.empty(len(sample), dtype=int)
    for rows, topic in zip(stretches.values(), normalized(factors).argmax(axis=1), strict=True):
        topics[rows] = topic
    return topics


def apart(sample: Sample, topics: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of topics of `MIN_TOPIC` chunks or more that the words hold together and tell apart.

    Of the ten nearest by words of their chunks, half or more are the topic's own, and less than a tenth the other's.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    weights = TfidfVectorizer(sublinear_tf=True, min_df=2, max_df=0.5).fit_transform(
        [chunk.lexical_text for chunk in sample.chunks]
    )
    similarity = (weights @ weights.T).toarray()
    np.fill_diagonal(similarity, -1)
    near = topics[np.argpartition(-similarity, N_NEAR, axis=1)[:, :N_NEAR]]
    large = np.flatnonzero(np.bincount(topics) >= MIN_TOPIC).tolist()
    mixed = {(a, b): float((near[topics == b] == a).mean()) for a in large for b in large}
    large = [a for a in large if mixed[a, a] >= COHERENT]
    return [(a, b) for a in large for b in large if a != b and max(mixed[a, b], mixed[b, a]) < MIXED]


def merged(
    sample: Sample, topics: np.ndarray, pair: tuple[int, int], share: float, seed: int
) -> tuple[Sample, np.ndarray]:
    """A share of the second topic's chunks with vectors as if they were of the first; bool, shape (n_chunks,).

    A new vector lies between a random chunk of the first topic and one of the ten nearest to it there (Chawla and
    others 2002, "SMOTE"). To move all by the difference of the means isn't enough: neighbours stay neighbours then.
    """
    rng = np.random.default_rng(seed)
    here, there = (np.flatnonzero(topics == topic) for topic in pair)
    moved = rng.choice(there, max(1, round(share * len(there))), replace=False)
    start = rng.choice(here, len(moved))
    near, _ = nearest_rows(sample.vectors[start], sample.vectors[here], min(N_NEAR + 1, len(here)))
    end = here[near[np.arange(len(start)), rng.integers(1, near.shape[1], len(start))]]
    way = rng.random((len(moved), 1)).astype(np.float32)
    vectors = sample.vectors.copy()
    vectors[moved] = normalized((1 - way) * sample.vectors[start] + way * sample.vectors[end])
    return replace(sample, vectors=vectors), np.isin(np.arange(len(sample)), moved)


def with_hubs(sample: Sample, n_listed: int, seed: int) -> tuple[Sample, np.ndarray]:
    """A few chunks with the mean vector of so many random others, as of a list of contents; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(sample), N_HUBS, replace=False)
    vectors = sample.vectors.copy()
    for i in chosen:
        listed = rng.choice(len(sample), min(len(sample), n_listed), replace=False)
        vectors[i] = normalized(sample.vectors[listed].mean(axis=0))
    return replace(sample, vectors=vectors), np.isin(np.arange(len(sample)), chosen)


def occurrence(sample: Sample, k: int = 10) -> np.ndarray:
    """For each chunk the number of sentences of all other chunks that have it among their first k, over the mean."""
    counts = np.zeros(len(sample))
    for i, sentences in enumerate(sample.sentence_vectors):
        if len(sentences):
            similarity = normalized(sentences) @ sample.vectors.T
            similarity[:, i] = -np.inf
            np.add.at(counts, np.argpartition(-similarity, k, axis=1)[:, :k], 1)
    return counts / counts.mean()


def with_crowd(sample: Sample, cosine: float, seed: int) -> tuple[Sample, np.ndarray]:
    """Chunks moved around one of them until any two have about this cosine; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(sample), N_CROWDED, replace=False)
    vectors = sample.vectors.copy()
    noise = normalized(rng.standard_normal((N_CROWDED, vectors.shape[1])))
    vectors[chosen] = normalized(vectors[chosen[0]] + np.sqrt(1 / cosine - 1) * noise)
    return replace(sample, vectors=vectors), np.isin(np.arange(len(sample)), chosen)


def with_strangers(sample: Sample, others: Sequence[Sample], seed: int) -> tuple[Sample, np.ndarray]:
    """A few chunks replaced by some of other corpora, one of each in turn; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    hosts = rng.choice(len(sample), N_LONE, replace=False)
    vectors, chunks, sentences = sample.vectors.copy(), list(sample.chunks), list(sample.sentence_vectors)
    for turn, host in enumerate(hosts.tolist()):
        other = others[turn % len(others)]
        donor = int(rng.integers(len(other)))
        vectors[host] = other.vectors[donor]
        chunks[host] = rewritten(chunks[host], other.chunks[donor].sentence_texts)
        sentences[host] = other.sentence_vectors[donor]
    made = replace(sample, vectors=vectors, chunks=tuple(chunks), sentence_vectors=tuple(sentences))
    return made, np.isin(np.arange(len(sample)), hosts)

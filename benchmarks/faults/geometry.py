"""Faults of the vectors and of single texts: each function plants one into a sample and says which chunks hold it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.faults.material import Material, Piece, rewritten
from eval.sample import Sample, normalized

SHARE = 0.1
FOOTER = (
    "This page belongs to the public archive and may be copied with its notice left in place.",
    "Write to the keeper of the archive where you find a mistake in it.",
)
TEMPLATES = (
    "Thank you for visiting page {}. You can reach our office by telephone on every day of the week.",
    "Error {} was reported. Restart the device, wait for a minute, and try the same step once more.",
    "Order number {} has left our store. It will be delivered within the next three working days.",
)
SYLLABLES = ("zor", "vyx", "quim", "plen", "drax", "wub", "khi", "sto", "jyl", "fnor")
N_HUBS, N_LONE, N_CROWDED, N_TERMS = 5, 10, 40, 30
CROWD_NOISE = 0.6  # of a copy's length: two copies then have a cosine of about .73
Encode = Callable[[Sequence[str]], np.ndarray]


def narrowed(sample: Sample, kept: int, strength: float, seed: int) -> Sample:
    """Vectors pressed into `kept` directions and towards a common one; at strength 0 they stay, at 1 nothing else is
    left."""
    rng = np.random.default_rng(seed)
    centered = sample.vectors - sample.vectors.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:kept]
    common = normalized(rng.standard_normal(sample.vectors.shape[1]))
    flat = normalized(centered @ axes.T @ axes + common)
    return replace(sample, vectors=normalized((1 - strength) * sample.vectors + strength * flat))


def merged(sample: Sample, topics: np.ndarray, pair: tuple[int, int], share: float, seed: int) -> Sample:
    """A share of one topic's vectors moved to where the other's are: their own differences, around the other mean."""
    rng = np.random.default_rng(seed)
    here, there = (np.flatnonzero(topics == topic) for topic in pair)
    moved = rng.choice(there, max(1, round(share * len(there))), replace=False)
    vectors = sample.vectors.copy()
    means = [sample.vectors[members].mean(axis=0) for members in (here, there)]
    vectors[moved] = normalized(vectors[moved] - means[1] + means[0])
    return replace(sample, vectors=vectors)


def with_templates(material: Material, n_templates: int, encode: Encode, seed: int) -> tuple[Sample, np.ndarray]:
    """A tenth of the chunks replaced by templates that differ in a number; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    n = len(material)
    chosen = rng.choice(n, max(10, round(SHARE * n)), replace=False)
    texts = {i: TEMPLATES[place % n_templates].format(1000 + place) for place, i in enumerate(chosen.tolist())}
    vectors = dict(zip(texts, np.asarray(encode(list(texts.values())), dtype=np.float32), strict=True))
    sample, _ = material.with_pieces({i: Piece((text,), vectors[i][None]) for i, text in texts.items()})
    return sample, np.isin(np.arange(n), chosen)


def with_footer(material: Material, encode: Encode, seed: int) -> tuple[Sample, set[str]]:
    """Two sentences at the end of a tenth of all documents, at least six; the documents' ids."""
    rng = np.random.default_rng(seed)
    last = {chunk.document_id: i for i, chunk in enumerate(material.sample.chunks)}
    names = sorted(last)
    chosen = rng.choice(names, min(len(names), max(6, round(SHARE * len(names)))), replace=False).tolist()
    footer = Piece(FOOTER, np.asarray(encode(FOOTER), dtype=np.float32))
    sample, _ = material.with_pieces({last[name]: material.pieces[last[name]] + footer for name in chosen})
    return sample, set(chosen)


def with_hubs(sample: Sample, seed: int) -> tuple[Sample, np.ndarray]:
    """A few chunks whose vectors are the mean of everything, as of a list of contents; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(sample), N_HUBS, replace=False)
    vectors = sample.vectors.copy()
    for i in chosen:
        some = rng.choice(len(sample), min(len(sample), 200), replace=False)
        vectors[i] = normalized(sample.vectors[some].mean(axis=0))
    return replace(sample, vectors=vectors), np.isin(np.arange(len(sample)), chosen)


def with_crowd(sample: Sample, seed: int) -> tuple[Sample, np.ndarray]:
    """Chunks moved close around one of them; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(sample), N_CROWDED, replace=False)
    vectors = sample.vectors.copy()
    noise = normalized(rng.standard_normal((N_CROWDED, vectors.shape[1])))
    vectors[chosen] = normalized(vectors[chosen[0]] + CROWD_NOISE * noise)
    return replace(sample, vectors=vectors), np.isin(np.arange(len(sample)), chosen)


def with_strangers(sample: Sample, other: Sample, seed: int) -> tuple[Sample, np.ndarray]:
    """A few chunks of another corpus, no two of one document where it has enough; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(sample), N_LONE, replace=False)
    first: dict[str, int] = {}
    for i in rng.permutation(len(other)).tolist():
        first.setdefault(other.chunks[i].document_id, i)
    donors = list(first.values())[:N_LONE]
    vectors, chunks = sample.vectors.copy(), list(sample.chunks)
    for host, donor in zip(chosen.tolist(), donors, strict=False):
        vectors[host] = other.vectors[donor]
        chunks[host] = rewritten(chunks[host], other.chunks[donor].sentence_texts)
    hosts = chosen[: len(donors)]
    sentences = list(sample.sentence_vectors)
    for host, donor in zip(hosts.tolist(), donors, strict=True):
        sentences[host] = other.sentence_vectors[donor]
    made = replace(sample, vectors=vectors, chunks=tuple(chunks), sentence_vectors=tuple(sentences))
    return made, np.isin(np.arange(len(sample)), hosts)


def with_terms(material: Material, encode: Encode, seed: int) -> tuple[Sample, list[str]]:
    """An invented name in one sentence of each of some chunks; the names."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(material), N_TERMS, replace=False).tolist()
    names = [
        "".join(rng.choice(SYLLABLES, 2, replace=False)) + f"-{rng.integers(100, 999)}{rng.choice(list('xqz'))}"
        for _ in chosen
    ]
    texts = [f"{' '.join(material.pieces[i].texts)} See also {name}." for i, name in zip(chosen, names, strict=True)]
    whole = np.asarray(encode(texts), dtype=np.float32)
    added = np.asarray(encode([f"See also {name}." for name in names]), dtype=np.float32)
    pieces = {
        i: material.pieces[i] + Piece((f"See also {name}.",), vector[None])
        for i, name, vector in zip(chosen, names, added, strict=True)
    }
    sample, _ = material.with_pieces(pieces)
    vectors = sample.vectors.copy()
    vectors[chosen] = normalized(whole)
    return replace(sample, vectors=vectors), names

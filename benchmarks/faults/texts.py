"""Faults of the texts: each function plants one into a collection and says which chunks, sentences or terms hold it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.faults.material import Material, Piece
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
PLAIN = ("river", "garden", "window", "silver", "market", "winter", "bridge", "copper", "castle", "engine")
N_COPIES, N_TERMS = 30, 30
RUN, COPIED = 5, 0.5  # words in a run, and the share of a chunk's runs in one other that makes it a copy
Encode = Callable[[Sequence[str]], np.ndarray]


def copied(sample: Sample) -> np.ndarray:
    """Chunks that copy another one as the collection stands, bool, shape (n_chunks,).

    Half of their runs of five words, or more, stand in one other chunk. Counted exactly, unlike in the diagnosis: a
    real collection repeats itself, and what does is no control.
    """
    holders: dict[tuple[str, ...], list[int]] = {}
    runs = []
    for i, chunk in enumerate(sample.chunks):
        words = chunk.text.lower().split()
        runs.append({tuple(words[k : k + RUN]) for k in range(max(1, len(words) - RUN + 1))})
        for run in runs[-1]:
            holders.setdefault(run, []).append(i)
    is_copy = np.zeros(len(sample), dtype=bool)
    for i, own in enumerate(runs):
        shared = Counter(j for run in own for j in holders[run] if j != i)
        is_copy[i] = bool(shared) and shared.most_common(1)[0][1] >= COPIED * len(own)
    return is_copy


def with_templates(material: Material, n_templates: int, encode: Encode, seed: int) -> tuple[Sample, np.ndarray]:
    """A tenth of the chunks replaced by templates that differ in a number; bool, shape (n_chunks,)."""
    rng = np.random.default_rng(seed)
    n = len(material)
    chosen = rng.choice(n, max(10, round(SHARE * n)), replace=False)
    texts = {i: TEMPLATES[place % n_templates].format(1000 + place) for place, i in enumerate(chosen.tolist())}
    vectors = dict(zip(texts, np.asarray(encode(list(texts.values())), dtype=np.float32), strict=True))
    sample, _ = material.with_pieces({i: Piece((text,), vectors[i][None]) for i, text in texts.items()})
    return sample, np.isin(np.arange(n), chosen)


def with_copies(material: Material, changed: float, seed: int) -> tuple[Sample, np.ndarray]:
    """Chunks replaced by copies of others in which a share of the words was changed for other words of the collection.

    Both are planted: bool, shape (n_chunks,). Copies keep the vectors of what they copy.
    """
    rng = np.random.default_rng(seed)
    long = [i for i, chunk in enumerate(material.sample.chunks) if len(chunk.text.split()) >= 20]
    chosen = rng.choice(long, min(2 * N_COPIES, len(long) // 2 * 2), replace=False).reshape(2, -1)
    drawn = rng.choice(len(material), 100)
    words = np.array([word for i in drawn for word in material.sample.chunks[i].text.split()])
    planted = {}
    for source, host in chosen.T.tolist():
        piece = material.pieces[source]
        texts = tuple(
            " ".join(str(rng.choice(words)) if rng.random() < changed else word for word in text.split())
            for text in piece.texts
        )
        planted[host] = replace(piece, texts=texts)
    sample, _ = material.with_pieces(planted)
    return sample, np.isin(np.arange(len(material)), chosen)


def with_footer(material: Material, share: float, encode: Encode, seed: int) -> tuple[Sample, set[str]]:
    """Two sentences at the end of a share of all documents, at least six; the documents' ids."""
    rng = np.random.default_rng(seed)
    last = {chunk.document_id: i for i, chunk in enumerate(material.sample.chunks)}
    names = sorted(last)
    chosen = rng.choice(names, min(len(names), max(6, round(share * len(names)))), replace=False).tolist()
    footer = Piece(FOOTER, np.asarray(encode(FOOTER), dtype=np.float32))
    sample, _ = material.with_pieces({last[name]: material.pieces[last[name]] + footer for name in chosen})
    return sample, set(chosen)


def with_terms(material: Material, encode: Encode, seed: int) -> tuple[Sample, dict[str, int]]:
    """A name in one more sentence of some chunks, every other one invented, the rest of plain words; name: chunk."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(material), 2 * N_TERMS, replace=False).tolist()
    names: dict[str, int] = {}
    while len(names) < len(chosen):
        number = rng.integers(100, 999)
        if len(names) % 2:
            name = "-".join([*rng.choice(PLAIN, 3, replace=False), str(number)])
        else:
            name = "".join(rng.choice(SYLLABLES, 2, replace=False)) + f"-{number}{rng.choice(list('xqz'))}"
        names.setdefault(name, chosen[len(names)])
    added = np.asarray(encode([f"See also {name}." for name in names]), dtype=np.float32)
    pieces = {
        i: material.pieces[i] + Piece((f"See also {name}.",), vector[None])
        for (name, i), vector in zip(names.items(), added, strict=True)
    }
    sample, _ = material.with_pieces(pieces)
    vectors = sample.vectors.copy()
    vectors[chosen] = normalized(encode([sample.chunks[i].embedding_text for i in chosen]))
    return replace(sample, vectors=vectors), names

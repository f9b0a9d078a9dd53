"""What compressions are fitted to and measured on: some of an index' chunks with all their sentence vectors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.filters import OneOf
from core.store import Store, StoredChunk

MAX_CHUNKS = 20_000
MAX_QUERIES = 300  # sentences held out
QUERY_SHARE = 0.1  # of all sentences, at most
MIN_CHUNKS = 20
IDS_AT_ONCE = 256
IDS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Sampled:
    """Chunks with their vectors, all of length 1.

    `vectors` are of chunks, float32, shape (n_chunks, dim); `sentences` float16, shape (n_sentences, dim), chunk after
    chunk, the first of each at `starts`. `training` is what projections are fitted to: all chunks and one sentence of
    each. `held_out` are sentence vectors that aren't in it, float32, shape (n, dim). The index has `n_total` chunks.
    """

    chunk_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    sentences: NDArray[np.float16]
    starts: NDArray[np.intp]
    training: NDArray[np.float32]
    held_out: NDArray[np.float32]
    n_total: int


def every_chunk(store: Store, wanted_documents: Collection[str] = ()) -> Iterator[StoredChunk]:
    """The chunks of a store with their vectors, those of the wanted documents first, and then once more.

    Chunks' ids are hashes: the first ones in their order, which is the store's, are a random sample.
    """
    wanted = sorted(wanted_documents)
    for first in range(0, len(wanted), IDS_AT_ONCE):
        portion = OneOf("document_id", tuple(wanted[first : first + IDS_AT_ONCE]))
        yield from chain.from_iterable(store.scan(vectors=True, where=portion))
    yield from chain.from_iterable(store.scan(vectors=True))


def draw(chunks: Iterable[StoredChunk], n_total: int, limit: int = MAX_CHUNKS, seed: int = 0) -> Sampled:
    """The first `limit` different ones of an index' chunks, of which there are `n_total`.

    Raises `InputError` where there are fewer than 20.
    """
    chosen: dict[str, StoredChunk] = {}
    for found in chunks:
        chosen.setdefault(found.chunk.id, found)
        if len(chosen) >= limit:
            break
    if len(chosen) < MIN_CHUNKS:
        raise InputError(f"The index has {n_total} chunks; a compression can be measured from {MIN_CHUNKS} on.")
    return _sampled([chosen[key] for key in sorted(chosen)], n_total, np.random.default_rng(seed))


def _sampled(chunks: list[StoredChunk], n_total: int, rng: np.random.Generator) -> Sampled:
    vectors = np.stack([found.dense for found in chunks])
    sentences = np.concatenate([found.sentences.astype(np.float16) for found in chunks])
    counts = np.array([len(found.sentences) for found in chunks])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    trained = starts + rng.integers(0, counts)
    others = np.setdiff1d(np.arange(len(sentences)), trained)
    if len(others) < MIN_CHUNKS:  # chunks of one sentence: hold some of those out
        others = rng.permutation(trained)[: max(1, int(len(trained) * QUERY_SHARE))]
        trained = np.setdiff1d(trained, others)
    n_queries = min(MAX_QUERIES, len(others), max(1, int(len(sentences) * QUERY_SHARE)))
    held_out = rng.choice(others, n_queries, replace=False)
    return Sampled(
        chunk_ids=tuple(found.chunk.id for found in chunks),
        document_ids=tuple(found.chunk.document_id for found in chunks),
        vectors=vectors,
        sentences=sentences,
        starts=starts,
        training=np.concatenate([vectors, _unit(sentences[trained])]),
        held_out=_unit(sentences[held_out]),
        n_total=n_total,
    )


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    full = rows.astype(np.float32)
    return full / np.linalg.norm(full, axis=1, keepdims=True)

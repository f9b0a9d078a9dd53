"""What the engine's quantisation keeps, measured with the engine itself on a collection made for that."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.sparse import SparseVector
from core.store import EmbeddedChunk
from core.store.edge import EdgeStore
from core.store.payload import INT8_QUANTILE
from core.types import Chunk

SEARCHED = 100  # as deep as a search looks by default
POINTS_PER_WRITE = 2048


def search(vectors: NDArray[np.float32], queries: NDArray[np.float32], quantization: str) -> NDArray[np.intp]:
    """Rows of the vectors that the engine finds for each query, best first, shape (n_queries, up to 100).

    `vectors` are float32, shape (n, dim), rows of length 1. It searches the quantised ones and orders what it found
    by the full ones, as it does in an index.
    """
    limit = min(SEARCHED, len(vectors))
    with tempfile.TemporaryDirectory() as folder:
        store = EdgeStore(Path(folder) / "sample", vectors.shape[1], 0, quantization)
        try:
            for first in range(0, len(vectors), POINTS_PER_WRITE):
                store.upsert(
                    [_point(row, vectors) for row in range(first, min(len(vectors), first + POINTS_PER_WRITE))], []
                )
            store.optimize()
            found = [[int(key, 16) - 1 for key, _ in store.candidates(query, None, limit).dense] for query in queries]
        finally:
            store.close()
    return np.array(found, dtype=np.intp)


def bytes_in_memory(dimension: int, quantization: str) -> float:
    """What one vector takes as it is searched: float32, a byte a number and one offset, or a bit a number."""
    return {"none": 4.0 * dimension, "int8": dimension + 4.0, "binary": -(-dimension // 8) * 1.0}[quantization]


def coarse(vectors: NDArray[np.float32], quantization: str) -> NDArray[np.float32]:
    """The vectors as quantisation keeps them, to tell its error.

    int8: 128 equal steps between the quantiles that the engine is given. Binary: signs, times each vector's mean
    absolute number, which of all such factors leaves the least error.
    """
    if quantization == "binary":
        return np.sign(vectors) * np.abs(vectors).mean(axis=1, keepdims=True)
    if quantization == "int8":
        low, high = np.quantile(vectors, [(1 - INT8_QUANTILE) / 2, (1 + INT8_QUANTILE) / 2])
        step = (high - low) / 127
        return (low + np.round((np.clip(vectors, low, high) - low) / step) * step).astype(np.float32)
    return vectors


def _point(row: int, vectors: NDArray[np.float32]) -> EmbeddedChunk:
    chunk = Chunk(id=f"{row + 1:016x}", document_id="sample", position=row, start=0, end=0, text="")
    return EmbeddedChunk(chunk, "sample", vectors[row], vectors[row : row + 1], SparseVector([0], [1.0]))

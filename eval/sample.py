"""What the diagnosis reads: the chunks of an index with their vectors, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from core.errors import InputError
from core.types import Chunk


@dataclass(frozen=True, slots=True)
class Sample:
    """Chunks with their vectors, ordered by document, position and id.

    `vectors`: float32, shape (n_chunks, dim), rows L2-normalised. `sentence_vectors[i]`: float16 or float32, shape
    (n_sentences_i, dim), aligned with `chunks[i].sentences`. `max_tokens`: the encoder's limit.
    """

    chunks: Sequence[Chunk]
    vectors: NDArray[np.float32]
    sentence_vectors: Sequence[NDArray[np.floating]]
    max_tokens: int

    def __len__(self) -> int:
        return len(self.chunks)

    def sentence_texts(self, index: int) -> list[str]:
        """The texts of a chunk's sentences."""
        chunk = self.chunks[index]
        return chunk.sentence_texts

    def digest(self) -> str:
        """A hash of everything it holds, in hexadecimal: equal for equal samples only."""
        found = blake2b(f"{self.max_tokens} {self.vectors.shape}".encode(), digest_size=16)
        for chunk, rows in zip(self.chunks, self.sentence_vectors, strict=True):
            found.update(repr(chunk).encode("utf-8", "surrogatepass"))
            found.update(np.ascontiguousarray(rows))
        found.update(np.ascontiguousarray(self.vectors))
        return found.hexdigest()


def collect(rows: Iterable[tuple[Chunk, NDArray[np.floating], NDArray[np.floating]]], max_tokens: int) -> Sample:
    """The sample of an index from its `(chunk, vector, sentence vectors)` rows, ordered by document, position and id.

    Chunk vectors are normalised again as float32; sentence vectors are kept as float16 to bound memory (a rounding of
    about 5e-4 of their length). Raises InputError where the sentence vectors of a chunk don't match its sentences.
    """
    chunks, vectors, sentence_vectors = [], [], []
    for chunk, vector, sentences in rows:
        if len(sentences) != len(chunk.sentences):
            raise InputError(
                f"Chunk {chunk.id} has {len(chunk.sentences)} sentences but {len(sentences)} sentence vectors. "
                "The index is damaged: ingest the corpus into a new one."
            )
        chunks.append(chunk)
        vectors.append(np.asarray(vector, dtype=np.float32))
        sentence_vectors.append(np.asarray(sentences, dtype=np.float16).reshape(len(chunk.sentences), len(vector)))
    order = sorted(range(len(chunks)), key=lambda i: (chunks[i].document_id, chunks[i].position, chunks[i].id))
    matrix = np.stack([vectors[i] for i in order]) if order else np.zeros((0, 1), dtype=np.float32)
    return Sample(
        chunks=tuple(chunks[i] for i in order),
        vectors=normalized(matrix),
        sentence_vectors=tuple(sentence_vectors[i] for i in order),
        max_tokens=max_tokens,
    )


def normalized(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """The rows scaled to unit length, float32 of the same shape; a row of zeros stays zero."""
    matrix = np.asarray(rows, dtype=np.float32)
    lengths = np.linalg.norm(matrix, axis=-1, keepdims=True)
    return matrix / np.where(lengths > 0, lengths, 1)

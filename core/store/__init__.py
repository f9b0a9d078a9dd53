"""Where chunks live: one protocol, embedded Qdrant Edge by default, a Qdrant server or cluster for scale.

A collection holds three kinds of points, told apart by the payload field `kind`: `chunk` (with vectors), `document`
(one record for each document, no vectors) and `index` (one, what the whole index remembers). Everything that must
hold together is therefore in one place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.filters import Filter
from core.sparse import SparseVector
from core.types import Chunk, DocumentRecord

if TYPE_CHECKING:
    import numpy as np


# Scores are float32 sums, and engines add in different orders: to this many decimals they agree, so ties are ties.
SCORE_DECIMALS = 6
# How an engine may hold the chunk vectors that it searches in memory, beside the full ones, which then stay on disk.
QUANTIZATIONS = ("int8", "binary")


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """A chunk ready to be written: `dense` float32 (dim,), `sentences` float32 (n_sentences, dim), rows of length 1."""

    chunk: Chunk
    generation: str
    dense: np.ndarray
    sentences: np.ndarray
    sparse: SparseVector


@dataclass(frozen=True, slots=True)
class Candidates:
    """What each leg found: chunk ids with raw scores, best first, ties by id."""

    dense: list[tuple[str, float]]
    sparse: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Exact scores of chunks for one query, float64, shape (n_ids,), aligned with the ids that were asked for.

    NaN stands for a chunk that isn't there.
    """

    cosine: np.ndarray
    sentence: np.ndarray  # MaxSim over the chunk's sentence vectors
    sparse: np.ndarray  # BM25, 0 where no term occurs


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk read back, with the vectors that were asked for."""

    chunk: Chunk
    dense: np.ndarray | None = None
    sentences: np.ndarray | None = None


class Store(Protocol):
    """One collection. Every method may raise `DependencyError`; ids are the chunks' own."""

    def reading(self) -> AbstractContextManager[None]:
        """A block in which nothing changes that this process writes, so that several reads fit together."""
        ...

    def changing(self) -> AbstractContextManager[None]:
        """A block whose writes become visible to those who are `reading` all at once; only for this process."""
        ...

    def read_meta(self) -> dict | None:
        """What the index remembers of itself, None in a new collection."""
        ...

    def write_meta(self, meta: dict) -> None:
        """Replace what the index remembers of itself."""
        ...

    def upsert(self, chunks: Sequence[EmbeddedChunk], records: Sequence[DocumentRecord]) -> None:
        """Write whole documents: after a crash each is either there with its record or is found by `unsettled`."""
        ...

    def settle(self, record: DocumentRecord) -> None:
        """Remove the chunks of a document that aren't of its current generation, then mark it settled."""
        ...

    def delete_documents(self, document_ids: Sequence[str]) -> None:
        """Remove documents with all their chunks; unknown ids are ignored."""
        ...

    def update_sparse(self, vectors: Sequence[tuple[str, SparseVector]]) -> None:
        """Replace the BM25 vectors of chunks."""
        ...

    def index_field(self, key: str, kind: str) -> None:
        """Index a payload field so that filters on it are fast; kind is keyword, integer or float."""
        ...

    def candidates(
        self, dense: np.ndarray | None, sparse: SparseVector | None, limit: int, where: Filter | None = None
    ) -> Candidates:
        """The best chunks of each leg that is asked for, in one round trip."""
        ...

    def score(self, ids: Sequence[str], dense: np.ndarray, sparse: SparseVector) -> Scores:
        """Exact scores of the given chunks on every leg, in one round trip."""
        ...

    def recommend(
        self,
        positive: np.ndarray,
        negative: np.ndarray,
        strategy: str,
        limit: int,
        where: Filter | None = None,
    ) -> list[tuple[str, float]]:
        """Chunk ids with scores by the engine's recommend query, best first, ties by id.

        `positive` and `negative` are examples, float32, shape (n, dim), rows of length 1, one of them may be empty.
        `average_vector` scores by the cosine to 2 · mean(positive) − mean(negative) and needs a positive example.
        `best_score` scores by the nearest example alone: σ(p) where its cosine p to the best positive example is above
        n, that to the best negative one, else −σ(n), with σ(x) = (1 + x / (1 + |x|)) / 2.
        """
        ...

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Chunk vectors by id, float32 (dim,), of length 1; unknown ids are left out."""
        ...

    def idf(self, indices: Sequence[int]) -> dict[int, float]:
        """The inverse document frequency that BM25 gives each term, in one round trip; absent terms are left out."""
        ...

    def fetch(self, ids: Sequence[str], *, sentences: bool = False) -> dict[str, StoredChunk]:
        """Chunks by id, with their sentence vectors if asked; unknown ids are left out."""
        ...

    def owners(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """Ids of the documents that hold each chunk, its own document's first; unknown ids are left out."""
        ...

    def scan(
        self, *, vectors: bool = False, batch: int = 256, where: Filter | None = None
    ) -> Iterator[list[StoredChunk]]:
        """All chunks, or those that meet a condition, in the order of their ids, in batches."""
        ...

    def records(self, *, unsettled: bool = False) -> Iterator[DocumentRecord]:
        """All document records without their texts, or only those with an unfinished update."""
        ...

    def record(self, document_id: str) -> DocumentRecord | None:
        """One document's record with its text."""
        ...

    def load_records(self, document_ids: Sequence[str]) -> list[DocumentRecord]:
        """The records of documents with their texts; unknown ids are left out."""
        ...

    def count_chunks(self) -> int:
        """Number of chunks."""
        ...

    def count_documents(self) -> int:
        """Number of documents that are complete."""
        ...

    def optimize(self) -> None:
        """Build what makes queries fast (HNSW); returns when done."""
        ...

    def close(self) -> None:
        """Write everything to disk and let go of the collection."""
        ...

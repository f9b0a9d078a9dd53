"""What a copy of an index consists of: documents whole, with all that is stored of them, in portions."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple, Self

import numpy as np

from core.filters import All, OneOf
from core.store import Store, StoredChunk
from core.types import Chunk, DocumentRecord, Span

CHUNKS_PER_READ = 256


class Version(NamedTuple):
    """Which version of a document is there, and how many chunks it has."""

    uri: str
    content_hash: str
    generation: str
    n_chunks: int


class Package(NamedTuple):
    """Some documents: their records with texts, and their chunks with vectors (those of sentences as float16)."""

    records: Sequence[DocumentRecord]
    chunks: Sequence[StoredChunk]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, vectors in base64."""
        return {
            "records": [asdict(record) | {"block_keys": _text(record.block_keys)} for record in self.records],
            "chunks": [
                {
                    "chunk": asdict(found.chunk),
                    "dense": _text(found.dense.astype("<f4").tobytes()),
                    "sentences": _text(found.sentences.astype("<f2").tobytes()),
                }
                for found in self.chunks
            ],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """What `to_json` gave, with lists where there were tuples."""
        return cls([_record(item) for item in stored["records"]], [_chunk(item) for item in stored["chunks"]])


def versions(store: Store) -> dict[str, Version]:
    """The documents of which a whole version is there, by id."""
    return {
        record.id: Version(record.uri, record.content_hash, record.generation, record.n_chunks)
        for record in store.records()
        if record.generation
    }


def package(store: Store, document_ids: Sequence[str]) -> Package:
    """The documents of these ids; unknown ids, and chunks that an interrupted update left over, are left out."""
    records = [replace(record, settling=False) for record in store.load_records(document_ids)]
    if not records:
        return Package([], [])  # a condition without values would be met by every chunk
    current = All(
        (
            OneOf("document_id", tuple(record.id for record in records)),
            OneOf("generation", tuple({record.generation for record in records})),
        )
    )
    batches = store.scan(vectors=True, batch=CHUNKS_PER_READ, where=current)
    return Package(
        records,
        [replace(found, sentences=found.sentences.astype(np.float16)) for batch in batches for found in batch],
    )


def _text(data: bytes) -> str:
    return b64encode(data).decode()


def _record(stored: dict[str, Any]) -> DocumentRecord:
    tuples = {name: tuple(stored[name]) for name in ("page_starts", "page_names", "splits")}
    return DocumentRecord(**stored | tuples | {"block_keys": b64decode(stored["block_keys"])})


def _chunk(stored: dict[str, Any]) -> StoredChunk:
    chunk = stored["chunk"]
    tuples = {name: tuple(chunk[name]) for name in ("headings", "also_in")}
    sentences = tuple(Span(**span) for span in chunk["sentences"])
    dense = np.frombuffer(b64decode(stored["dense"]), dtype="<f4")
    rows = np.frombuffer(b64decode(stored["sentences"]), dtype="<f2").reshape(-1, len(dense))
    return StoredChunk(Chunk(**chunk | tuples | {"sentences": sentences}), dense, rows)

"""Documents and their chunks as plain JSON values, the same for the command line and for HTTP."""

from __future__ import annotations

from typing import Any

from core.filters import Comparison
from core.store import Store
from core.types import Chunk, DocumentRecord


def list_documents(store: Store) -> list[dict[str, Any]]:
    """All complete documents without their texts, in the order of their ids."""
    records = sorted((record for record in store.records() if record.generation), key=lambda record: record.id)
    return [describe_record(record) for record in records]


def read_document(store: Store, document_id: str, *, chunks: bool = False) -> dict[str, Any] | None:
    """A document with its text and all that is needed to cut it anew, None where it isn't there.

    `chunks` adds its chunks by position.
    """
    record = store.record(document_id)
    if record is None or not record.generation:  # without one its first version isn't complete yet
        return None
    described = describe_record(record) | {
        "markup": record.markup,
        "page_starts": list(record.page_starts),
        "page_names": list(record.page_names),
        "has_own_title": record.has_own_title,
        "text": record.text,
    }
    if chunks:
        batches = store.scan(where=Comparison("document_id", "=", document_id))
        found = sorted((stored.chunk for batch in batches for stored in batch), key=lambda chunk: chunk.position)
        described["chunks"] = [describe_chunk(chunk) for chunk in found]
    return described


def describe_record(record: DocumentRecord) -> dict[str, Any]:
    """A document without its text."""
    return {
        "id": record.id,
        "uri": record.uri,
        "title": record.title,
        "n_chunks": record.n_chunks,
        "content_hash": record.content_hash,
        "metadata": dict(record.metadata),
        "splits": list(record.splits),
    }


def describe_chunk(chunk: Chunk) -> dict[str, Any]:
    """A chunk by itself; `document.text[start:end]` is its text."""
    return {
        "chunk_id": chunk.id,
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "page": chunk.page,
        "last_page": chunk.last_page,
        "place": chunk.place,
        "headings": list(chunk.headings),
        "text": chunk.text,
        "lead": chunk.lead,
        "also_in": list(chunk.also_in),
        "encoder_tokens": chunk.encoder_tokens,
        "llm_tokens": chunk.llm_tokens,
    }

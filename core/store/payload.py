"""Chunks and records as payloads, the same in every store."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from core.filters import FALSE_FIELDS, TRUE_FIELDS
from core.types import Chunk, DocumentRecord, Span

DENSE, SENTENCES, SPARSE = "dense", "sentences", "bm25"
META_ID = str(uuid.UUID(int=0))
RECORD_FIELDS = [
    "document_id", "uri", "title", "content_hash", "generation", "n_chunks", "n_terms", "meta", "state",
]  # fmt: skip
INDEXED = {"kind": "keyword", "document_id": "keyword", "state": "keyword"}
INDEXED |= {TRUE_FIELDS: "keyword", FALSE_FIELDS: "keyword"}
SETTLED, SETTLING = {"state": "settled"}, {"state": "settling"}
_RECORD_NAMESPACE = uuid.UUID("8a6e0804-2bd0-4672-b79d-d97027f9071a")


def record_id(document_id: str) -> str:
    """Point id of a document's record."""
    return str(uuid.uuid5(_RECORD_NAMESPACE, document_id))


def chunk_payload(chunk: Chunk, generation: str) -> dict[str, Any]:
    """A chunk as payload; its id is the point's."""
    return {
        "kind": "chunk",
        "document_id": chunk.document_id,
        "generation": generation,
        "position": chunk.position,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "uri": chunk.uri,
        "title": chunk.title,
        "headings": list(chunk.headings),
        "page": chunk.page,
        "context": chunk.context,
        "sentences": [number for span in chunk.sentences for number in (span.start, span.end)],
        "tokens": [chunk.encoder_tokens, chunk.llm_tokens],
        "meta": dict(chunk.metadata),
        TRUE_FIELDS: [name for name, value in chunk.metadata.items() if value is True],
        FALSE_FIELDS: [name for name, value in chunk.metadata.items() if value is False],
    }


def chunk_of(point_id: object, payload: Mapping[str, Any]) -> Chunk:
    """The chunk that a payload holds."""
    bounds = payload["sentences"]
    return Chunk(
        id=str(point_id),
        document_id=payload["document_id"],
        position=payload["position"],
        start=payload["start"],
        end=payload["end"],
        text=payload["text"],
        uri=payload["uri"],
        title=payload["title"],
        headings=tuple(payload["headings"]),
        page=payload["page"],
        context=payload["context"],
        sentences=tuple(Span(start, end) for start, end in zip(bounds[::2], bounds[1::2], strict=True)),
        encoder_tokens=payload["tokens"][0],
        llm_tokens=payload["tokens"][1],
        metadata=payload["meta"],
    )


def record_payload(record: DocumentRecord) -> dict[str, Any]:
    """A document record as payload."""
    return {
        "kind": "document",
        "document_id": record.id,
        "uri": record.uri,
        "title": record.title,
        "content_hash": record.content_hash,
        "generation": record.generation,
        "n_chunks": record.n_chunks,
        "n_terms": record.n_terms,
        "text": record.text,
        "meta": dict(record.metadata),
        **(SETTLING if record.settling else SETTLED),
    }


def record_of(payload: Mapping[str, Any]) -> DocumentRecord:
    """The document record that a payload holds; the text is empty where it wasn't read."""
    return DocumentRecord(
        id=payload["document_id"],
        uri=payload["uri"],
        title=payload["title"],
        content_hash=payload["content_hash"],
        generation=payload["generation"],
        n_chunks=payload["n_chunks"],
        n_terms=payload["n_terms"],
        text=payload.get("text", ""),
        metadata=payload["meta"],
        settling=payload["state"] == "settling",
    )


def meta_payload(meta: dict) -> dict[str, Any]:
    """The index' own memory as payload: one JSON text, so that no engine reshapes its numbers."""
    return {"kind": "index", "json": json.dumps(meta, sort_keys=True)}


def meta_of(payload: Mapping[str, Any]) -> dict:
    """The index' own memory from its payload."""
    return json.loads(payload["json"])

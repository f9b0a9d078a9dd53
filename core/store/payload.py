"""What every store does alike: chunks and records as payloads, points as ids and scores, the parameters of HNSW."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import numpy as np

from core.filters import FALSE_FIELDS, TRUE_FIELDS
from core.store import SCORE_DECIMALS, Scores
from core.types import Chunk, DocumentRecord, MetadataValue, Span

DENSE, SENTENCES, SPARSE = "dense", "sentences", "bm25"
AVERAGE_VECTOR, BEST_SCORE = "average_vector", "best_score"  # the engines' names of recommend strategies
META_ID = 0
RECORD_FIELDS = [
    "document_id", "uri", "title", "content_hash", "generation", "n_chunks", "n_terms", "meta", "state", "block_keys",
    "own_title", "splits", "fixes",
]  # fmt: skip
OWNERS = ["document_id", "also_in"]
INDEXED = {"kind": "keyword", "document_id": "keyword", "also_in": "keyword", "state": "keyword"}
INDEXED |= {TRUE_FIELDS: "keyword", FALSE_FIELDS: "keyword"}
SETTLED, SETTLING = {"state": "settled"}, {"state": "settling"}
# HNSW: 16 links and 200 candidates at construction, 128 at search. Recall@10 was 0.998 on 11,166 chunks of abstracts
# (`python -m benchmarks.quality`); the engine's own default, as many as at construction, is no choice of ours.
HNSW_M, HNSW_EF_CONSTRUCT, HNSW_EF = 16, 200, 128
# A quantised search takes this many times the limit by the quantised vectors, and orders them by the full ones.
OVERSAMPLING = 2.0
# int8 has equal steps between the quantiles that hold this share of all numbers; what lies outside is cut there.
INT8_QUANTILE = 0.99
# Below this many KB of vectors (6,500 of 384 dimensions) a segment is scanned in full, which is exact.
FULL_SCAN_KB = 10_000
RANGES = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}  # a filter's operators as the engines call them
# Points are numbered, not named by UUIDs: the engine's answers then carry plain integers, which cost a sixth of the
# time to read. Chunks have 63 bits of a hash; records have the 64th bit set, so that the two never meet.
_RECORD_BIT = 1 << 63


def record_id(document_id: str) -> int:
    """Point id of a document's record."""
    digest = blake2b(document_id.encode(), digest_size=8, person=b"limpid record").digest()
    return int.from_bytes(digest) >> 1 | _RECORD_BIT


def point_id(chunk_id: str) -> int:
    """Point id of a chunk."""
    return int(chunk_id, 16)


def chunk_id(point: int) -> str:
    """Id of the chunk that a point is."""
    return f"{point:016x}"


def wanted(vectors: bool) -> list[str] | bool:
    """The vectors to read back: chunk and sentences, or none."""
    return [DENSE, SENTENCES] if vectors else False


def ranked(points: Iterable[Any]) -> list[tuple[str, float]]:
    """Chunk ids of scored points with their rounded scores, the highest first, ties by id."""
    ordered = sorted([(-round(point.score, SCORE_DECIMALS), point.id) for point in points])
    return [(chunk_id(point), -score) for score, point in ordered]


def average_vector(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """What the engine's strategy of that name searches with: 2 · mean(positive) − mean(negative), shape (dim,)."""
    mean = positive.mean(axis=0)
    return 2 * mean - negative.mean(axis=0) if len(negative) else mean


def completed(ids: Sequence[int], answers: Sequence[Iterable[Any]]) -> Scores:
    """Scores aligned with `ids` from the points that each vector scored: dense, sentences and, where asked, BM25."""
    rows = {point: row for row, point in enumerate(ids)}
    columns = np.full((3, len(ids)), np.nan)
    for column, points in zip(columns, answers, strict=False):
        for point in points:
            column[rows[point.id]] = point.score
    cosine, sentence, sparse = np.round(columns, SCORE_DECIMALS)
    sparse[np.isnan(sparse) & ~np.isnan(cosine)] = 0.0
    return Scores(cosine, np.where(np.isnan(sentence), cosine, sentence), sparse)


def idf(terms: Sequence[int], answers: Sequence[Sequence[Any]]) -> dict[int, float]:
    """Each term's inverse document frequency, from the best point for that term alone, read with its BM25 vector.

    The engine's score is the frequency times the weight that the point's vector holds for the term.
    """
    frequencies = {}
    for term, points in zip(terms, answers, strict=True):
        for point in points:
            vector = point.vector[SPARSE]
            frequencies[term] = point.score / vector.values[vector.indices.index(term)]
    return frequencies


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
        "last_page": chunk.last_page,
        "place": chunk.place,
        "lead": chunk.lead,
        "context": chunk.context,
        "sentences": [number for span in chunk.sentences for number in (span.start, span.end)],
        "tokens": [chunk.encoder_tokens, chunk.llm_tokens],
        "also_in": list(chunk.also_in),
        "meta": dict(chunk.metadata),
        TRUE_FIELDS: [name for name, value in chunk.metadata.items() if _holds(value, True)],
        FALSE_FIELDS: [name for name, value in chunk.metadata.items() if _holds(value, False)],
    }


def _holds(value: MetadataValue, wanted: bool) -> bool:
    """Whether a value is `wanted`, or a list with it; 1 is not true here."""
    return any(item is wanted for item in (value if isinstance(value, list) else [value]))


def chunk_of(point: int, payload: Mapping[str, Any]) -> Chunk:
    """The chunk that a payload holds."""
    bounds = payload["sentences"]
    return Chunk(
        id=chunk_id(point),
        document_id=payload["document_id"],
        position=payload["position"],
        start=payload["start"],
        end=payload["end"],
        text=payload["text"],
        uri=payload["uri"],
        title=payload["title"],
        headings=tuple(payload["headings"]),
        page=payload["page"],
        last_page=payload["last_page"],
        place=payload["place"],
        lead=payload["lead"],
        context=payload["context"],
        sentences=tuple(Span(start, end) for start, end in zip(bounds[::2], bounds[1::2], strict=True)),
        encoder_tokens=payload["tokens"][0],
        llm_tokens=payload["tokens"][1],
        metadata=payload["meta"],
        also_in=tuple(payload["also_in"]),
    )


def owners_of(payload: Mapping[str, Any]) -> list[str]:
    """The documents that hold a chunk, its own first."""
    return [payload["document_id"], *payload["also_in"]]


def marked(record: DocumentRecord, current: DocumentRecord | None) -> DocumentRecord:
    """The record as it is now, marked as being updated, so that a crash before the new one is written leaves a trace.

    One of a document that is new has no generation. An old one's content hash is no document's any more: some of its
    chunks may be overwritten by then, so it has to be written again.
    """
    if current is None:
        return replace(record, content_hash="", generation="", n_chunks=0, n_terms=0, settling=True)
    return replace(current, content_hash="interrupted", settling=True)


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
        "meta": dict(record.metadata),
        "block_keys": b64encode(record.block_keys).decode(),
        "own_title": record.has_own_title,
        "splits": list(record.splits),
        "fixes": record.fixes,
        "text": record.text,
        "markup": record.markup,
        "page_starts": list(record.page_starts),
        "page_names": list(record.page_names),
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
        metadata=payload["meta"],
        settling=payload["state"] == "settling",
        block_keys=b64decode(payload["block_keys"]),
        has_own_title=payload["own_title"],
        splits=tuple(payload.get("splits", ())),
        fixes=payload.get("fixes", ""),
        text=payload.get("text", ""),
        markup=payload.get("markup", "text"),
        page_starts=tuple(payload.get("page_starts", ())),
        page_names=tuple(payload.get("page_names", ())),
    )


def meta_payload(meta: dict) -> dict[str, Any]:
    """The index' own memory as payload: one JSON text, so that no engine reshapes its numbers."""
    return {"kind": "index", "json": json.dumps(meta, sort_keys=True)}


def meta_of(payload: Mapping[str, Any]) -> dict:
    """The index' own memory from its payload."""
    return json.loads(payload["json"])

"""Reads the chunks of a ranking from the store and makes of them what a search returns: chunks, sentences, sections."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.filters import All, Comparison, Some
from core.sparse import Analyzer, SparseVector
from core.store import Store, StoredChunk
from core.types import Chunk, DocumentRecord, Passage, Span, place
from search.fusion import convex
from search.passages import section, sentence_scores, stretches

SECTION_REACH = 16  # chunks on either side that are read for a section: of 200 tokens, more than `MAX_CHARS` hold


@dataclass(frozen=True, slots=True)
class Ranked:
    """A chunk's id, its row in the ranking and its score there, scaled to [0, 1] over all candidates."""

    id: str
    row: int
    score: float


@dataclass(frozen=True, slots=True)
class Found:
    """A chunk of the ranking, read. `score` is None where the chunk's own counts, `passage` where it is the chunk."""

    row: int
    stored: StoredChunk
    best_sentence: Span | None
    score: float | None = None
    passage: Passage | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as the legs of its mode see it: `vector` is None in sparse mode, `terms` are empty in dense mode."""

    vector: np.ndarray | None
    terms: SparseVector

    def weight(self, dense_weight: float) -> float:
        """Share of the dense leg."""
        if self.vector is None:
            return 0.0
        return dense_weight if self.terms.indices else 1.0


class Reader:
    """What a search returns for the best chunks of one ranking."""

    def __init__(self, store: Store, analyzer: Analyzer, dense_weight: float, threshold: float):
        """`threshold` is the share of the best sentence's score that the sentences of a passage must reach."""
        self._store = store
        self._analyzer = analyzer
        self._dense_weight = dense_weight
        self._threshold = threshold

    def chunks(self, ranked: Sequence[Ranked], asked: Asked) -> list[Found]:
        """The chunks themselves, each with its nearest sentence."""
        return [
            Found(entry.row, stored, _nearest_sentence(stored, asked.vector))
            for entry, stored in self._fetch(ranked, asked)
        ]

    def sections(self, ranked: Sequence[Ranked], asked: Asked) -> list[Found]:
        """Every chunk in its section; chunks of one section give one result."""
        read = self.chunks(ranked, asked)
        around = self._neighbours([found.stored.chunk for found in read])
        parts = [(found, section(found.stored.chunk, around.get(found.stored.chunk.document_id, {}))) for found in read]
        records = self._records(chunks for _, chunks in parts)
        results, seen = [], set()
        for found, chunks in parts:
            if found.stored.chunk.id not in seen:
                seen.update(chunk.id for chunk in chunks)
                passage = _passage(chunks, chunks[0].start, chunks[-1].end, records)
                results.append(Found(found.row, found.stored, found.best_sentence, passage=passage))
        return results

    def sentences(self, ranked: Sequence[Ranked], asked: Asked, limit: int) -> list[Found]:
        """The `limit` best stretches of sentences; each belongs to the chunk that holds its best sentence."""
        read = [(entry, stored) for entry, stored in self._fetch(ranked, asked) if stored.chunk.sentences]
        if not read:
            return []
        chunks = [stored.chunk for _, stored in read]
        own = self._own_scores([stored for _, stored in read], asked)
        scores = sentence_scores(own, np.array([entry.score for entry, _ in read]))
        best = stretches(chunks, scores, self._threshold)[:limit]
        parts = [[chunks[row] for row in stretch.rows] for stretch in best]
        records = self._records(parts)
        results = []
        for stretch, part in zip(best, parts, strict=True):
            entry, stored = read[stretch.row]
            passage = _passage(part, stretch.start, stretch.end, records)
            results.append(Found(entry.row, stored, stretch.best, stretch.score, passage))
        return results

    def _fetch(self, ranked: Sequence[Ranked], asked: Asked) -> list[tuple[Ranked, StoredChunk]]:
        """The chunks with their sentence vectors; those removed since the legs were asked are left out."""
        stored = self._store.fetch([entry.id for entry in ranked], sentences=asked.vector is not None)
        return [(entry, stored[entry.id]) for entry in ranked if entry.id in stored]

    def _own_scores(self, read: Sequence[StoredChunk], asked: Asked) -> list[np.ndarray]:
        """Each sentence's fused score in [0, 1], one array for each chunk: cosine and BM25, min-max over all of them.

        BM25 counts frequencies over chunks and takes the chunks' average length.
        """
        lengths = [len(stored.chunk.sentences) for stored in read]
        dense, sparse = np.zeros(sum(lengths)), np.zeros(sum(lengths))
        if asked.vector is not None:
            dense = np.concatenate([stored.sentences @ asked.vector for stored in read]).astype(np.float64)
        if asked.terms.indices:
            idf = self._store.idf(asked.terms.indices)
            texts = [text for stored in read for text in _sentence_texts(stored.chunk)]
            sparse = np.array([_bm25(self._analyzer.document(text), idf) for text in texts])
        fused = convex(dense, sparse, asked.weight(self._dense_weight)).scores
        return np.split(fused, np.cumsum(lengths)[:-1])

    def _neighbours(self, chunks: Sequence[Chunk]) -> dict[str, dict[int, Chunk]]:
        """Chunks near the given ones with the same innermost heading, by document and position, in one request."""
        conditions = []
        for chunk in chunks:
            near = [
                Comparison("document_id", "=", chunk.document_id),
                Comparison("position", ">=", chunk.position - SECTION_REACH),
                Comparison("position", "<=", chunk.position + SECTION_REACH),
            ]
            if chunk.headings:
                near.append(Comparison("headings", "=", chunk.headings[-1]))
            conditions.append(All(tuple(near)))
        around: dict[str, dict[int, Chunk]] = {}
        for batch in self._store.scan(where=Some(tuple(conditions))) if conditions else ():
            for stored in batch:
                around.setdefault(stored.chunk.document_id, {})[stored.chunk.position] = stored.chunk
        return around

    def _records(self, parts: Iterable[Sequence[Chunk]]) -> dict[str, DocumentRecord]:
        """The documents whose text a passage needs: what stands between two chunks is in neither."""
        wanted = {chunks[0].document_id for chunks in parts if not _is_self_contained(chunks)}
        return {record.id: record for record in self._store.load_records(sorted(wanted))} if wanted else {}


def _is_self_contained(chunks: Sequence[Chunk]) -> bool:
    return len(chunks) == 1 and chunks[0].page == chunks[0].last_page


def _passage(chunks: Sequence[Chunk], start: int, end: int, records: Mapping[str, DocumentRecord]) -> Passage | None:
    """The stretch from `start` to `end`; None, which stands for the chunk, where its document has changed since."""
    first = chunks[0]
    if _is_self_contained(chunks):
        text = first.text[start - first.start : end - first.start]
        return Passage(start, end, text, first.page, first.last_page, first.place)
    record = records.get(first.document_id)
    if record is None or any(record.text[chunk.start : chunk.end] != chunk.text for chunk in chunks):
        return None
    page, last_page = (bisect_right(record.page_starts, at) or None for at in (start, max(start, end - 1)))
    return Passage(start, end, record.text[start:end], page, last_page, place(record.page_names, page, last_page))


def _sentence_texts(chunk: Chunk) -> list[str]:
    return [chunk.text[span.start - chunk.start : span.end - chunk.start] for span in chunk.sentences]


def _bm25(document: SparseVector, idf: Mapping[int, float]) -> float:
    return sum(
        idf[term] * weight for term, weight in zip(document.indices, document.values, strict=True) if term in idf
    )


def _nearest_sentence(stored: StoredChunk, vector: np.ndarray | None) -> Span | None:
    if vector is None or stored.sentences is None or not stored.chunk.sentences:
        return None
    return stored.chunk.sentences[int(np.argmax(stored.sentences @ vector))]

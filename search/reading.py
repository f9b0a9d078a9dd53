"""Reads the chunks of a list from the store and makes of them what a search returns: chunks, sentences, sections.

Every method returns the first `wanted` results of a sequence that doesn't depend on how many are wanted, so that one
page of it continues another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from core.filters import All, Comparison, Filter, Some
from core.index import Index
from core.store import StoredChunk
from core.types import Chunk, DocumentRecord, Passage, Span, place
from search.listing import Placed
from search.passages import POOL, Stretch, section, sentence_scores, stretches, surroundings
from search.ranking import Asked
from search.sentences import SECTION_REACH, near, own_scores

BLOCK = 10  # chunks that are read, and whose surroundings are merged, at once


@dataclass(frozen=True, slots=True)
class Found:
    """An entry of the list, read. `score` is None where the entry's own counts, `passage` where it is the chunk."""

    placed: Placed
    stored: StoredChunk
    best_sentence: Span | None
    score: float | None = None
    passage: Passage | None = None


class Reader:
    """What a search returns for the chunks of one list."""

    def __init__(self, index: Index, threshold: float, idf: Callable[[Sequence[int]], Mapping[int, float]]):
        """`threshold` is the share of the best sentence's score that the sentences of a passage must reach.

        `idf` gives those of the terms that occur.
        """
        self._index = index
        self._idf = idf
        self._store = index.store
        self._threshold = threshold

    def chunks(self, listed: Iterable[Placed], asked: Asked) -> list[Found]:
        """The chunks themselves, each with its nearest sentence."""
        return [
            Found(entry, stored, _nearest_sentence(stored, asked.vector))
            for entry, stored in self._fetch(list(listed), asked)
        ]

    def sections(self, listed: Iterator[Placed], asked: Asked, wanted: int) -> list[Found]:
        """Every chunk in its section; chunks of one section give one result, and nothing comes twice."""
        results: list[Found] = []
        taken: set[str] = set()
        while len(results) < wanted and (block := list(islice(listed, BLOCK))):
            read = self.chunks(block, asked)
            around = self._scan([_of_section(found.stored.chunk) for found in read])
            parts = []
            for found in read:
                chunk = found.stored.chunk
                if chunk.id not in taken:
                    near = around.get(chunk.document_id, {})
                    chunks = section(chunk, {at: other for at, other in near.items() if other.id not in taken})
                    taken.update(other.id for other in chunks)
                    parts.append((found, chunks))
            records = self._records(chunks for _, chunks in parts)
            results += [
                replace(found, passage=_passage(chunks, chunks[0].start, chunks[-1].end, records))
                for found, chunks in parts
            ]
        return results[:wanted]

    def surroundings(self, listed: Iterator[Placed], asked: Asked, reach: int, wanted: int) -> list[Found]:
        """Every chunk with `reach` chunks on either side; what touches becomes one result, and nothing comes twice."""
        results: list[Found] = []
        taken: dict[str, set[int]] = {}
        while len(results) < wanted and (block := list(islice(listed, BLOCK))):
            read = self.chunks(block, asked)
            around = self._scan([near(found.stored.chunk, reach) for found in read])
            parts = surroundings([found.stored.chunk for found in read], around, reach, taken)
            records = self._records(chunks for _, chunks in parts)
            for row, chunks in parts:
                taken.setdefault(chunks[0].document_id, set()).update(chunk.position for chunk in chunks)
                passage = _passage(chunks, chunks[0].start, chunks[-1].end, records)
                results.append(replace(read[row], passage=passage))
        return results[:wanted]

    def sentences(self, listed: Iterator[Placed], asked: Asked, wanted: int, per_document: int | None) -> list[Found]:
        """The best stretches of sentences of the best chunks; each belongs to the chunk that holds its best sentence.

        A document is left `per_document` of them, where that isn't None.
        """
        read = [
            (entry, stored)
            for entry, stored in self._fetch(list(islice(listed, POOL)), asked)
            if stored.chunk.sentences
        ]
        if not read:
            return []
        chunks = [stored.chunk for _, stored in read]
        vectors = [stored.sentences for _, stored in read]
        weight, idf = read[0][0].ranking.weight, self._idf(asked.terms.indices)
        own = own_scores(chunks, vectors, asked, weight, self._index.analyzer, idf)
        scores = sentence_scores(own, np.array([entry.relevance for entry, _ in read]))
        best = stretches(chunks, scores, self._threshold)
        n_of = Counter(chunks[stretch.row].document_id for stretch in best)
        if per_document is not None:
            best = _capped(best, [chunks[stretch.row].document_id for stretch in best], per_document)
        parts = [[chunks[row] for row in stretch.rows] for stretch in best[:wanted]]
        records = self._records(parts)
        results = []
        for stretch, part in zip(best, parts, strict=False):
            entry, stored = read[stretch.row]
            if per_document is not None:
                entry = replace(entry, n_more=max(0, n_of[stored.chunk.document_id] - per_document))
            passage = _passage(part, stretch.start, stretch.end, records)
            results.append(Found(entry, stored, stretch.best, stretch.score, passage))
        return results

    def _fetch(self, listed: Sequence[Placed], asked: Asked) -> list[tuple[Placed, StoredChunk]]:
        """The chunks with their sentence vectors; those removed since the legs were asked are left out."""
        stored = self._store.fetch([entry.id for entry in listed], sentences=asked.vector is not None)
        return [(entry, stored[entry.id]) for entry in listed if entry.id in stored]

    def _scan(self, conditions: Sequence[Filter]) -> dict[str, dict[int, Chunk]]:
        """Chunks that meet one of the conditions, by document and position, in one request."""
        around: dict[str, dict[int, Chunk]] = {}
        for batch in self._store.scan(where=Some(tuple(conditions))) if conditions else ():
            for stored in batch:
                around.setdefault(stored.chunk.document_id, {})[stored.chunk.position] = stored.chunk
        return around

    def _records(self, parts: Iterable[Sequence[Chunk]]) -> dict[str, DocumentRecord]:
        """The documents whose text a passage needs: what stands between two chunks is in neither."""
        wanted = {chunks[0].document_id for chunks in parts if not _is_self_contained(chunks)}
        return {record.id: record for record in self._store.load_records(sorted(wanted))} if wanted else {}


def _of_section(chunk: Chunk) -> All:
    """Chunks near the given one with the same innermost heading."""
    around = near(chunk, SECTION_REACH)
    return All((*around.parts, Comparison("headings", "=", chunk.headings[-1]))) if chunk.headings else around


def _capped(items: Sequence[Stretch], keys: Sequence[str], limit: int) -> list[Stretch]:
    """The items without those that follow `limit` others with the same key."""
    n_kept: Counter[str] = Counter()
    kept = []
    for item, key in zip(items, keys, strict=True):
        n_kept[key] += 1
        if n_kept[key] <= limit:
            kept.append(item)
    return kept


def _is_self_contained(chunks: Sequence[Chunk]) -> bool:
    return len(chunks) == 1 and chunks[0].page == chunks[0].last_page


def _passage(chunks: Sequence[Chunk], start: int, end: int, records: Mapping[str, DocumentRecord]) -> Passage | None:
    """The stretch from `start` to `end`; None, which stands for the chunk, where its document has changed since."""
    first = chunks[0]
    if _is_self_contained(chunks):
        text = first.between(start, end)
        return Passage(start, end, text, first.page, first.last_page, first.place)
    record = records.get(first.document_id)
    if record is None or any(record.text[chunk.start : chunk.end] != chunk.text for chunk in chunks):
        return None
    page, last_page = (bisect_right(record.page_starts, at) or None for at in (start, max(start, end - 1)))
    return Passage(start, end, record.text[start:end], page, last_page, place(record.page_names, page, last_page))


def _nearest_sentence(stored: StoredChunk, vector: np.ndarray | None) -> Span | None:
    if vector is None or stored.sentences is None or not stored.chunk.sentences:
        return None
    return stored.chunk.sentences[int(np.argmax(stored.sentences @ vector))]

"""A collection as the diagnosis reads it, with what is needed to plant something: sentences without their title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.judged import family_of, ingested
from core.index import Index
from core.types import Chunk, Span
from eval.sample import Sample, collect, normalized
from ingest.writer import TITLE_CHARACTERS, TITLE_SHARE

MOST_CHUNKS = 2500  # drawn document by document: faults are planted many times over


@dataclass(frozen=True, slots=True)
class Piece:
    """Sentences in order: their texts and their own vectors, float32, shape (n_sentences, dim)."""

    texts: tuple[str, ...]
    vectors: np.ndarray

    def __add__(self, other: Piece) -> Piece:
        return Piece(self.texts + other.texts, np.concatenate([self.vectors, other.vectors]))

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, start: int, n: int) -> Piece:
        """`n` sentences from `start` on."""
        return Piece(self.texts[start : start + n], self.vectors[start : start + n])


class Material:
    """The chunks of one collection, ordered by document and position."""

    def __init__(self, name: str, index: Index):
        self.name = name
        rows = [(found.chunk, found.dense, found.sentences) for found in index.scan()]
        whole = collect(_few_documents(rows), index.embedder.tokenizer.max_tokens)
        self.sample = whole
        owned = {record.id for record in index.store.records() if record.has_own_title}
        titles = [c.title.strip()[:TITLE_CHARACTERS] if c.document_id in owned else "" for c in whole.chunks]
        known = sorted({title for title in titles if title})
        vectors: Mapping[str, np.ndarray] = (
            dict(zip(known, index.embedder.encode_documents(known), strict=True)) if known else {}
        )
        self._titles = [TITLE_SHARE * vectors[title] if title else None for title in titles]
        self.pieces = [
            Piece(tuple(chunk.sentence_texts), _without(np.asarray(stored, dtype=np.float32), title))
            for chunk, stored, title in zip(whole.chunks, whole.sentence_vectors, self._titles, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def family(self) -> str:
        """See `family_of`."""
        return family_of(self.name)

    def with_pieces(self, planted: Mapping[int, Piece], without: Sequence[int] = ()) -> tuple[Sample, np.ndarray]:
        """The sample with other sentences in some chunks and some chunks left out, and the places of those kept.

        A planted chunk has its host's title and the weighted mean of its sentences as its vector.
        """
        kept = np.setdiff1d(np.arange(len(self)), np.asarray(without, dtype=int))
        chunks, vectors, sentences = [], [], []
        for i in kept.tolist():
            if i not in planted:
                chunks.append(self.sample.chunks[i])
                vectors.append(self.sample.vectors[i])
                sentences.append(self.sample.sentence_vectors[i])
                continue
            piece = planted[i]
            stored = piece.vectors if self._titles[i] is None else normalized(piece.vectors + self._titles[i])
            chunks.append(rewritten(self.sample.chunks[i], piece.texts))
            vectors.append(normalized(stored.mean(axis=0)))
            sentences.append(stored.astype(np.float16))
        made = Sample(tuple(chunks), np.stack(vectors), tuple(sentences), self.sample.max_tokens)
        return made, kept


def rewritten(chunk: Chunk, texts: Sequence[str]) -> Chunk:
    """The chunk with these sentences, parted by blanks."""
    spans, at = [], chunk.start
    for text in texts:
        spans.append(Span(at, at + len(text)))
        at += len(text) + 1
    return replace(chunk, text=" ".join(texts), end=at - 1, sentences=tuple(spans))


def read_material(folder: Path, keep: Path) -> Material:
    """A collection's chunks, ingested below `keep` unless they are already."""
    with ingested(folder, keep) as index:
        return Material(folder.name, index)


def _few_documents(rows: list) -> list:
    if len(rows) <= MOST_CHUNKS:
        return rows
    sizes: dict[str, int] = {}
    for chunk, _, _ in rows:
        sizes[chunk.document_id] = sizes.get(chunk.document_id, 0) + 1
    names = sorted(sizes)
    np.random.default_rng(0).shuffle(names)
    kept, n = set(), 0
    for name in names:
        if n < MOST_CHUNKS:
            kept.add(name)
            n += sizes[name]
    return [row for row in rows if row[0].document_id in kept]


def _without(stored: np.ndarray, title: np.ndarray | None) -> np.ndarray:
    """The sentences' own unit vectors r from the stored s = (r + title) / ‖r + title‖.

    ‖s·c - title‖ = 1 has one positive root c, since a title's share is shorter than 1.
    """
    if title is None or not len(stored):
        return stored
    along = stored @ title
    scale = along + np.sqrt(np.maximum(along**2 - title @ title + 1, 0))
    return normalized(stored * scale[:, None] - title)

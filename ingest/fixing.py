"""Carrying out what a report advises, in place: chunks are divided, repeated text is stored once or left out.

Each document is rewritten as an update is: its former version answers until the new one is there as a whole. Killed at
any instant, the documents written so far are fixed and the others as they were; the same call, and for repeated text
any other change of the index, goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from core.compress.embedder import full_encoder, projection_of
from core.copying import package
from core.index import Index
from core.settings import Settings
from core.store import EmbeddedChunk, StoredChunk
from core.tokens import LlmTokenizer
from core.types import Chunk, DocumentRecord
from ingest.chunkers.divide import Divider
from ingest.fixes import Repeated, digest, refined, version
from ingest.pipeline import finish, settle
from ingest.structure import parse
from ingest.vectors import VectorCache, Vectors
from ingest.writer import MEGABYTE, Progress, Writer

DOCUMENTS_AT_ONCE = 16  # rewritten together

OnProgress = Callable[[Progress], None]


def _silent(_: Progress) -> None:
    return


def split(
    index: Index, places: Mapping[str, Iterable[int]], settings: Settings, on_progress: OnProgress = _silent
) -> int:
    """Divide chunks at these characters of their documents, by document id; returns the number of chunks encoded.

    Only the parts are encoded: their sentences and all other chunks keep their vectors. Places that divide nothing and
    unknown documents are passed over. Raises `StorageFull` when the disk runs short.
    """
    settle(index)
    if index.meta.fixes.pending:
        with Writer(index, settings, on_progress, 0) as writer:
            finish(index, writer)
    with _Splitter(index, settings) as splitter:
        ids, n_done = sorted(places), 0
        while n_done < len(ids):
            batch = ids[n_done : n_done + DOCUMENTS_AT_ONCE]
            splitter.rewrite({document_id: places[document_id] for document_id in batch})
            n_done += len(batch)
            on_progress(Progress(n_done, splitter.n_encoded, n_done, len(places), splitter.n_encoded, "splitting"))
    with Writer(index, settings, on_progress, 0) as writer:
        finish(index, writer)
    return splitter.n_encoded


def unsplit(index: Index, settings: Settings, on_progress: OnProgress = _silent) -> int:
    """Take back every split: the documents are cut again as they would be without; returns how many there were."""
    settle(index)
    held = {record.id: len(record.splits) for record in index.store.records() if record.splits}
    with Writer(index, settings, on_progress, 0) as writer:
        writer.unsplit = frozenset(held)
        finish(index, writer)
    return sum(held.values())


def repeat(
    index: Index,
    settings: Settings,
    on_progress: OnProgress = _silent,
    *,
    texts: Mapping[str, str] | None = None,
    shared_by: int | None = None,
) -> int:
    """Decide anew what becomes of repeated text; returns the number of chunks written.

    `texts` and `shared_by` are those of `core.fingerprint.Fixes`, and take the place of what was decided before.
    """
    settle(index)
    index.meta.fixes = replace(index.meta.fixes, repeated=dict(texts or {}), shared_by=shared_by, pending=True)
    index.save()
    with Writer(index, settings, on_progress, 0) as writer:
        finish(index, writer)
        return writer.n_chunks


class _Splitter:
    """Rewrites documents with more splits than they have."""

    def __init__(self, index: Index, settings: Settings):
        embedder = full_encoder(index.embedder)
        self._index = index
        self._projection = projection_of(index.embedder)
        self._cache = VectorCache(settings.cache_dir / "vectors", embedder, int(settings.vector_cache_mb * MEGABYTE))
        self._vectors = Vectors(embedder, self._cache)
        self._repeated = Repeated(index.meta.fixes.repeated)
        llm_tokenizer = LlmTokenizer(cache_dir=settings.cache_dir / "tiktoken")
        self._divider = Divider(index.meta.fingerprint.chunk_tokens, index.embedder.tokenizer, llm_tokenizer)
        self.n_encoded = 0

    def __enter__(self) -> _Splitter:
        return self

    def __exit__(self, *_: object) -> None:
        self._cache.close()

    def rewrite(self, places: Mapping[str, Iterable[int]]) -> None:
        """Write the documents of these ids with their splits and those at `places`."""
        found = package(self._index.store, list(places))
        known: dict[str, list[StoredChunk]] = {record.id: [] for record in found.records}
        for stored in found.chunks:
            known[stored.chunk.document_id].append(stored)
        drafts = [
            draft
            for record in found.records
            if (draft := self._draft(record, known[record.id], places[record.id])) is not None
        ]
        parts = [chunk for _, chunks, old in drafts for chunk in chunks if chunk.id not in old]
        vectors = self._vectors.of((part.embedding_text for part in parts), lambda n_texts: None)
        written = [chunk for _, chunks, old in drafts for chunk in self._embedded(chunks, old, vectors)]
        generations = {record.id: record.generation for record, _, _ in drafts}
        with self._index.store.changing():
            self._index.store.upsert(
                [replace(chunk, generation=generations[chunk.chunk.document_id]) for chunk in written],
                [record for record, _, _ in drafts],
            )
            for record, _, _ in drafts:
                self._index.store.settle(record)
        self.n_encoded += len(parts)

    def _draft(
        self, record: DocumentRecord, held: Sequence[StoredChunk], places: Iterable[int]
    ) -> tuple[DocumentRecord, list[Chunk], dict[str, StoredChunk]] | None:
        """The record and the chunks as they are to be, beside the chunks as they are; None where nothing changes."""
        old = {stored.chunk.id: stored for stored in held}
        document = replace(record.document, splits=tuple(sorted({*record.splits, *places})))
        stretches = self._repeated.find(document.text)
        blocks = refined(document.text, parse(document.text, document.markup), stretches)
        before = sorted((stored.chunk for stored in held), key=lambda chunk: chunk.position)
        chunks = self._divider.divide(document, blocks, before)
        if all(chunk.id in old for chunk in chunks):
            return None
        fixes, length = digest(document.splits, stretches), self._index.analyzer.length
        content = record.generation.removesuffix(version("", record.fixes))
        record = replace(
            record,
            generation=version(content, fixes),
            n_chunks=len(chunks),
            n_terms=sum(length(chunk.lexical_text) for chunk in chunks),
            settling=True,
            splits=document.splits,
            fixes=fixes,
        )
        return record, chunks, old

    def _embedded(
        self, chunks: Sequence[Chunk], old: Mapping[str, StoredChunk], vectors: Mapping[str, np.ndarray]
    ) -> Iterator[EmbeddedChunk]:
        """The chunks with vectors: those that were there with theirs, parts with their sentences' and a new one."""
        rows = {
            span.start: row
            for stored in old.values()
            for span, row in zip(stored.chunk.sentences, stored.sentences, strict=True)
        }
        for chunk in chunks:
            if chunk.id in old:
                dense = old[chunk.id].dense
            else:
                dense = vectors[chunk.embedding_text]
                dense = self._projection.project(dense) if self._projection else dense
            sentences = np.stack([rows[span.start] for span in chunk.sentences]).astype(np.float32)
            yield EmbeddedChunk(chunk, "", dense, sentences, self._index.analyzer.document(chunk.lexical_text))

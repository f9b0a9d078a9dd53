"""Writes documents to an index in batches; reading and chunking, encoding, and writing go on at the same time.

A batch of whole documents is written at once, and only then are the chunks of their former versions removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Event
from types import TracebackType
from typing import Self

import numpy as np

from core.compress.embedder import full_encoder, projection_of
from core.filters import INDEXABLE
from core.index import Index
from core.settings import Settings
from core.store import EmbeddedChunk
from core.tokens import LlmTokenizer
from core.types import Chunk, Document, DocumentRecord, MetadataValue
from ingest.chunkers import Chunker, open_chunker
from ingest.chunkers.divide import Divider
from ingest.fixes import Repeated, carried, digest, refined, version
from ingest.shared import Placed, SharedText, block_keys
from ingest.sources.addresses import is_gone
from ingest.structure import Blocks, parse
from ingest.vectors import VectorCache, Vectors

# Characters to a batch, some 250 chunks: enough to fill the encoder with texts of like length, and what an
# interruption costs at most. A batch ahead of the encoder is enough: reading and chunking take a tenth of its time.
BATCH_CHARS = 200_000
MAX_QUEUED = 2
# A sentence's vector is that of the sentence plus this share of its title's, so that "it" is about something.
TITLE_SHARE = 0.3
# A title is a label; a longer one is no better a vector and must not crowd out a sentence.
TITLE_CHARACTERS = 200
# Metadata fields that get an index of their own; more are filtered without one.
MAX_INDEXED_FIELDS = 64
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is: documents and chunks written, source bytes done, texts embedded, and what is going on."""

    n_documents: int
    n_chunks: int
    done_bytes: int
    total_bytes: int
    n_texts: int  # chunks, sentences and titles: moves while a batch is embedded
    stage: str


@dataclass(slots=True)
class _Pending:
    """A document on its way; `chunks` is None until it is cut."""

    document: Document
    placed: Placed
    keys: bytes
    fixes: str
    is_update: bool
    n_bytes: int
    chunks: list[Chunk] | None = None


class _Stopped(Exception):
    """Work that is no longer wanted."""


class Writer:
    """Takes documents one by one; leaving it with an error drops what isn't written yet."""

    def __init__(self, index: Index, settings: Settings, on_progress: Callable[[Progress], None], total_bytes: int):
        """Starts two threads; `total_bytes` is what all documents together will count, for progress."""
        embedder = full_encoder(index.embedder)  # what a compression does to vectors comes last, when they are written
        self._projection = projection_of(index.embedder)
        self._index = index
        self._settings = settings
        self._on_progress = on_progress
        self._total_bytes = total_bytes
        self._cache = VectorCache(settings.cache_dir / "vectors", embedder, int(settings.vector_cache_mb * MEGABYTE))
        self._vectors = Vectors(embedder, self._cache)
        self._shared: SharedText | None = None  # read from the records when a document comes: mostly none has changed
        self._split: dict[str, str] = {}  # documents with splits, by id and by content hash: a renamed one keeps them
        self._repeated = Repeated(index.meta.fixes.repeated)
        self.unsplit: frozenset[str] = frozenset()  # documents whose splits are taken back when they are cut anew
        self._encoder = ThreadPoolExecutor(1, "limpid-encode")
        self._scribe = ThreadPoolExecutor(1, "limpid-write")
        self._encoding: list[Future] = []
        self._writing: Future | None = None
        self._stopping = Event()
        self._is_warm = False
        self._batch: list[_Pending] = []
        self._n_chars = 0
        self._n_documents = self._n_texts = self._done_bytes = 0
        self.n_chunks = self.n_splits_kept = self.n_splits_lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._stopping.set()
        self._encoder.shutdown(cancel_futures=True)
        self._scribe.shutdown(cancel_futures=True)
        self._cache.close()

    def report(self, stage: str) -> None:
        """Tell how far the work is."""
        progress = Progress(self._n_documents, self.n_chunks, self._done_bytes, self._total_bytes, self._n_texts, stage)
        self._on_progress(progress)

    def pass_by(self, n_bytes: int) -> None:
        """Count a document that needs no work."""
        self._done_bytes += n_bytes
        self.report("reading")

    def add(self, document: Document, blocks: Blocks, is_update: bool, n_bytes: int) -> None:
        """Index a document; raises what went wrong with one that was added before."""
        if self._shared is None:
            self._shared = SharedText(self.shared_by)
            for record in self._index.store.records():
                if record.splits:
                    self._split |= {record.id: record.id, record.content_hash: record.id}
                if not is_gone(record.uri):  # will be removed, and perhaps comes under another name
                    self._shared.add(record.id, record.content_hash, record.block_keys)
        document = self._with_splits(document)
        blocks, keys, fixes = self._read(document, blocks)
        self._shared.add(document.id, document.content_hash, keys)
        self._put(_Pending(document, self._shared.place(document, blocks, keys), keys, fixes, is_update, n_bytes))

    def cut_anew(self, document_ids: Iterable[str], shared: SharedText) -> None:
        """Cut documents again from their stored texts, by what is `shared` now, and wait until all is written."""
        for document_id in document_ids:
            document = self._stored(document_id)
            blocks, keys, fixes = self._read(document, parse(document.text, document.markup))
            self._put(_Pending(document, shared.place(document, blocks, keys), keys, fixes, True, 0))
        self.flush()

    def reread(self) -> dict[str, tuple[bytes, str]]:
        """Documents whose stored text reads otherwise by the fixes of now: their `block_keys` and `fixes`, by id."""
        is_pending, changed = self._index.meta.fixes.pending, {}
        if not is_pending and not self.unsplit:
            return changed
        for record in self._index.store.records():
            if is_pending or record.id in self.unsplit:
                document = self._stored(record.id)
                _, keys, fixes = self._read(document, parse(document.text, document.markup))
                if fixes != record.fixes:
                    changed[record.id] = (keys, fixes)
        return changed

    def flush(self) -> None:
        """Wait until all that was added is written."""
        self._submit()
        while self._encoding:
            self._encoding.pop(0).result()
        if self._writing:
            self._writing.result()
        self._shared = None  # all of it is in the records now

    def reweigh(self, avg_len: float) -> None:
        """Make every BM25 vector anew; until all are, the index says that its average is an estimate."""
        meta = self._index.meta
        if meta.exact:
            meta.exact = False
            self._index.save()
        meta.avg_len = avg_len
        analyzer = self._index.analyzer
        for batch in self._index.store.scan():
            texts = ((found.chunk.id, found.chunk.lexical_text) for found in batch)
            self._index.store.update_sparse([(key, analyzer.document(text)) for key, text in texts])
            self.report("weighing terms")
        meta.exact = True
        self._index.save()

    @property
    def shared_by(self) -> int:
        """In how many documents text must stand to be stored once."""
        return min(self._settings.shared_by, self._index.meta.fixes.shared_by or self._settings.shared_by)

    @cached_property
    def _llm_tokenizer(self) -> LlmTokenizer:
        return LlmTokenizer(cache_dir=self._settings.cache_dir / "tiktoken")  # half a second to read

    @cached_property
    def _chunker(self) -> Chunker:
        fingerprint = self._index.meta.fingerprint
        tokenizer = self._index.embedder.tokenizer
        return open_chunker(fingerprint.chunker, fingerprint.chunk_tokens, tokenizer, self._llm_tokenizer)

    @cached_property
    def divider(self) -> Divider:
        """What divides chunks in this index."""
        return Divider(self._index.meta.fingerprint.chunk_tokens, self._index.embedder.tokenizer, self._llm_tokenizer)

    def _stored(self, document_id: str) -> Document:
        document = self._index.store.record(document_id).document
        return replace(document, splits=()) if document_id in self.unsplit else document

    def _with_splits(self, document: Document) -> Document:
        """The document with the splits of its former version that its text still has."""
        if document.splits:
            return document  # it comes from another generation, with all that belongs to it
        former = self._split.get(document.id) or self._split.get(document.content_hash)
        record = self._index.store.record(former) if former else None
        if record is None:
            return document
        splits = carried(record.splits, record.text, document.text)
        self.n_splits_kept += len(splits)
        self.n_splits_lost += len(record.splits) - len(splits)
        return replace(document, splits=splits)

    def _read(self, document: Document, blocks: Blocks) -> tuple[Blocks, bytes, str]:
        """The document's blocks, their keys and its `fixes`, by what was decided of repeated text."""
        stretches = self._repeated.find(document.text)
        blocks = refined(document.text, blocks, stretches)
        return blocks, block_keys(document.text, blocks), digest(document.splits, stretches)

    def _put(self, pending: _Pending) -> None:
        if not self._chunker.texts(pending.document, pending.placed.blocks):
            self._cut(pending, {})
        self._batch.append(pending)
        self._n_chars += len(pending.document.text)
        if self._n_chars >= BATCH_CHARS:
            self._submit()

    def _cut(self, pending: _Pending, vectors: Mapping[str, np.ndarray]) -> None:
        document, blocks = pending.document, pending.placed.blocks
        chunks = pending.placed.kept(document.id, self._chunker.chunk(document, blocks, vectors))
        pending.chunks = self.divider.divide(document, blocks, chunks)

    def _submit(self) -> None:
        """Hand the batch to the encoder once it has room."""
        if not self._batch:
            return
        while len(self._encoding) >= MAX_QUEUED:
            self._encoding.pop(0).result()
        batch, self._batch, self._n_chars = self._batch, [], 0
        if not self._is_warm:  # what the encoder compiles at its first use, it must not compile beside other threads
            self._index.embedder.encode_documents(["warm"])
            self._is_warm = True
        self._encoding.append(self._encoder.submit(self._encode, batch))

    def _encode(self, batch: list[_Pending]) -> None:
        uncut = [pending for pending in batch if pending.chunks is None]
        needed = (text for pending in uncut for text in self._chunker.texts(pending.document, pending.placed.blocks))
        vectors = self._vectors.of(needed, self._embedded, self._check)
        for pending in uncut:
            self._cut(pending, vectors)
        needed = (text for pending in batch for text in _texts(pending) if text not in vectors)
        vectors |= self._vectors.of(needed, self._embedded, self._check)
        if self._writing:
            self._writing.result()
        self._check()
        self._writing = self._scribe.submit(self._write, batch, vectors)

    def _embedded(self, n_texts: int) -> None:
        self._n_texts += n_texts
        self.report("embedding")

    def _check(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _write(self, batch: Sequence[_Pending], vectors: Mapping[str, np.ndarray]) -> None:
        """Write the batch, then remove the chunks of its documents' former versions."""
        if not self._index.meta.exact and self._index.meta.avg_len == 1.0:
            self._estimate_avg_len(batch)
        self._index_fields(batch)
        analyzer = self._index.analyzer
        embedded, records = [], []
        for pending in batch:
            n_terms = sum(analyzer.length(chunk.lexical_text) for chunk in pending.chunks)
            record = _record(pending, n_terms)
            records.append(record)
            for chunk in pending.chunks:
                dense, sentences = _vectors_of(chunk, pending.document, vectors)
                if self._projection:
                    dense, sentences = self._projection.project(dense), self._projection.project(sentences)
                sparse = analyzer.document(chunk.lexical_text)
                embedded.append(EmbeddedChunk(chunk, record.generation, dense, sentences, sparse))
        with self._index.store.changing():  # a search meets the old version of a document or the new one, never both
            self._index.store.upsert(embedded, records)
            for record in records:
                if record.settling:
                    self._index.store.settle(record)
        self._n_documents += sum(pending.n_bytes > 0 for pending in batch)  # not those that are cut anew
        self.n_chunks += len(embedded)
        self._done_bytes += sum(pending.n_bytes for pending in batch)
        self.report("embedding")

    def _estimate_avg_len(self, batch: Sequence[_Pending]) -> None:
        """A first average from the first batch, so that the index answers sensibly before it is complete."""
        analyzer = self._index.analyzer
        lengths = [analyzer.length(chunk.lexical_text) for pending in batch for chunk in pending.chunks]
        self._index.meta.avg_len = max(1.0, sum(lengths) / max(1, len(lengths)))
        self._index.save()

    def _index_fields(self, batch: Sequence[_Pending]) -> None:
        """Remember the metadata fields and their kinds; a field whose values differ in kind is `mixed`."""
        fields = self._index.meta.fields
        before = dict(fields)
        for pending in batch:
            for name, value in pending.document.metadata.items():
                kind = _kind(value)
                fields[name] = kind if fields.get(name, kind) == kind else "mixed"
        for name, kind in fields.items():
            is_new = name not in before and INDEXABLE.fullmatch(name) and len(fields) <= MAX_INDEXED_FIELDS
            if is_new and kind in ("keyword", "integer", "float"):
                self._index.store.index_field(f"meta.{name}", kind)
        if fields != before:
            self._index.save()


def _record(pending: _Pending, n_terms: int) -> DocumentRecord:
    document = pending.document
    return DocumentRecord(
        id=document.id,
        uri=document.uri,
        title=document.title,
        content_hash=document.content_hash,
        generation=version(pending.placed.generation, pending.fixes),
        n_chunks=len(pending.chunks),
        n_terms=n_terms,
        metadata=document.metadata,
        settling=pending.is_update,
        block_keys=pending.keys,
        has_own_title=document.has_own_title,
        splits=document.splits,
        fixes=pending.fixes,
        text=document.text,
        markup=document.markup,
        page_starts=document.page_starts,
        page_names=document.page_names,
    )


def _vectors_of(chunk: Chunk, document: Document, vectors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The chunk's vector, float32 (dim,), and its sentences', float32 (n_sentences, dim), all of length 1."""
    sentences = np.stack([vectors[sentence] for sentence in chunk.sentence_texts])
    if title := _label(document):
        sentences = sentences + TITLE_SHARE * vectors[title]
        sentences /= np.linalg.norm(sentences, axis=1, keepdims=True)
    return vectors[chunk.embedding_text], sentences


def _texts(pending: _Pending) -> Iterator[str]:
    """All texts whose vectors a document needs."""
    if title := _label(pending.document):
        yield title
    for chunk in pending.chunks:
        yield chunk.embedding_text
        yield from chunk.sentence_texts


def _label(document: Document) -> str:
    return document.title.strip()[:TITLE_CHARACTERS] if document.has_own_title else ""


def _kind(value: MetadataValue) -> str:
    match value:
        case bool():
            return "yes or no"
        case int():
            return "integer"
        case float():
            return "float"
        case _:
            return "keyword"

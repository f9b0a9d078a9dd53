"""Documents into an index: what changed is chunked, embedded and written, what vanished is removed.

A batch of whole documents is written at once, and only then are the chunks of their former versions removed. Killed
at any instant, the next run finds what is missing by content hash and what was left over by the records' marks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from core.errors import InputError
from core.index import Index
from core.store import EmbeddedChunk
from core.tokens import LlmTokenizer
from core.types import Chunk, Document, DocumentRecord, MetadataValue
from ingest.chunk import chunk_document
from ingest.extract import Extracted, load
from ingest.sources import Failure, Source, Sources

# Chunks to a batch: enough to fill the encoder with texts of like length, and what an interruption costs at most.
BATCH_CHUNKS = 256
# A sentence's vector is that of the sentence plus this share of its title's, so that "it" is about something.
TITLE_SHARE = 0.3
# A title is a label; a longer one is no better a vector and must not crowd out a sentence.
TITLE_CHARACTERS = 200
# Texts whose vectors are kept while an ingest runs: 30 MB at 384 dimensions.
REMEMBERED_TEXTS = 20_000
# BM25 vectors are made anew when the measured average length has moved by more than this from the one they hold.
AVG_LEN_DRIFT = 0.01
# Metadata fields that get an index of their own; more are filtered without one.
MAX_INDEXED_FIELDS = 64


@dataclass(slots=True)
class Summary:
    """What an ingest did, by document; `failures` are listed with their reasons."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    failures: list[Failure] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    n_chunks: int = 0  # chunks written by this run
    is_dry: bool = False

    def __str__(self) -> str:
        verb = "Would index" if self.is_dry else "Indexed"
        return (
            f"{verb}: {self.new} new, {self.updated} updated, {self.unchanged} unchanged, "
            f"{self.removed} removed, {len(self.failures)} failed"
        )

    def to_json(self) -> dict:
        """As plain JSON values."""
        return {
            "dry_run": self.is_dry,
            "new": self.new,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "failed": len(self.failures),
            "chunks": self.n_chunks,
            "skipped": self.skipped,
            "failures": [{"uri": failure.uri, "reason": failure.reason} for failure in self.failures],
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an ingest is: source bytes read of all, chunks written and texts embedded, and what is going on."""

    done_bytes: int
    total_bytes: int
    n_chunks: int
    n_texts: int  # chunks, sentences and titles: moves while a batch is embedded
    stage: str


def plan(known: dict[str, DocumentRecord], sources: Sources, prune: bool) -> Summary:
    """What `ingest` would do, told without an encoder and without writing anything."""
    summary = Summary(is_dry=True)
    for item in sources:
        source = _checked(item, known, summary)
        if source is not None and (extracted := _load(source, summary)):
            _count(extracted.document, known, summary)
    if prune:
        summary.removed = sum(sources.is_vanished(record.id, record.uri) for record in known.values())
    summary.skipped = dict(sources.skipped)
    return summary


def ingest(
    index: Index,
    sources: Sources,
    *,
    prune: bool = False,
    llm_tokenizer: LlmTokenizer,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Bring the index in step with the sources; `prune` also removes what has vanished from the named paths.

    One document that fails never stops the rest. Raises `StorageFull` when the disk runs short; what was written by
    then stays, and the same call continues.
    """
    return _Ingest(index, sources, llm_tokenizer, on_progress).run(prune)


class _Ingest:
    def __init__(
        self, index: Index, sources: Sources, llm_tokenizer: LlmTokenizer, on_progress: Callable[[Progress], None]
    ):
        self._index = index
        self._sources = sources
        self._llm_tokenizer = llm_tokenizer
        self._on_progress = on_progress
        self._summary = Summary()
        self._known = _settle(index)
        self._vectors = _Vectors(index)
        self._pending: list[tuple[Document, list[Chunk]]] = []
        self._n_pending = 0
        self._n_texts = 0
        self._bytes = 0
        self._total_bytes = sources.size_bytes

    def run(self, prune: bool) -> Summary:
        summary = self._summary
        for item in self._sources:
            source = _checked(item, self._known, summary)
            if source is not None and (extracted := _load(source, summary)):
                self._add(extracted)
            if isinstance(item, Source):
                self._bytes += item.size_bytes
            self._report("reading")
        self._flush()
        if prune:
            vanished = [r.id for r in self._known.values() if self._sources.is_vanished(r.id, r.uri)]
            self._index.store.delete_documents(vanished)
            summary.removed = len(vanished)
        self._finish()
        summary.skipped = dict(self._sources.skipped)
        return summary

    def _report(self, stage: str) -> None:
        self._on_progress(Progress(self._bytes, self._total_bytes, self._summary.n_chunks, self._n_texts, stage))

    def _add(self, extracted: Extracted) -> None:
        document = extracted.document
        tokenizer = self._index.embedder.tokenizer
        chunk_tokens = self._index.meta.fingerprint.chunk_tokens
        chunks = chunk_document(document, extracted.blocks, tokenizer, self._llm_tokenizer, chunk_tokens)
        if not chunks:
            self._summary.failures.append(Failure(document.uri, "holds no text to index"))
            return
        _count(document, self._known, self._summary)
        self._pending.append((document, chunks))
        self._n_pending += len(chunks)
        if self._n_pending >= BATCH_CHUNKS:
            self._flush()

    def _flush(self) -> None:
        """Embed and write the pending documents, then remove the chunks of their former versions."""
        if not self._pending:
            return
        if not self._index.meta.exact and self._index.meta.avg_len == 1.0:
            self._estimate_avg_len()
        self._index_fields()
        embedded, lengths = self._embed()
        records = [
            DocumentRecord(
                id=document.id,
                uri=document.uri,
                title=document.title,
                content_hash=document.content_hash,
                generation=document.content_hash,
                n_chunks=len(chunks),
                n_terms=lengths[document.id],
                text=document.text,
                metadata=document.metadata,
                settling=document.id in self._known,
            )
            for document, chunks in self._pending
        ]
        self._index.store.upsert(embedded, records)
        for record in records:
            if record.settling:
                self._index.store.settle(record)
        self._pending, self._n_pending = [], 0

    def _embed(self) -> tuple[list[EmbeddedChunk], dict[str, int]]:
        analyzer = self._index.analyzer
        self._vectors.prepare(self._pending, self._embedded)
        embedded, lengths = [], {}
        for document, chunks in self._pending:
            lengths[document.id] = sum(analyzer.length(chunk.lexical_text) for chunk in chunks)
            for chunk in chunks:
                dense, sentences = self._vectors.of(chunk)
                sparse = analyzer.document(chunk.lexical_text)
                embedded.append(EmbeddedChunk(chunk, document.content_hash, dense, sentences, sparse))
        self._summary.n_chunks += len(embedded)
        return embedded, lengths

    def _embedded(self, n_texts: int) -> None:
        self._n_texts += n_texts
        self._report("embedding")

    def _estimate_avg_len(self) -> None:
        """A first average from the first batch, so that the index answers sensibly before it is complete."""
        analyzer = self._index.analyzer
        lengths = [analyzer.length(chunk.lexical_text) for _, chunks in self._pending for chunk in chunks]
        self._index.meta.avg_len = max(1.0, sum(lengths) / len(lengths))
        self._index.save()

    def _index_fields(self) -> None:
        """Remember the metadata fields and their kinds; a field whose values differ in kind is `mixed`."""
        fields = self._index.meta.fields
        before = dict(fields)
        for document, _ in self._pending:
            for name, value in document.metadata.items():
                kind = _kind(value)
                fields[name] = kind if fields.get(name, kind) == kind else "mixed"
        for name, kind in fields.items():
            if name not in before and kind in ("keyword", "integer", "float") and len(fields) <= MAX_INDEXED_FIELDS:
                self._index.store.index_field(f"meta.{name}", kind)
        if fields != before:
            self._index.save()

    def _finish(self) -> None:
        """Make BM25 exact for the corpus as it now is, and queries fast."""
        self._report("finishing")
        n_terms = n_chunks = 0
        for record in self._index.store.records():
            n_terms += record.n_terms
            n_chunks += record.n_chunks
        meta = self._index.meta
        if n_chunks:
            measured = max(1.0, n_terms / n_chunks)
            if not meta.exact or abs(measured - meta.avg_len) > AVG_LEN_DRIFT * meta.avg_len:
                self._reweigh(measured)
        self._index.store.optimize()

    def _reweigh(self, avg_len: float) -> None:
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
            self._report("weighing terms")
        meta.exact = True
        self._index.save()


class _Vectors:
    """Vectors of texts, each encoded once while it is remembered: corpora repeat themselves."""

    def __init__(self, index: Index):
        self._encode = index.embedder.encode_documents
        self._known: dict[str, np.ndarray] = {}

    def prepare(self, batch: Sequence[tuple[Document, list[Chunk]]], on_progress: Callable[[int], None]) -> None:
        """Encode every text of a batch that isn't known yet, all in one call so that like lengths share a batch."""
        texts = dict.fromkeys(text for document, chunks in batch for text in _texts(document, chunks))
        if len(self._known) + len(texts) > REMEMBERED_TEXTS:
            self._known = {text: self._known[text] for text in texts if text in self._known}
        unknown = [text for text in texts if text not in self._known]
        self._known |= zip(unknown, self._encode(unknown, on_progress), strict=True)

    def of(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """The chunk's vector, float32 (dim,), and its sentences', float32 (n_sentences, dim), all of length 1."""
        dense = self._known[chunk.embedding_text]
        sentences = np.stack([self._known[sentence] for sentence in _sentences(chunk)])
        if title := _label(chunk.title):
            sentences = sentences + TITLE_SHARE * self._known[title]
            sentences /= np.linalg.norm(sentences, axis=1, keepdims=True)
        return dense, sentences


def _texts(document: Document, chunks: Sequence[Chunk]) -> Iterator[str]:
    if title := _label(document.title):
        yield title
    for chunk in chunks:
        yield chunk.embedding_text
        yield from _sentences(chunk)


def _label(title: str) -> str:
    return title.strip()[:TITLE_CHARACTERS]


def _sentences(chunk: Chunk) -> list[str]:
    return [chunk.text[span.start - chunk.start : span.end - chunk.start] for span in chunk.sentences]


def _settle(index: Index) -> dict[str, DocumentRecord]:
    """Clear what an interrupted run left over; returns the records of all complete documents by id."""
    for record in list(index.store.records(unsettled=True)):
        if record.generation:
            index.store.settle(record)
        else:  # a new document of which only some chunks were written
            index.store.delete_documents([record.id])
    return {record.id: record for record in index.store.records()}


def _checked(item: Source | Failure, known: dict[str, DocumentRecord], summary: Summary) -> Source | None:
    """The source where there is work to do; failures and unchanged documents are counted."""
    if isinstance(item, Failure):
        summary.failures.append(item)
        return None
    record = known.get(item.id)
    if record is None:
        return item
    if record.uri != item.uri:
        reason = f"its id {item.id!r} belongs to {record.uri}; rename one, or use another index (--index)"
        summary.failures.append(Failure(item.uri, reason))
        return None
    if record.content_hash == item.content_hash:
        summary.unchanged += 1
        return None
    return item


def _load(source: Source, summary: Summary) -> Extracted | None:
    try:
        return load(source)
    except InputError as error:
        summary.failures.append(Failure(source.uri, str(error)))
        return None


def _count(document: Document, known: dict[str, DocumentRecord], summary: Summary) -> None:
    if document.id in known:
        summary.updated += 1
    else:
        summary.new += 1


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


def known_records(records: Iterable[DocumentRecord]) -> dict[str, DocumentRecord]:
    """Records by document id, for `plan`; documents whose update was interrupted count as changed."""
    return {record.id: record for record in records if not record.settling}

"""Documents into an index: what changed is chunked, embedded and written, what vanished is removed.

Killed at any instant, the next run finds what is missing by content hash and what was left over by the records' marks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from core.index import Index
from core.settings import Settings
from core.types import Document, DocumentRecord
from core.unrelated import measure_unrelated
from ingest.extract import Extracted
from ingest.fixes import version
from ingest.isolation import Extractor, Limits
from ingest.shared import SharedText
from ingest.sources import Failure, Source, Sources
from ingest.sources.addresses import is_gone
from ingest.structure import parse
from ingest.writer import Progress, Writer

# BM25 vectors are made anew when the measured average length has moved by more than this from the one they hold.
AVG_LEN_DRIFT = 0.01


@dataclass(slots=True)
class Summary:
    """What an ingest did, by document; `failures` are listed with their reasons."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    renamed: int = 0
    failures: list[Failure] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    n_chunks: int = 0  # chunks written by this run
    n_splits_kept: int = 0  # of `limpid fix`, in documents whose text has changed
    n_splits_lost: int = 0
    is_dry: bool = False

    def __str__(self) -> str:
        verb = "Would index" if self.is_dry else "Indexed"
        renamed = f"{self.renamed} renamed, " if self.renamed else ""
        return (
            f"{verb}: {self.new} new, {self.updated} updated, {renamed}{self.unchanged} unchanged, "
            f"{self.removed} removed, {len(self.failures)} failed"
        ) + self._of_splits()

    def _of_splits(self) -> str:
        n_splits = self.n_splits_kept + self.n_splits_lost
        if not n_splits:
            return ""
        return f". Splits of `limpid fix` in changed documents: {self.n_splits_kept} kept, {self.n_splits_lost} dropped"

    def to_json(self) -> dict:
        """As plain JSON values."""
        return {
            "dry_run": self.is_dry,
            "new": self.new,
            "updated": self.updated,
            "renamed": self.renamed,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "failed": len(self.failures),
            "chunks": self.n_chunks,
            "splits": {"kept": self.n_splits_kept, "dropped": self.n_splits_lost},
            "skipped": self.skipped,
            "failures": [{"uri": failure.uri, "reason": failure.reason} for failure in self.failures],
        }


class Known(NamedTuple):
    """What an ingest needs to remember of every document that is indexed already."""

    uri: str
    content_hash: str
    splits: tuple[int, ...] = ()


def ingest(
    index: Index,
    sources: Sources,
    settings: Settings,
    *,
    prune: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Bring the index in step with the sources; `prune` also removes what has vanished from the named paths.

    A document whose file is gone and whose content came under another name was renamed; it is never kept twice. One
    document that fails never stops the rest.
    Raises `StorageFull` when the disk runs short; what was written by then stays, and the same call continues.
    """
    settle(index)
    known = known_documents(index.store.records())
    with (
        Writer(index, settings, on_progress, sources.size_bytes) as writer,
        Extractor(Limits.of(settings)) as extractor,
    ):
        changes = _Changes(known, sources, writer.pass_by)
        for source, result in extractor.extract(changes):
            if extracted := changes.accept(source, result):
                writer.add(extracted.document, extracted.blocks, source.id in known, source.size_bytes)
        writer.flush()
        summary = changes.conclude(prune)
        index.store.delete_documents(changes.gone)
        finish(index, writer)
        summary.n_chunks = writer.n_chunks
        summary.n_splits_kept, summary.n_splits_lost = writer.n_splits_kept, writer.n_splits_lost
    return summary


def reingest(
    index: Index,
    documents: Iterable[Document],
    settings: Settings,
    *,
    total_bytes: int = 0,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Summary:
    """Make the index hold exactly the given documents, whose texts were extracted before.

    `total_bytes` is the length of all texts together, for progress. What the index holds already stays as it is.
    Raises like `ingest`.
    """
    settle(index)
    known = known_documents(index.store.records())
    summary = Summary()
    with Writer(index, settings, on_progress, total_bytes) as writer:
        left = set(known)
        for document in documents:
            left.discard(document.id)
            if known.get(document.id) == Known(document.uri, document.content_hash, document.splits):
                summary.unchanged += 1
                writer.pass_by(len(document.text))
                continue
            _count(document.id, known, summary)
            blocks = parse(document.text, document.markup)
            writer.add(document, blocks, document.id in known, len(document.text))
        writer.flush()
        index.store.delete_documents(sorted(left))
        finish(index, writer)
        summary.removed, summary.n_chunks = len(left), writer.n_chunks
    return summary


def remove(
    index: Index,
    document_ids: Iterable[str],
    settings: Settings,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> None:
    """Remove documents, and leave the index as if they had never been ingested; unknown ids are ignored."""
    settle(index)
    with Writer(index, settings, on_progress, 0) as writer:
        index.store.delete_documents(list(document_ids))
        finish(index, writer)


def plan(known: Mapping[str, Known], sources: Sources, settings: Settings, prune: bool) -> Summary:
    """What `ingest` would do, told without an encoder and without writing anything."""
    changes = _Changes(known, sources, lambda n_bytes: None)
    with Extractor(Limits.of(settings)) as extractor:
        for source, result in extractor.extract(changes):
            changes.accept(source, result)
    summary = changes.conclude(prune)
    summary.is_dry = True
    return summary


def known_documents(records: Iterable[DocumentRecord]) -> dict[str, Known]:
    """What is indexed, by document id; documents whose update was interrupted count as not there."""
    return {
        record.id: Known(record.uri, record.content_hash, record.splits) for record in records if not record.settling
    }


def settle(index: Index) -> None:
    """Clear what an interrupted run left over."""
    for record in list(index.store.records(unsettled=True)):
        if record.generation:
            index.store.settle(record)
        else:  # a new document of which only some chunks were written
            index.store.delete_documents([record.id])


class _Changes:
    """Iterates over the sources that there is work for; everything is counted in `summary`."""

    def __init__(self, known: Mapping[str, Known], sources: Sources, pass_by: Callable[[int], None]):
        self._known = known
        self._sources = sources
        self._pass_by = pass_by
        self._seen: set[str] = set()  # of the known documents
        # What the index will hold, by content, and how many documents of it are new: for renames, if any are known.
        self._hashes: Counter[str] = Counter()
        self.summary = Summary()
        self.gone: list[str] = []

    def __iter__(self) -> Iterator[Source]:
        for item in self._sources:
            if isinstance(item, Failure):
                self.summary.failures.append(item)
            elif self._is_changed(item):
                yield item
            else:
                self._pass_by(item.size_bytes)

    def accept(self, source: Source, result: Extracted | Failure) -> Extracted | None:
        """Count what became of a source; None where it can't be indexed."""
        if isinstance(result, Failure):
            self.summary.failures.append(result)
            self._pass_by(source.size_bytes)
            return None
        before = self._known.get(source.id)
        if before and before.content_hash == source.content_hash:
            self.summary.renamed += 1  # a record of a file that has another name now
        else:
            _count(source.id, self._known, self.summary)
        self._hold(source)
        return result

    def conclude(self, prune: bool) -> Summary:
        """After the last source: finds the documents that are to go, and completes the summary."""
        missing = {key: known for key, known in self._known.items() if key not in self._seen}
        renamed = [key for key, known in missing.items() if known.content_hash in self._hashes and is_gone(known.uri)]
        self.summary.new -= (Counter(missing[key].content_hash for key in renamed) & self._hashes).total()
        self.summary.renamed += len(renamed)
        self.gone = renamed
        if prune:
            left = [key for key in missing if key not in set(renamed)]
            vanished = [key for key in left if self._sources.is_vanished(key, missing[key].uri)]
            self.gone = [*renamed, *vanished]
            self.summary.removed = len(vanished)
        self.summary.skipped = dict(self._sources.skipped)
        return self.summary

    def _is_changed(self, source: Source) -> bool:
        before = self._known.get(source.id)
        if before is None:
            return True
        self._seen.add(source.id)
        if before.uri != source.uri:
            if is_gone(before.uri):
                return True
            reason = f"its id {source.id!r} belongs to {before.uri}; rename one, or use another index (--index)"
            self.summary.failures.append(Failure(source.uri, reason))
            return False
        if before.content_hash != source.content_hash:
            return True
        self.summary.unchanged += 1
        self._hold(source)
        return False

    def _hold(self, source: Source) -> None:
        if self._known:
            self._hashes[source.content_hash] += source.id not in self._known


def _expected(record: DocumentRecord, shared: SharedText) -> str:
    return version(shared.generation(record.id, record.content_hash, record.block_keys), record.fixes)


def _count(document_id: str, known: Mapping[str, Known], summary: Summary) -> None:
    if document_id in known:
        summary.updated += 1
    else:
        summary.new += 1


def finish(index: Index, writer: Writer) -> None:
    """Make the index what the corpus as a whole asks for: shared text, average length, and what makes queries fast."""
    writer.report("finishing")
    shared = SharedText(writer.shared_by)
    reread = writer.reread()

    def records() -> Iterator[DocumentRecord]:
        for record in index.store.records():
            keys, fixes = reread.get(record.id, (record.block_keys, record.fixes))
            yield replace(record, block_keys=keys, fixes=fixes)

    n_terms = n_chunks = 0
    for record in records():
        shared.add(record.id, record.content_hash, record.block_keys)
        n_terms += record.n_terms
        n_chunks += record.n_chunks
    stale = {record.id for record in records() if record.generation != _expected(record, shared)}
    if stale:
        shared.gather((record for record in records() if record.id in stale), records())
        writer.cut_anew(sorted(stale), shared)
        n_terms = n_chunks = 0
        for record in index.store.records():
            n_terms += record.n_terms
            n_chunks += record.n_chunks
    meta = index.meta
    if n_chunks:
        measured = max(1.0, n_terms / n_chunks)
        if not meta.exact or abs(measured - meta.avg_len) > AVG_LEN_DRIFT * meta.avg_len:
            writer.reweigh(measured)
    if meta.fixes.pending:
        meta.fixes = replace(meta.fixes, pending=False)
        index.save()
    index.store.optimize()
    if writer.n_chunks or stale or (meta.unrelated or {}).get("n_chunks", 0) != n_chunks:
        meta.unrelated = measure_unrelated(index.store, index.embedder).to_json()
        index.save()

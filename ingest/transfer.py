"""A new generation of an index with its chunks as they are and their vectors changed: nothing is cut or encoded anew.

Like a reindex it holds the current generation for moments only: whole documents are copied to a temporary file, which
the new generation is written from, and what changed meanwhile is caught up before the switch.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

import numpy as np

from core.compress.embedder import projection_of
from core.compress.projection import Projection
from core.copying import Package, Version, package, versions
from core.errors import StorageFull
from core.filters import INDEXABLE
from core.fingerprint import Meta
from core.index import Index
from core.settings import Settings
from core.store import EmbeddedChunk, Store
from core.unrelated import measure_unrelated
from ingest.pipeline import settle
from ingest.reindex import Rebuilt, enter, working_folder
from ingest.writer import MAX_INDEXED_FIELDS, Progress

CHUNKS_AT_ONCE = 1024  # in memory together, with all their vectors; a document is never divided
DOCUMENTS_AT_ONCE = 64  # their ids fit the body that a server accepts


class Visit(Protocol):
    """The current generation while it is held: nothing changes in it meanwhile."""

    def meta(self) -> Meta:
        """What it remembers of itself."""
        ...

    def versions(self) -> dict[str, Version]:
        """The documents of which a whole version is there, by id."""
        ...

    def package(self, document_ids: Sequence[str]) -> Package:
        """The documents of these ids."""
        ...


@dataclass(frozen=True, slots=True)
class StoreVisit:
    """A visit to an open store. See `Visit`."""

    store: Store
    remembered: Meta

    def meta(self) -> Meta:
        """See `Visit`."""
        return self.remembered

    def versions(self) -> dict[str, Version]:
        """See `Visit`."""
        return versions(self.store)

    def package(self, document_ids: Sequence[str]) -> Package:
        """See `Visit`."""
        return package(self.store, document_ids)


def transfer(
    index: Index,
    visit: Callable[[], AbstractContextManager[Visit]],
    settings: Settings,
    switch: Callable[[], None],
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Rebuilt:
    """Fill `index` with the current generation's chunks, close it, and call `switch`; returns what it holds.

    Vectors longer than those of `index` pass through its projection. `visit` holds the current generation; it may
    raise `IndexLocked` while another process does. Interrupted, the same call goes on: what `index` holds already
    isn't written again. `switch` is called while the current generation is held and known to have nothing that
    `index` lacks.
    Raises `StorageFull` when the disk runs short.
    """
    settle(index)
    is_built = False
    while True:
        with ExitStack() as held, tempfile.TemporaryFile(dir=working_folder(settings)) as file:
            visited = enter(held, visit, on_progress)
            wanted, present = visited.versions(), versions(index.store)
            missing = sorted(key for key, version in wanted.items() if present.get(key) != version)
            stale = sorted(key for key, version in present.items() if wanted.get(key) != version)
            is_weighed = _follow(index, visited.meta(), is_empty=not present)
            if is_built and is_weighed and not missing and not stale:
                rebuilt = Rebuilt(len(wanted), index.store.count_chunks())
                index.close()
                switch()
                return rebuilt
            _write(file, (visited.package(portion) for portion in portions(missing, wanted)))
            held.close()  # the current generation is free again
            index.store.delete_documents(stale)
            _fill(index, _read(file), len(wanted) - len(missing), len(wanted), on_progress)
            if not is_weighed:
                _reweigh(index)
            index.store.optimize()
            if wanted:
                index.meta.unrelated = measure_unrelated(index.store, index.embedder).to_json()
                index.save()
            is_built = True


def _follow(index: Index, current: Meta, *, is_empty: bool) -> bool:
    """Let the new generation remember what the current one does; returns whether its BM25 vectors fit that.

    Until those that don't are made anew it remembers no average length, so that a kill meanwhile is noticed.
    """
    ours = index.meta
    is_weighed = is_empty or ours.avg_len == current.avg_len
    for name, kind in list(current.fields.items())[:MAX_INDEXED_FIELDS]:
        if kind in ("keyword", "integer", "float") and ours.fields.get(name) != kind and INDEXABLE.fullmatch(name):
            index.store.index_field(f"meta.{name}", kind)
    of_vectors = {name: getattr(ours, name) for name in ("fingerprint", "projection", "unrelated")}
    index.meta = replace(current, **of_vectors)
    if not is_weighed:
        index.meta.avg_len = 0.0
    index.save()
    index.meta.avg_len = current.avg_len
    return is_weighed


def portions(document_ids: Sequence[str], known: Mapping[str, Version]) -> Iterator[list[str]]:
    """The ids in groups whose documents have some `CHUNKS_AT_ONCE` chunks together, or are `DOCUMENTS_AT_ONCE`."""
    portion: list[str] = []
    n_chunks = 0
    for document_id in document_ids:
        portion.append(document_id)
        n_chunks += known[document_id].n_chunks
        if n_chunks >= CHUNKS_AT_ONCE or len(portion) >= DOCUMENTS_AT_ONCE:
            yield portion
            portion, n_chunks = [], 0
    if portion:
        yield portion


def _fill(
    index: Index, packages: Iterable[Package], n_done: int, n_wanted: int, on_progress: Callable[[Progress], None]
) -> None:
    """Write documents whole, none of which is there."""
    analyzer, projection = index.analyzer, projection_of(index.embedder)
    n_chunks = 0
    for records, chunks in packages:
        generation = {record.id: record.generation for record in records}
        embedded = [
            EmbeddedChunk(
                found.chunk,
                generation[found.chunk.document_id],
                _fitting(found.dense, projection),
                _fitting(found.sentences, projection),
                analyzer.document(found.chunk.lexical_text),
            )
            for found in chunks
        ]
        index.store.upsert(embedded, records)
        n_done, n_chunks = n_done + len(records), n_chunks + len(embedded)
        on_progress(Progress(n_done, n_chunks, n_done, n_wanted, 0, "copying"))


def _fitting(vectors: np.ndarray, projection: Projection | None) -> np.ndarray:
    """The vectors in the dimension of an index with that projection."""
    is_full = projection is not None and vectors.shape[-1] == projection.n_inputs
    return projection.project(vectors) if is_full else vectors


def _reweigh(index: Index) -> None:
    """Make every BM25 vector anew, by the average length that the index has now."""
    for batch in index.store.scan():
        texts = ((found.chunk.id, found.chunk.lexical_text) for found in batch)
        index.store.update_sparse([(key, index.analyzer.document(text)) for key, text in texts])
    index.save()


def _write(file: BinaryIO, packages: Iterable[Package]) -> None:
    try:
        for package in packages:
            pickle.dump(package, file, protocol=pickle.HIGHEST_PROTOCOL)
        file.flush()
    except OSError as error:
        raise StorageFull(
            f"There is no room for a copy of all chunks ({error.strerror}). Make room, then run the same command again."
        ) from None


def _read(file: BinaryIO) -> Iterator[Package]:
    file.seek(0)
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return

"""A new generation of an index, made of the documents that the current one holds: no source is needed.

The current generation is opened for moments only, so that others can use it while the new one is built: its documents
are copied to a temporary file, which the build reads. What changed meanwhile is caught up before the switch.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from core.errors import IndexLocked, StorageFull
from core.index import Index
from core.settings import Settings
from core.store import Store
from core.types import Document
from ingest.pipeline import Known, reingest
from ingest.writer import Progress

RETRY_S = 0.2
COPIED_AT_ONCE = 256  # documents
Visited = TypeVar("Visited")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a new generation holds."""

    n_documents: int
    n_chunks: int


class Visit(Protocol):
    """The current generation while it is held: nothing changes in it meanwhile."""

    def known(self) -> dict[str, Known]:
        """What it holds, by document id."""
        ...

    def documents(self, document_ids: Sequence[str]) -> Iterator[Document]:
        """Documents with their texts."""
        ...


class Origin(Protocol):
    """Where the current generation is found."""

    def visit(self) -> AbstractContextManager[Visit]:
        """Hold it. Raises `IndexLocked` while another process does."""
        ...


class StoreVisit:
    """A visit to an open store. See `Visit`."""

    def __init__(self, store: Store):
        """The store stays whose it is."""
        self._store = store

    def known(self) -> dict[str, Known]:
        """See `Visit`; a document whose first version isn't complete doesn't count."""
        return complete(self._store)

    def documents(self, document_ids: Sequence[str]) -> Iterator[Document]:
        """See `Visit`."""
        for start in range(0, len(document_ids), COPIED_AT_ONCE):
            for record in self._store.load_records(document_ids[start : start + COPIED_AT_ONCE]):
                yield record.document


def complete(store: Store) -> dict[str, Known]:
    """The documents of a store of which a whole version is there, by id."""
    return {
        record.id: Known(record.uri, record.content_hash, record.splits)
        for record in store.records()
        if record.generation
    }


def rebuild(
    index: Index,
    origin: Origin,
    settings: Settings,
    switch: Callable[[], None],
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Rebuilt:
    """Fill `index` with the documents of the current generation, close it, and call `switch`; returns what it holds.

    Interrupted, the same call goes on: what `index` holds already isn't made again. `switch` is called while the
    current generation is held and known to have nothing that `index` lacks.
    Raises `StorageFull` when the disk runs short.
    """
    is_built = False
    while True:
        with ExitStack() as held, tempfile.TemporaryFile(dir=working_folder(settings)) as file:
            visit = enter(held, origin.visit, on_progress)
            wanted = visit.known()
            if is_built and complete(index.store) == wanted:
                rebuilt = Rebuilt(len(wanted), index.store.count_chunks())
                index.close()
                switch()
                return rebuilt
            n_chars = _write(file, visit.documents(sorted(wanted)))
            held.close()  # the current generation is free again
            reingest(index, _read(file), settings, total_bytes=n_chars, on_progress=on_progress)
            is_built = True


def working_folder(settings: Settings) -> Path | None:
    """Where there is room for a copy of all texts: beside the index; for a server where temporary files go."""
    return None if settings.is_server else Path(settings.index)


def enter(
    held: ExitStack, visit: Callable[[], AbstractContextManager[Visited]], on_progress: Callable[[Progress], None]
) -> Visited:
    """The visit that `visit` makes, entered once nobody else holds the current generation; `held` ends it."""
    while True:
        try:
            return held.enter_context(visit())
        except IndexLocked:
            on_progress(Progress(0, 0, 0, 0, 0, "waiting: index in use"))
            time.sleep(RETRY_S)


def _write(file, documents: Iterator[Document]) -> int:
    """Write documents as lines of JSON; returns the length of their texts."""
    n_chars = 0
    try:
        for document in documents:
            file.write(json.dumps(asdict(document)).encode() + b"\n")
            n_chars += len(document.text)
        file.flush()
    except OSError as error:
        raise StorageFull(
            f"There is no room for a copy of all texts ({error.strerror}). Make room, then run the same command again."
        ) from None
    return n_chars


def _read(file) -> Iterator[Document]:
    file.seek(0)
    for line in file:
        stored = json.loads(line)
        tuples = {name: tuple(stored[name]) for name in ("page_starts", "page_names", "splits")}
        yield Document(**stored | tuples)

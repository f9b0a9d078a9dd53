"""The current generation of an index, read from its store or, while a server holds that, through the server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from api.jobs.writing import alone, data_folder
from api.served import ServedIndex, find_server
from core.errors import IndexLocked, IndexMismatch
from core.index import open_current_store
from core.settings import Settings
from core.types import Document
from ingest.pipeline import Known
from ingest.reindex import StoreVisit, Visit


class CurrentGeneration:
    """Where a reindex finds its documents. See `ingest.reindex.Origin`."""

    def __init__(self, settings: Settings, generation: int):
        """`generation` is the number that the current one must have."""
        self._settings = settings
        self._generation = generation

    @contextmanager
    def visit(self) -> Iterator[Visit]:
        """See `Origin`. Raises `IndexMismatch` where another generation has become the current one."""
        with ExitStack() as opened:
            try:
                number, store, _ = opened.enter_context(open_current_store(self._settings))
                visit: Visit = StoreVisit(store)
            except IndexLocked:
                server = opened.enter_context(find_server(self._settings))
                opened.enter_context(alone(data_folder(self._settings)))  # what is uploaded waits until this ends
                number, visit = server.status()["generation"], ServedVisit(server)
            if number != self._generation:
                raise IndexMismatch(
                    f"The index {self._settings.index} has moved from generation {self._generation} to {number} "
                    "meanwhile. Run the command again."
                )
            yield visit


class ServedVisit:
    """A visit to a server, which writes nothing meanwhile. See `ingest.reindex.Visit`."""

    def __init__(self, server: ServedIndex):
        """The server's connection stays whose it is."""
        self._server = server

    def known(self) -> dict[str, Known]:
        """See `Visit`."""
        return {
            found["id"]: Known(found["uri"], found["content_hash"], tuple(found["splits"]))
            for found in self._server.documents()
        }

    def documents(self, document_ids: Sequence[str]) -> Iterator[Document]:
        """See `Visit`."""
        for document_id in document_ids:
            found = self._server.document(document_id)
            yield Document(
                id=found["id"],
                uri=found["uri"],
                title=found["title"],
                text=found["text"],
                content_hash=found["content_hash"],
                markup=found["markup"],
                page_starts=tuple(found["page_starts"]),
                page_names=tuple(found["page_names"]),
                has_own_title=found["has_own_title"],
                metadata=found["metadata"],
                splits=tuple(found["splits"]),
            )

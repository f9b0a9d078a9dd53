"""Where the tools find their answers: an open index, or the server that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol, TypeVar

from api.opening import held, open_query_log, open_reranker
from api.routes import context, documents, report, search, space
from api.schemas import SearchRequest
from api.served import find_server
from core.embed import Embedder
from core.errors import IndexLocked
from core.index import Index, open_current_store, open_index
from core.settings import Settings
from search.retriever import Retriever

Answer = TypeVar("Answer")


class Source(Protocol):
    """What the tools ask an index; bodies and answers have the form of the HTTP API's.

    Each raises `InputError` or `NotFound` for what can't be asked, any other `LimpidError` where it can't be answered.
    """

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/search."""
        ...

    def similar(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/similar."""
        ...

    def context(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/context."""
        ...

    def document(self, document_id: str, *, chunks: bool = False) -> dict[str, Any]:
        """GET /v1/documents/{id}."""
        ...

    def page(self, limit: int, after: str | None = None) -> dict[str, Any]:
        """GET /v1/documents."""
        ...

    def report(self) -> dict[str, Any]:
        """GET /v1/report."""
        ...


class Asked(Protocol):
    """An open index, as `api.serving.live.LiveIndex` is."""

    @property
    def settings(self) -> Settings:
        """What it was opened with."""
        ...

    def answer(self, ask: Callable[[Index, Retriever], Answer]) -> Answer:
        """What `ask` makes of the index."""
        ...


class OpenSource:
    """Answers from an open index, by the functions that answer over HTTP. See `Source`."""

    def __init__(self, live: Asked):
        """The index stays whose it is."""
        self._live = live

    def search(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `Source`."""
        return search.find(self._live, SearchRequest(**body))

    def similar(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `Source`."""
        return space.find_similar(self._live, space.SimilarRequest(**body))

    def context(self, body: dict[str, Any]) -> dict[str, Any]:
        """See `Source`."""
        return context.make(self._live, context.ContextRequest(**body))

    def document(self, document_id: str, *, chunks: bool = False) -> dict[str, Any]:
        """See `Source`."""
        return documents.document(self._live, document_id, chunks).model_dump(exclude_unset=True)

    def page(self, limit: int, after: str | None = None) -> dict[str, Any]:
        """See `Source`."""
        return documents.documents(self._live, limit, after).model_dump()

    def report(self) -> dict[str, Any]:
        """See `Source`."""
        return report.report(self._live).model_dump()


@dataclass(frozen=True, slots=True)
class _Opened:
    """An index that is open for one call."""

    index: Index
    retriever: Retriever
    settings: Settings

    def answer(self, ask: Callable[[Index, Retriever], Answer]) -> Answer:
        return ask(self.index, self.retriever)


class OwnIndex:
    """The index that the settings name, opened for each call and closed behind it; the encoder stays.

    An agent keeps its servers for hours, and an embedded index lets only one process in: held for moments, it can be
    ingested into, searched and served meanwhile. Where `limpid serve` holds it, calls go through that server.
    """

    def __init__(self, settings: Settings, notify: Callable[[str], None]):
        """Opens nothing yet. Raises like `open_reranker` and `open_query_log`."""
        self._settings = settings
        self._notify = notify
        self._reranker = open_reranker(settings, notify)
        self._log = open_query_log(settings)
        self._embedder: Embedder | None = None
        self._turn = Lock()

    @contextmanager
    def opened(self) -> Iterator[Source]:
        """The index, for one call at a time. Raises like `open_index`; `IndexLocked` where no server can be asked."""
        with self._turn, ExitStack() as opened:
            yield self._enter(opened)

    def fields(self) -> dict[str, str]:
        """The metadata fields that filters know, with their kinds; read without an encoder. Raises like `opened`."""

        def read() -> dict[str, str]:
            with open_current_store(self._settings) as (_, _, meta):
                return dict(meta.fields)

        with self._turn:
            try:
                return held(self._settings, read)
            except IndexLocked:
                with find_server(self._settings) as server:
                    return server.status()["fields"]

    def _enter(self, opened: ExitStack) -> Source:
        try:
            index = opened.enter_context(held(self._settings, self._open))
        except IndexLocked:
            return opened.enter_context(find_server(self._settings))
        self._embedder = index.embedder
        settings = self._settings
        retriever = Retriever(index, settings.candidates, settings.dense_weight, reranker=self._reranker, log=self._log)
        return OpenSource(_Opened(index, retriever, settings))

    def _open(self) -> Index:
        return open_index(self._settings, notify=self._notify, embedder=self._embedder)

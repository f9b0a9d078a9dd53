"""Opening the index that a command works on: with patience, and through the server that holds it where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from api.console import Console
from core.errors import IndexLocked, InputError

if TYPE_CHECKING:
    from core.index import Index
    from core.settings import Settings
    from search.query_log import QueryLog
    from search.rerank import Reranker
    from search.retriever import Retriever

# A watch and a reindex hold the index for moments only: a command that comes just then waits instead of failing.
PATIENCE_S = 3.0
PAUSE_S = 0.1
Opened = TypeVar("Opened")


def open_for(settings: Settings, console: Console, *, create: bool = False) -> Index:
    """The index for a command that can't do without it; raises like `open_index`, saying who holds a locked one."""
    from core.index import open_index

    return held(settings, lambda: open_index(settings, create=create, notify=console.note))


def held(settings: Settings, attempt: Callable[[], Opened]) -> Opened:
    """What `attempt` opens, tried again for a while where another process has the index open.

    Raises `IndexLocked`, saying who holds the index and what to do, where a running server has left its address.
    """
    from api.holder import read_holder

    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return attempt()
        except IndexLocked as error:
            if holder := read_holder(settings.index):
                raise IndexLocked(
                    f"The index {settings.index} is served by `limpid serve` at {holder.url} (process {holder.pid}). "
                    "Searches and deletions go through that server, and its POST /v1/documents takes uploads; for this "
                    "command, stop it first."
                ) from error
            if time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_S)


def retriever(
    index: Index,
    settings: Settings,
    notify: Callable[[str], None] = print,
    *,
    rerank: bool | None = None,
    is_logged: bool = False,
) -> Retriever:
    """A retriever over an open index, by the settings; without their reranker where `rerank` is False.

    Only people's own searches are to be `is_logged`, and only where the settings name a query log.
    """
    from search.retriever import Retriever

    reranker = None if rerank is False else open_reranker(settings, notify)
    log = open_query_log(settings) if is_logged else None
    return Retriever(index, settings.candidates, settings.dense_weight, reranker=reranker, log=log)


def count_chunks(index: Index, purpose: str) -> int:
    """Number of chunks. Raises `InputError` where there are none: "there is nothing to" do what `purpose` names."""
    n_chunks = index.store.count_chunks()
    if not n_chunks:
        raise InputError(f"The index is empty, there is nothing to {purpose}. Ingest something first.")
    return n_chunks


def open_query_log(settings: Settings) -> QueryLog | None:
    """The query log that the settings name, None where they name none. Raises `DependencyError` if unreadable."""
    from search.query_log import QueryLog

    return QueryLog(settings.query_log) if settings.query_log else None


def open_reranker(settings: Settings, notify: Callable[[str], None] = print) -> Reranker | None:
    """The reranker that the settings name, None where they name none; to be opened in the main thread.

    Raises `DependencyError` where its model is unavailable.
    """
    if not settings.reranker:
        return None
    from core.embed.cross_encoder import open_cross_encoder
    from search.rerank import Reranker

    encoder = open_cross_encoder(
        settings.reranker, settings.cache_dir, device=settings.device, offline=settings.offline, notify=notify
    )
    return Reranker(encoder, settings.rerank_depth)

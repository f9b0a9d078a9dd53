"""The indexes that a server answers from: its own, and one for each tenant.

A tenant's documents are in an index of their own, because what an index has in common tells of all that is in it:
the inverse document frequencies and average length behind a BM25 score, counts, facets, the map and the report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Lock
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, Request

from api.keys import Key, Role, tenant_settings
from api.live import LiveIndex
from core.errors import Forbidden
from core.index import Index, open_index
from core.settings import Settings

_logger = logging.getLogger("limpid.tenants")


class Tenants:
    """Every tenant's index, opened when it is first asked for. Safe to use from several threads."""

    def __init__(self, index: Index, settings: Settings):
        """`index` is the server's own, that of the tenant without a name; it stays whose it is."""
        self._index = index
        self._settings = settings
        self._live = {"": LiveIndex(index, settings)}
        self._opened: list[Index] = []
        self._opening = Lock()

    def opened(self, tenant: str) -> LiveIndex | None:
        """The tenant's index where it is open already."""
        return self._live.get(tenant)

    def live(self, tenant: str) -> LiveIndex:
        """The tenant's index, made where the tenant has none yet. Raises like `open_index`."""
        with self._opening:
            if tenant not in self._live:
                settings = tenant_settings(self._settings, tenant)
                index = open_index(settings, create=True, notify=_logger.info, embedder=self._index.embedder)
                self._opened.append(index)
                self._live[tenant] = LiveIndex(index, settings)
            return self._live[tenant]

    def refresh(self) -> None:
        """See `LiveIndex.refresh`."""
        for live in list(self._live.values()):
            live.refresh()

    def close(self) -> None:
        """Close all that was opened here."""
        for live in self._live.values():
            live.close()
        for index in self._opened:
            index.close()


def key_of(request: Request) -> Key:
    """The key that the request came with; `Access` has checked it."""
    return request.state.key


async def live_of(request: Request) -> LiveIndex:
    """The index of the request's tenant."""
    tenants: Tenants = request.app.state.tenants
    tenant = key_of(request).tenant
    return tenants.opened(tenant) or await to_thread.run_sync(tenants.live, tenant)


def needs(role: Role) -> Callable[[Request], None]:
    """A dependency of routes that take more than reading. Raises `Forbidden` for a key that may not."""

    async def check(request: Request) -> None:
        if not key_of(request).may(role):
            raise Forbidden(f"This needs a key with the role {role}; yours has the role {key_of(request).role}.")

    return check


Live = Annotated[LiveIndex, Depends(live_of)]
Caller = Annotated[Key, Depends(key_of)]

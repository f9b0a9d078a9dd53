"""The indexes that a server answers from: its own, and one for each tenant.

A tenant's documents are in an index of their own, because what an index has in common tells of all that is in it:
the inverse document frequencies and average length behind a BM25 score, counts, facets, the map and the report.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from api.opening import open_reranker
from api.serving.keys import Key, Role, tenant_settings
from api.serving.live import LiveIndex
from core.errors import DependencyError, Forbidden, InputError, NotFound
from core.fingerprint import CHOSEN
from core.index import Index, open_index
from core.settings import Settings
from search.stages import Watch, unwatched

_logger = logging.getLogger("limpid.tenants")


class Tenants:
    """Every tenant's index, open while it is asked for. Safe to use from several threads."""

    def __init__(self, index: Index, settings: Settings, watch: Watch = unwatched):
        """`index` is the server's own, that of the tenant without a name; it stays whose it is."""
        self._index = index
        self._settings = settings
        self._watch = watch
        self._reranker = open_reranker(settings, _logger.info)  # one for all: it knows nothing of an index
        self._live = {"": LiveIndex(index, settings, self._reranker, watch)}

    def live(self, tenant: str) -> LiveIndex:
        """The tenant's index, which is opened when it is asked something, and made where the tenant has none yet.

        At most about `max_open_tenants` are open: those that nobody has asked for longest are closed meanwhile.
        """
        return self._live.get(tenant) or self._live.setdefault(tenant, self._sleeping(tenant))

    def all(self) -> list[LiveIndex]:
        """The server's own index, and those of all tenants that anybody has asked for."""
        return list(self._live.values())

    def refresh(self) -> None:
        """Move every open index to its current generation, see `LiveIndex.refresh`; close those over the limit."""
        for live in self.all():
            try:
                live.refresh()
            except Exception:  # a fault with one index must not end the server
                _logger.exception("An index couldn't be refreshed")
        self._make_room(self._settings.max_open_tenants)

    def close(self) -> None:
        """Close all that was opened here."""
        for live in self.all():
            live.close()

    def _sleeping(self, tenant: str) -> LiveIndex:
        settings = tenant_settings(self._settings, tenant)
        return LiveIndex(None, settings, self._reranker, self._watch, reopen=lambda: self._open(settings))

    def _open(self, settings: Settings) -> Index:
        """A tenant's index. Raises like `open_index`, but tells no client of folders."""
        self._make_room(self._settings.max_open_tenants - 1)
        embedder = self._index.embedder
        try:
            return open_index(settings, notify=_logger.info, embedder=embedder)
        except NotFound:
            made_with = self._index.meta.fingerprint
            like_ours = {name: getattr(made_with, name) for name in ("model", *CHOSEN)}
            settings = settings.model_copy(update=like_ours)
        try:
            return open_index(settings, create=True, notify=_logger.info, embedder=embedder)
        except (NotFound, InputError) as error:
            raise DependencyError(str(error)) from error

    def _make_room(self, limit: int) -> None:
        """Close the indexes that nobody has asked for longest until at most `limit` are open, or all are in use."""
        is_open = [live for tenant, live in list(self._live.items()) if tenant and live.is_open]
        n_open = len(is_open)
        for live in sorted(is_open, key=lambda live: live.used):
            if n_open <= limit:
                return
            n_open -= live.rest()


def key_of(request: Request) -> Key:
    """The key that the request came with; `Access` has checked it."""
    return request.state.key


async def live_of(request: Request) -> LiveIndex:
    """The index of the request's tenant."""
    tenants: Tenants = request.app.state.tenants
    return tenants.live(key_of(request).tenant)


def needs(role: Role) -> Callable[[Request], None]:
    """A dependency of routes that take more than reading. Raises `Forbidden` for a key that may not."""

    async def check(request: Request) -> None:
        if not key_of(request).may(role):
            raise Forbidden(f"This needs a key with the role {role}; yours has the role {key_of(request).role}.")

    return check


async def needs_operator(request: Request) -> None:
    """A dependency of routes that tell of the whole server. Raises `Forbidden` for a tenant's key and lesser roles."""
    await needs("admin")(request)
    if key_of(request).tenant:
        raise Forbidden("This tells of the whole server: it needs an admin key that belongs to no tenant.")


Live = Annotated[LiveIndex, Depends(live_of)]
Caller = Annotated[Key, Depends(key_of)]

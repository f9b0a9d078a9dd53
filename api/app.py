"""The HTTP application: the API under `/v1`, health checks and the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles

from api import pages, problems
from api.access import Access
from api.keys import KeyRing
from api.routes import context, copying, documents, health, search, space
from api.routes import pages as page_routes
from api.schemas import Problem
from api.tenants import Tenants
from core.index import Index
from core.settings import Settings

VERSION = "1"
# Requests that work at the same time; more wait. Each thread keeps an inference request of its own.
N_THREADS = 16
REFRESH_S = 1.0  # how soon another generation, made by `limpid reindex`, is served


def create_app(index: Index, settings: Settings, secret: str = "") -> FastAPI:
    """The application over an open index, which whoever opened it closes after serving.

    `secret` is one more key, for everything; it doesn't lock a server that has no others.
    Where `limpid reindex` puts another generation in its place, the application moves to that by itself.
    Raises `ConfigError` where the keys can't be read.
    """
    ring = KeyRing(settings, secret)
    app = FastAPI(
        title="Limpid",
        version=VERSION,
        description="Retrieval-augmented search. Failures are problem documents (RFC 9457).",
        docs_url=None,  # the interactive pages load from another host
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.tenants = Tenants(index, settings)
    app.add_middleware(Access, ring=ring, allowed_hosts=settings.allowed_hosts)
    problems.install(app)
    app.include_router(_api(ring.is_locked))
    app.include_router(health.router)
    app.include_router(page_routes.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC))
    app.openapi = lambda: _openapi(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = N_THREADS
    tenants: Tenants = app.state.tenants
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_refresh, tenants)
        yield
        tasks.cancel_scope.cancel()
    tenants.close()


async def _refresh(tenants: Tenants) -> None:
    while True:
        await anyio.sleep(REFRESH_S)
        await anyio.to_thread.run_sync(tenants.refresh)


def _api(is_locked: bool) -> APIRouter:
    """The versioned API. `Access` checks the key before anything is read; here it is only described."""
    bearer = HTTPBearer(auto_error=False, scheme_name="key", description="One of the server's API keys.")
    statuses = (401, 403, 500, 503) if is_locked else (500, 503)
    router = APIRouter(
        prefix="/v1",
        dependencies=[Depends(bearer)] if is_locked else [],
        responses=problems.documented(*statuses),
    )
    for part in (search, context, space, documents, copying):
        router.include_router(part.router)
    return router


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the API, with the schema of problem documents that every failure refers to."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        described["components"]["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
        app.openapi_schema = described
    return app.openapi_schema

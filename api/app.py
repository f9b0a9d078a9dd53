"""The HTTP application: the API under `/v1`, health checks and the pages."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.staticfiles import StaticFiles

from api import pages
from api.chat.errors import OpenAiErrors
from api.chat.upstream import Upstream
from api.jobs.queue import Jobs
from api.jobs.uploads import TextRequest
from api.routes import chat, context, copying, documents, health, jobs, mcp, metrics, report, search, space
from api.routes import pages as page_routes
from api.schemas import Problem
from api.serving import problems
from api.serving.access import Access
from api.serving.keys import KeyRing
from api.serving.metrics import Metrics
from api.serving.observing import API, Observed, Watching
from api.serving.overload import Overload
from api.serving.tenants import Tenants
from api.serving.tracing import Tracer
from core.index import Index
from core.settings import Settings

VERSION = "1"
# Requests that work at the same time; more wait. The encoder takes what they ask for together.
N_THREADS = 16
# FastAPI's own traces tell of addresses and queries as they were sent, its logs of exceptions: ours hold neither.
_NOTHING_OF_ITS_OWN = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
KEY = {"key": {"type": "http", "scheme": "bearer", "description": "One of the server's API keys."}}
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
        telemetry=_NOTHING_OF_ITS_OWN,
    )
    tracer, app.state.metrics = Tracer(), Metrics()
    watching = Watching(app.state.metrics, tracer)
    app.state.tenants = Tenants(index, settings, watching)
    app.state.jobs = Jobs(app.state.tenants, settings, app.state.metrics.ingested)
    app.state.metrics.watch(app.state.tenants, app.state.jobs)
    app.state.upstream = Upstream(settings, watching.upstream)
    app.add_middleware(Overload, limit=N_THREADS + settings.max_waiting)
    app.add_middleware(
        Access, ring=ring, allowed_hosts=settings.allowed_hosts, rate_per_minute=settings.rate_per_minute
    )
    app.add_middleware(OpenAiErrors)
    app.add_middleware(Observed, metrics=app.state.metrics, tracer=tracer)  # the last one added is the outermost
    problems.install(app)
    app.include_router(_api())
    app.include_router(health.router)
    app.include_router(metrics.router, responses=problems.documented(401, 403))
    app.include_router(mcp.router)
    app.include_router(page_routes.router)
    app.mount("/static", StaticFiles(directory=pages.STATIC))
    app.openapi = lambda: _openapi(app, ring)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = N_THREADS
    tenants: Tenants = app.state.tenants
    jobs: Jobs = app.state.jobs
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_refresh, tenants)
        await anyio.to_thread.run_sync(jobs.resume)
        yield
        tasks.cancel_scope.cancel()
    await app.state.upstream.close()
    await anyio.to_thread.run_sync(jobs.close)
    tenants.close()


async def _refresh(tenants: Tenants) -> None:
    while True:
        await anyio.sleep(REFRESH_S)
        await anyio.to_thread.run_sync(tenants.refresh)


def _api() -> APIRouter:
    """The versioned API."""
    router = APIRouter(prefix=API, responses=problems.documented(401, 403, 500, 503))
    for part in (search, context, chat, space, documents, jobs, report, copying):
        router.include_router(part.router)
    return router


def _openapi(app: FastAPI, ring: KeyRing) -> dict[str, Any]:
    """The description of the API, with the schema of problem documents that every failure refers to.

    It asks for a key where the server does by now: the first one may be made while it runs.
    """
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for model in (Problem, TextRequest):  # which routes only refer to
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            described["components"]["schemas"] |= {**schema.pop("$defs", {}), model.__name__: schema}
        app.openapi_schema = described
    described = app.openapi_schema
    if not ring.is_locked:
        return described
    return described | {"security": [{"key": []}], "components": described["components"] | {"securitySchemes": KEY}}

"""The HTTP application: the API under `/v1`, health checks and the search page."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Depends, FastAPI, Query, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.convertors import Convertor, register_url_convertor

from api import pages, problems
from api.access import Access, parse_keys
from api.described import describe_record, read_document
from api.failures import http_status
from api.live import LiveIndex
from api.routes import context, copying, space
from api.schemas import (
    MAX_FILTER_CHARACTERS,
    MAX_PAGE,
    MAX_QUERY_CHARACTERS,
    DocumentAnswer,
    DocumentsAnswer,
    DocumentText,
    IndexStatus,
    Problem,
    SearchAnswer,
    SearchRequest,
    Status,
)
from core.errors import DependencyError, InputError, LimpidError, NotFound
from core.index import Index, describe_store
from core.settings import Settings
from search.ranking import MODES
from search.results import results_json
from search.retriever import Retriever

VERSION = "1"
# Requests that work at the same time; more wait. Each thread keeps an inference request of its own.
N_THREADS = 16
REFRESH_S = 1.0  # how soon another generation, made by `limpid reindex`, is served
N_SHOWN, N_SHOWN_MOST = 10, 100  # hits on the search page: at first, and at most


class _AnyText(Convertor[str]):
    """Like Starlette's `path`, but matches line breaks too: a document's id may hold any character."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def create_app(index: Index, settings: Settings) -> FastAPI:
    """The application over an open index, which whoever opened it closes after serving.

    Where `limpid reindex` puts another generation in its place, the application moves to that by itself.
    Raises `ConfigError` where `settings.api_keys` is set but holds no key.
    """
    keys = parse_keys(settings.api_keys)
    live = LiveIndex(index, settings)
    app = FastAPI(
        title="Limpid",
        version=VERSION,
        description="Retrieval-augmented search. Failures are problem documents (RFC 9457).",
        docs_url=None,  # the interactive pages load from another host
        redoc_url=None,
        lifespan=partial(_lifespan, live),
    )
    app.add_middleware(Access, keys=keys)
    problems.install(app)
    app.include_router(_api(live, bool(keys)))
    app.include_router(_health(live))
    app.include_router(_pages(live, settings.dense_weight))
    app.mount("/static", StaticFiles(directory=pages.STATIC))
    app.openapi = lambda: _openapi(app)
    return app


@asynccontextmanager
async def _lifespan(live: LiveIndex, app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = N_THREADS
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_refresh, live)
        yield
        tasks.cancel_scope.cancel()
    live.close()


async def _refresh(live: LiveIndex) -> None:
    while True:
        await anyio.sleep(REFRESH_S)
        await anyio.to_thread.run_sync(live.refresh)


def _api(live: LiveIndex, is_locked: bool) -> APIRouter:
    """The versioned API. `Access` checks the key before anything is read; here it is only described."""
    register_url_convertor("any_text", _AnyText())
    bearer = HTTPBearer(auto_error=False, scheme_name="key", description="One of the server's API keys.")
    router = APIRouter(prefix="/v1", dependencies=[Depends(bearer)] if is_locked else [])
    common = (401, 500, 503) if is_locked else (500, 503)

    @router.post(
        "/search",
        response_model=SearchAnswer,
        response_model_exclude_unset=True,
        responses=problems.documented(400, 413, 422, *common),
        summary="Find the passages that answer a query",
    )
    def search(body: SearchRequest) -> dict:
        wanted = body.model_dump(exclude={"filter"}) | {"where": body.filter}
        results = live.answer(lambda _, retriever: retriever.search(**wanted))
        return results_json(results, explain=body.explain)

    @router.get(
        "/documents",
        responses=problems.documented(422, *common),
        summary="List the documents, in the order of their ids",
    )
    def documents(
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        after: Annotated[str | None, Query(description="Start behind this id: the `next` of the last page.")] = None,
    ) -> DocumentsAnswer:
        return live.answer(lambda index, _: _page(index, limit, after))

    @router.get(
        "/documents/{document_id:any_text}",
        responses=problems.documented(404, 422, *common),
        response_model_exclude_unset=True,
        summary="One document with its text",
        description="Percent-encode the id, slashes included.",
    )
    def document(
        document_id: str, chunks: Annotated[bool, Query(description="Add its chunks, by position.")] = False
    ) -> DocumentText:
        found = live.answer(lambda index, _: read_document(index.store, document_id, chunks=chunks))
        if found is None:
            raise NotFound(f"There is no document {document_id!r}. GET /v1/documents lists them.")
        return DocumentText(**found)

    @router.get("/status", responses=problems.documented(*common), summary="What the index holds and how it was made")
    def status() -> IndexStatus:
        return IndexStatus(**live.answer(lambda index, _: describe_store(index.store, index.meta, index.generation)))

    router.include_router(context.router(live), responses=problems.documented(*common))
    router.include_router(space.router(live), responses=problems.documented(*common))
    router.include_router(copying.router(live), responses=problems.documented(*common))
    return router


def _page(index: Index, limit: int, after: str | None) -> DocumentsAnswer:
    """One page of documents: a scan over all records that keeps no more than the page."""
    total = 0

    def wanted():
        nonlocal total
        for record in index.store.records():
            if record.generation:  # without one its first version isn't complete yet
                total += 1
                if after is None or record.id > after:
                    yield record

    found = heapq.nsmallest(limit + 1, wanted(), key=lambda record: record.id)
    listed = [DocumentAnswer(**describe_record(record)) for record in found[:limit]]
    return DocumentsAnswer(documents=listed, total=total, next=listed[-1].id if len(found) > limit else None)


def _health(live: LiveIndex) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", summary="Whether the process lives")
    async def healthz() -> Status:
        return Status(status="ok")

    @router.get(
        "/readyz",
        responses=problems.documented(503),
        summary="Whether queries can be answered: tries encoder and store",
    )
    def readyz() -> Status:
        try:
            live.answer(lambda index, _: (index.embedder.encode_query("ready"), index.store.count_chunks()))
        except Exception as error:  # whatever it is, the server isn't ready
            raise DependencyError(f"Not ready: {error!r}") from error
        return Status(status="ready")

    return router


def _pages(live: LiveIndex, dense_weight: float) -> APIRouter:
    router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    @router.get("/")
    def search_page(q: str = "", mode: str = "hybrid", filter: str = "", k: str = str(N_SHOWN)) -> Response:
        shown: dict[str, Any] = {
            "query": q,
            "mode": mode if mode in MODES else "hybrid",
            "filter": filter,
            "fields": live.answer(lambda index, _: sorted(index.meta.fields)),
            "results": None,
            "hits": [],
            "error": None,
            "n_more": None,
        }

        def found(index: Index, retriever: Retriever) -> dict[str, Any]:
            results = retriever.search(q, limit, mode, where=filter, explain=True)
            n_more = min(N_SHOWN_MOST, 3 * limit) if len(results.hits) == limit < N_SHOWN_MOST else None
            hits = pages.shown_hits(results, index.analyzer, dense_weight)
            return {"results": results, "hits": hits, "n_more": n_more}

        def counted(index: Index, _: Retriever) -> dict[str, Any]:
            return {"n_chunks": index.store.count_chunks(), "n_documents": index.store.count_documents()}

        try:
            limit = _shown_limit(q, filter, k) if q.strip() else N_SHOWN
            shown |= live.answer(found if q.strip() else counted)
        except LimpidError as error:
            shown["error"], _ = problems.public_detail(error)
            return pages.search_page(http_status(error)[0], **shown)
        return pages.search_page(**shown)

    return router


def _shown_limit(query: str, where: str, k: str) -> int:
    """How many hits the page shows. Raises `InputError` where something given is over its limit."""
    for name, text, limit in (("query", query, MAX_QUERY_CHARACTERS), ("filter", where, MAX_FILTER_CHARACTERS)):
        if len(text) > limit:
            raise InputError(f"The {name} has {len(text):,} characters; the limit is {limit:,}. Shorten it.")
    if not k.isdecimal() or not 1 <= int(k) <= N_SHOWN_MOST:
        raise InputError(f"k is {k[:20]}; the page shows between 1 and {N_SHOWN_MOST} passages.")
    return int(k)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The description of the API, with the schema of problem documents that every failure refers to."""
    if app.openapi_schema is None:
        described = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        described["components"]["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
        app.openapi_schema = described
    return app.openapi_schema

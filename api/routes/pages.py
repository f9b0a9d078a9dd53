"""The web pages."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from api import pages, problems
from api.failures import http_status
from api.schemas import MAX_FILTER_CHARACTERS, MAX_QUERY_CHARACTERS
from api.tenants import Live
from core.errors import InputError, LimpidError
from core.index import Index
from search.ranking import MODES
from search.retriever import Retriever

N_SHOWN, N_SHOWN_MOST = 10, 100  # hits on the search page: at first, and at most
router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)


@router.get("/")
def search_page(live: Live, q: str = "", mode: str = "hybrid", filter: str = "", k: str = str(N_SHOWN)) -> Response:
    """The search form, and below it what was found."""
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
        hits = pages.shown_hits(results, index.analyzer, live.settings.dense_weight)
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


def _shown_limit(query: str, where: str, k: str) -> int:
    """How many hits the page shows. Raises `InputError` where something given is over its limit."""
    for name, text, limit in (("query", query, MAX_QUERY_CHARACTERS), ("filter", where, MAX_FILTER_CHARACTERS)):
        if len(text) > limit:
            raise InputError(f"The {name} has {len(text):,} characters; the limit is {limit:,}. Shorten it.")
    if not k.isdecimal() or not 1 <= int(k) <= N_SHOWN_MOST:
        raise InputError(f"k is {k[:20]}; the page shows between 1 and {N_SHOWN_MOST} passages.")
    return int(k)

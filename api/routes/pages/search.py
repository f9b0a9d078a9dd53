"""The pages to search on: by a query, by examples, and a document with a passage in its surroundings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response

from api import pages
from api.described import read_document
from api.failures import http_status
from api.pages import reading
from api.pages.facets import COUNTED, Facet, condition_chips, facets, joined
from api.pages.hits import shown_hits, source_of, term_test
from api.pages.weighing import Weight, ranks_by_default, told
from api.routes.pages.failing import check_length, page_router
from api.schemas import MAX_FILTER_CHARACTERS, MAX_QUERY_CHARACTERS
from api.serving import problems
from api.serving.live import LiveIndex
from api.serving.tenants import Caller, Live
from core.errors import InputError, LimpidError, NotFound
from core.index import Index
from search.ranking import MODES, Ranking
from search.retriever import Retriever
from search.space.examples import TEXT
from search.space.similar import similar

N_SHOWN, N_SHOWN_MOST = 10, 100  # hits on the search page: at first, and at most
N_SIMILAR = 20
MAX_FACETS = 10
Texts = Annotated[list[str], Query()]
router = page_router()


@router.get("/")
def search_page(
    live: Live,
    caller: Caller,
    q: str = "",
    mode: str = "hybrid",
    filter: str = "",
    only: Texts = [],  # noqa: B006
    weight: str = "",
    k: str = str(N_SHOWN),
) -> Response:
    """The search form, and below it what was found. `only` are conditions chosen from facets, beside the filter."""
    shown: dict[str, Any] = {
        "query": q,
        "mode": mode if mode in MODES else "hybrid",
        "filter": filter,
        "only": condition_chips(only),
        "fields": live.answer(lambda index, _: sorted(index.meta.fields)),
        "results": None,
        "hits": [],
        "facets": [],
        "weight": None,
        "weighed": "",
        "error": None,
        "n_more": None,
    }
    try:
        if q.strip():
            limit = _shown_limit(q, k)
            where = _where(filter, only)
            shown |= _found(live, q, mode, where, limit, weight)
        else:
            shown |= live.answer(_counted)
    except LimpidError as error:
        shown["error"], _ = problems.public_detail(error)
        return pages.render("search", caller, http_status(error)[0], **shown)
    return pages.render("search", caller, **shown)


def _found(live: LiveIndex, query: str, mode: str, where: str, limit: int, weight: str) -> dict[str, Any]:
    def find(index: Index, retriever: Retriever) -> dict[str, Any]:
        weighed = _weight(weight, retriever.ranker.default_weight) if mode == "hybrid" else None
        tries = weighed is not None and not weighed.is_usual
        how = {"weight": weighed.asked, "rerank": False} if tries else {}
        results = retriever.search(query, limit, mode, where=where, explain=True, **how)
        usual = retriever.ranker.rank(query, mode, where=where) if tries or index.meta.fields else None
        by_default = ranks_by_default(usual) if tries else None
        share = weighed.tried if weighed else 1.0
        hits = shown_hits(results.hits, results.mode, index.analyzer, share, query, by_default)
        return {
            "results": results,
            "hits": hits,
            "facets": _facets(index, usual) if usual else [],
            "weight": weighed,
            "weighed": told(hits) if tries else "",
            "n_more": min(N_SHOWN_MOST, 3 * limit) if len(hits) == limit < N_SHOWN_MOST else None,
        }

    return live.answer(find)


def _facets(index: Index, ranking: Ranking) -> list[Facet]:
    stored = index.store.fetch([ranking.ids[row] for row in ranking.best(COUNTED)])
    return facets([found.chunk for found in stored.values()], index.meta.fields)


def _counted(index: Index, _: Retriever) -> dict[str, Any]:
    return {"n_chunks": index.store.count_chunks(), "n_documents": index.store.count_documents()}


@router.get("/similar")
def similar_page(live: Live, caller: Caller, like: Texts = [], unlike: Texts = []) -> Response:  # noqa: B006
    """The passages that are like some examples and unlike others."""

    def find(index: Index, _: Retriever) -> dict[str, Any]:
        found = similar(index, like, unlike, N_SIMILAR)
        stored = index.store.fetch([name for name in (*like, *unlike) if len(name) == 16])
        names = {name: _example(name, stored) for name in (*like, *unlike)}
        hits = shown_hits(found.hits, "dense", index.analyzer, 1.0)
        return {"hits": hits, "took_ms": found.took_ms, "notes": found.notes, "names": names}

    shown = live.answer(find) if like or unlike else {"hits": [], "took_ms": 0.0, "notes": (), "names": {}}
    return pages.render("similar", caller, like=like, unlike=unlike, **shown)


def _example(name: str, stored: dict) -> str:
    """What a reader calls an example: the words, or the title and heading of a passage."""
    if name.startswith(TEXT):
        return f"“{name.removeprefix(TEXT)}”"
    if name in stored:
        chunk = stored[name].chunk
        return " › ".join(dict.fromkeys((chunk.title or chunk.document_id, *chunk.headings[-1:])))
    return name


@router.get("/document")
def document_page(live: Live, caller: Caller, id: str, chunk: str = "", q: str = "", start: str = "") -> Response:
    """A document's text, around one of its passages; `start` is the character that a part of a long one begins at."""

    def read(index: Index, _: Retriever) -> dict[str, Any]:
        described = read_document(index.store, id)
        if described is None:
            raise NotFound(
                f"There is no document {id[:200]!r}. It may have been removed; the documents page lists all."
            )
        passage = reading.passage_of(index.store, described, chunk) if chunk else None
        is_term = term_test(index.analyzer.terms(q[:MAX_QUERY_CHARACTERS]).values(), index.analyzer)
        begin = int(start) if start.isdecimal() and len(start) < 12 else None
        part = reading.part_of(described["text"], passage, begin)
        return {
            "document": described,
            "source": source_of(described["uri"], described["id"]),
            "part": part,
            "segments": reading.segments(described, part, passage, is_term),
            "is_lost": bool(chunk) and passage is None,
        }

    return pages.render("document", caller, chunk=chunk, query=q, **live.answer(read))


def _weight(given: str, usual: float) -> Weight:
    """Raises `InputError` for what isn't a share."""
    try:
        tried = float(given) if given else usual
    except ValueError:
        tried = -1.0
    if not 0 <= tried <= 1:
        raise InputError(f"The weight is {given[:20]}; it must lie between 0 (only words) and 1 (only meaning).")
    return Weight(tried, usual)


def _where(filter: str, only: list[str]) -> str:
    """One filter of all conditions. Raises `InputError` where they are too many or too long."""
    if len(only) > MAX_FACETS:
        raise InputError(f"{len(only)} values are chosen; the limit is {MAX_FACETS}. Remove some.")
    where = joined([filter, *only])
    check_length("filter", where, MAX_FILTER_CHARACTERS)
    return where


def _shown_limit(query: str, k: str) -> int:
    """How many hits the page shows. Raises `InputError` where something given is over its limit."""
    check_length("query", query, MAX_QUERY_CHARACTERS)
    if not k.isdecimal() or not 1 <= int(k) <= N_SHOWN_MOST:
        raise InputError(f"k is {k[:20]}; the page shows between 1 and {N_SHOWN_MOST} passages.")
    return int(k)

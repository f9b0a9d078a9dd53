"""Search over HTTP."""

from __future__ import annotations

from fastapi import APIRouter

from api.schemas import SearchAnswer, SearchRequest
from api.serving import problems
from api.serving.tenants import Live
from search.results import results_json

router = APIRouter()


@router.post(
    "/search",
    response_model=SearchAnswer,
    response_model_exclude_unset=True,
    responses=problems.documented(400, 413, 422),
    summary="Find the passages that answer a query",
)
def search(live: Live, body: SearchRequest) -> dict:
    """Dense and sparse search, fused; every hit says what either gave it."""
    wanted = body.model_dump(exclude={"filter"}) | {"where": body.filter}
    results = live.answer(lambda _, retriever: retriever.search(**wanted))
    return results_json(results, explain=body.explain)

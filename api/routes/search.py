"""Search over HTTP."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.schemas import SearchAnswer, SearchRequest
from api.serving import problems
from api.serving.answers import json_answer
from api.serving.tenants import Live
from search.results import results_json

router = APIRouter()


@router.post(
    "/search",
    response_model=SearchAnswer,
    responses=problems.documented(400, 413, 422),
    summary="Find the passages that answer a query",
)
def search(live: Live, body: SearchRequest) -> Response:
    """Dense and sparse search, fused; every hit says what either gave it."""
    return json_answer(find(live, body))


def find(live: Live, body: SearchRequest) -> dict:
    """The answer in the form of `SearchAnswer`. Raises like `Retriever.search`."""
    wanted = body.model_dump(exclude={"filter"}) | {"where": body.filter}
    results = live.answer(lambda _, retriever: retriever.search(**wanted))
    return results_json(results, explain=body.explain)

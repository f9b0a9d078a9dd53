"""Whether the server lives, and whether it can answer."""

from __future__ import annotations

from fastapi import APIRouter, Request

from api import problems
from api.schemas import Status
from core.errors import DependencyError

router = APIRouter()


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> Status:
    """Tries nothing."""
    return Status(status="ok")


@router.get(
    "/readyz",
    responses=problems.documented(503),
    summary="Whether queries can be answered: tries encoder and store",
)
def readyz(request: Request) -> Status:
    """A query is encoded and the store is asked."""
    live = request.app.state.tenants.live("")
    try:
        live.answer(lambda index, _: (index.embedder.encode_query("ready"), index.store.count_chunks()))
    except Exception as error:  # whatever it is, the server isn't ready
        raise DependencyError(f"Not ready: {error!r}") from error
    return Status(status="ready")

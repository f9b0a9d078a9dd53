"""Whether the server lives, and whether it can answer."""

from __future__ import annotations

import anyio
from anyio import to_thread
from fastapi import APIRouter, Request

from api.schemas import Status
from api.serving import problems
from core.errors import DependencyError

READY_WITHIN_S = 5.0  # probes have less patience than the store's own client
OPEN: dict[str, list] = {"security": []}  # no key is asked for, whatever holds for the others
router = APIRouter()


@router.get("/healthz", summary="Whether the process lives", openapi_extra=OPEN)
async def healthz() -> Status:
    """Tries nothing."""
    return Status(status="ok")


@router.get(
    "/readyz",
    responses=problems.documented(503),
    summary="Whether queries can be answered: tries encoder and store",
    openapi_extra=OPEN,
)
async def readyz(request: Request) -> Status:
    """A query is encoded and the store is asked, in five seconds at most."""
    live = request.app.state.tenants.live("")

    def answer() -> None:
        live.answer(lambda index, _: (index.embedder.encode_query("ready"), index.store.count_chunks()))

    try:
        with anyio.fail_after(READY_WITHIN_S):
            await to_thread.run_sync(answer, abandon_on_cancel=True)
    except Exception as error:  # whatever it is, the server isn't ready
        raise DependencyError(f"Not ready: {error!r}") from error
    return Status(status="ready")

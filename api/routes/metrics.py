"""What a monitoring system asks of the server."""

from __future__ import annotations

import anyio.to_thread
from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from api.serving.metrics import Metrics
from api.serving.tenants import needs_operator

router = APIRouter()


@router.get(
    "/metrics",
    dependencies=[Depends(needs_operator)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    summary="Counters and times in the form of Prometheus",
)
async def metrics(request: Request) -> Response:
    """On a server with keys it takes an admin key that belongs to no tenant."""
    known: Metrics = request.app.state.metrics
    # On the event loop on purpose: where all threads are taken is when this has to answer, and it takes a millisecond.
    known.waiting.set(anyio.to_thread.current_default_thread_limiter().statistics().tasks_waiting)
    return Response(known.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

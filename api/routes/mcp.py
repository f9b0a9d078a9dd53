"""The tools for agents over HTTP: MCP's streamable transport under `/mcp`."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from anyio import to_thread
from fastapi import APIRouter, Response
from starlette.types import Receive, Scope, Send

from api.serving.live import LiveIndex
from api.serving.problems import public_detail
from api.serving.tenants import Live

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from core.errors import LimpidError

router = APIRouter()


@router.post("/mcp", include_in_schema=False)
async def mcp(live: Live) -> Response:
    """One JSON-RPC message; MCP describes itself, so OpenAPI doesn't."""
    return _Exchange(await to_thread.run_sync(_manager, live))  # the first one imports the SDK, which takes a second


class _Exchange(Response):
    """The answer of a server that lives for one request, on the index of the request's tenant.

    Stateless, because the tools remember nothing: there is no session to be kept, to be lost with a restart or to be
    taken over with another key, and nothing that one tenant's request could leave to another's. So answers are plain
    JSON: GET has no stream to open and DELETE no session to end.
    """

    def __init__(self, manager: StreamableHTTPSessionManager):
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._manager.run():
            await self._manager.handle_request(scope, receive, send)


def _manager(live: LiveIndex) -> StreamableHTTPSessionManager:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from api.tools.server import make_server
    from api.tools.sources import OpenSource

    def fields() -> dict[str, str]:
        return live.answer(lambda index, _: dict(index.meta.fields))

    server = make_server(live.settings, lambda: nullcontext(OpenSource(live)), fields, _tell)
    return StreamableHTTPSessionManager(server, json_response=True, stateless=True)


def _tell(error: LimpidError) -> str:
    told, reference = public_detail(error)
    return f"{told} Its reference is {reference}." if reference else told

"""The SDK's own client, called from plain tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import anyio
import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult

ERAS = ("legacy", "auto")  # sessions that begin with a handshake, and requests that stand for themselves
Result = TypeVar("Result")


def talk(server: Any, use: Callable[[Client], Awaitable[Result]], era: str = "auto") -> Result:
    """What `use` gives with a client of the server: an MCP server, a transport, or parameters of a process."""

    async def run() -> Result:
        failed = None
        async with Client(server, mode=era) as client:
            try:
                return await use(client)
            except MCPError as error:  # the client's task groups would wrap it
                failed = error
        raise failed

    return anyio.run(run)


def call(server: Any, tool: str, era: str = "auto", **arguments: object) -> CallToolResult:
    """The answer of one call."""

    async def use(client: Client) -> CallToolResult:
        return await client.call_tool(tool, arguments)

    return talk(server, use, era)


def ask(server: Any, tool: str, **arguments: object) -> dict[str, Any]:
    """The answer of a call that succeeds."""
    result = call(server, tool, **arguments)
    assert not result.is_error, result.content[0].text
    return result.structured_content


def refusal(server: Any, tool: str, **arguments: object) -> str:
    """What a call that fails says."""
    result = call(server, tool, **arguments)
    assert result.is_error
    return result.content[0].text


def over_http(url: str, key: str | None = None) -> AbstractAsyncContextManager:
    """A transport to `/mcp` of the server at `url`, with a key."""

    @asynccontextmanager
    async def connect():
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as http,
            streamable_http_client(f"{url}/mcp", http_client=http) as streams,
        ):
            yield streams

    return connect()

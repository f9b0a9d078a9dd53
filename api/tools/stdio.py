"""MCP over stdin and stdout, for an agent on this machine."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from api.tools.server import make_server
from api.tools.sources import OwnIndex
from core.settings import Settings


def serve(settings: Settings, notify: Callable[[str], None]) -> None:
    """Answer until stdin ends; to be called in the main thread. Raises like `OwnIndex`.

    Meanwhile whatever else is written to stdout, by child processes too, goes to stderr.
    """
    own = OwnIndex(settings, notify)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's handler would wait for the thread that waits for stdin
    anyio.run(_run, make_server(settings, own.opened, own.fields, tell=str))


async def _run(server: Server) -> None:
    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())

"""Turning requests away at once when more come than can be answered soon."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from api.serving.access import STREAMED
from api.serving.problems import problem

EXEMPT = frozenset({"/healthz", "/readyz", "/metrics", "/openapi.json"})
# Open for long, mostly without a thread: uploads, events, and what waits for a language model or an agent.
LONG = STREAMED | {("POST", "/v1/chat/completions"), ("POST", "/ask")}
MAX_LONG = 256
RETRY_AFTER_S = 1


class Overload:
    """ASGI middleware: answers 503 where `limit` requests are being answered or wait already.

    Those that stay open for long are counted apart, so that they keep nobody else out. Health checks, metrics and
    static files are never turned away.
    """

    def __init__(self, app: ASGIApp, limit: int):
        self._app = app
        self._limits = {False: limit, True: MAX_LONG}
        self._counts = {False: 0, True: 0}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_exempt(scope["path"]):
            await self._app(scope, receive, send)
            return
        kind = _is_long(scope)
        if self._counts[kind] >= self._limits[kind]:
            told = f"{self._limits[kind]} requests are open already. Try again in a moment."
            await problem(503, "Overloaded", told, headers={"Retry-After": str(RETRY_AFTER_S)})(scope, receive, send)
            return
        self._counts[kind] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._counts[kind] -= 1


def _is_long(scope: Scope) -> bool:
    path = scope["path"]
    is_events = path.startswith("/v1/jobs/") and path.endswith("/events")
    return is_events or path.startswith("/mcp") or (scope["method"], path) in LONG


def _is_exempt(path: str) -> bool:
    return path in EXEMPT or path.startswith("/static/")

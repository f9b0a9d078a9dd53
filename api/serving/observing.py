"""What is seen of every request from outside: its id, its line in the log, its counters, its trace."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.serving.logs import REQUEST_ID, request_id, take_request_id
from api.serving.metrics import Metrics
from api.serving.tracing import Tracer

API = "/v1"
NO_ROUTE = "none"  # refused before any route was looked for, or no route has the address
FREQUENT = frozenset({"/healthz", "/readyz", "/metrics"})  # asked for by machines, every few seconds
CLIENT_GONE = 499  # counted where the client went away before the answer began
_logger = logging.getLogger("limpid.access")


class Watching:
    """Times the stages of a search (see `search.stages.Watch`) and other servers' answers, and makes spans of them."""

    def __init__(self, metrics: Metrics, tracer: Tracer):
        self._metrics = metrics
        self._tracer = tracer

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Enter when the stage begins, leave when it ends."""
        with self._tracer.stage(stage), self._metrics.stage(stage):
            yield

    @contextmanager
    def upstream(self) -> Iterator[None]:
        """Enter when the language model's server is asked, leave when its answer has come to its end."""
        with self._tracer.call("language model"), self._metrics.upstream():
            yield


class Observed:
    """ASGI middleware around all others, so that what they refuse is seen too.

    The request's id is `state.request_id`, and goes back as X-Request-ID.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, tracer: Tracer):
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        known = take_request_id(headers.get(REQUEST_ID, ""))
        request_id.set(known)
        scope.setdefault("state", {})["request_id"] = known
        status = CLIENT_GONE

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = known
            await send(message)

        started = time.perf_counter()
        with self._metrics.in_flight.track_inprogress(), self._tracer.request(scope["method"], headers, known) as span:
            try:
                await self._app(scope, receive, send_observed)
            except Exception:
                status = 500  # answered outside all middleware
                raise
            finally:
                self._tell(scope, status, time.perf_counter() - started, span)

    def _tell(self, scope: Scope, status: int, took_s: float, span: Any) -> None:
        method, route = scope["method"], _template(scope)
        self._metrics.answered(method, route, status, took_s)
        self._tracer.finish(span, method, route, status)
        level = logging.DEBUG if route in FREQUENT else logging.INFO
        if not _logger.isEnabledFor(level):
            return
        key = scope["state"].get("key")
        told = {
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(took_s * 1000, 2),
            "key": key.name if key else None,
        }
        _logger.log(level, "%s %s %d in %.1f ms", method, route, status, took_s * 1000, extra=told)


def _template(scope: Scope) -> str:
    """The template of the route that has answered, such as /v1/documents/{document_id}."""
    path = getattr(scope.get("route"), "path_format", None)
    if not path:  # files that are mounted, or nothing
        mount = scope["root_path"].removeprefix(scope["app_root_path"]) if "app_root_path" in scope else ""
        return f"{mount}/{{path}}" if mount else NO_ROUTE
    # A route that was included under a prefix knows only what follows it.
    return API + path if scope["path"].startswith(f"{API}/") and not path.startswith(f"{API}/") else path

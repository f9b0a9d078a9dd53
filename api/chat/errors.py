"""Failures as OpenAI's clients expect them: the problem document gets an `error` object too."""

from __future__ import annotations

import json
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.chat.upstream import UpstreamFailed
from api.serving.problems import MEDIA_TYPE, problem

ADDRESSES = frozenset({"/v1/chat/completions", "/v1/models"})


def with_error(document: dict[str, Any]) -> dict[str, Any]:
    """The problem document with OpenAI's `error` object, which says the same."""
    faults = document.get("errors") or [{}]
    kind = "invalid_request_error" if document["status"] < 500 else "server_error"
    code = document["title"].lower().replace(" ", "_")
    error = {"message": document["detail"], "type": kind, "param": faults[0].get("field"), "code": code}
    return document | {"error": error}


def upstream_problem(error: UpstreamFailed):
    """The problem document of a language model's server that failed."""
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else None
    return problem(error.status, error.title, str(error), instance=error.reference, headers=headers)


def error_event(error: UpstreamFailed) -> str:
    """The event that ends a stream which can't go on."""
    document = json.loads(upstream_problem(error).body)
    return f"data: {json.dumps(with_error(document), ensure_ascii=False)}\n\n"


class OpenAiErrors:
    """ASGI middleware around all that may refuse a request: at the OpenAI-compatible addresses problem documents get
    the `error` object."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in ADDRESSES:
            await self._app(scope, receive, send)
            return
        started: Message | None = None
        body = b""

        async def send_extended(message: Message) -> None:
            nonlocal started, body
            if message["type"] == "http.response.start":
                if MutableHeaders(scope=message).get("content-type") == MEDIA_TYPE:
                    started = message
                    return
            elif started is not None:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    await _send_whole(started, with_error(json.loads(body)), send)
                return
            await send(message)

        await self._app(scope, receive, send_extended)


async def _send_whole(started: Message, document: dict[str, Any], send: Send) -> None:
    body = json.dumps(document, ensure_ascii=False).encode()
    MutableHeaders(scope=started)["content-length"] = str(len(body))
    await send(started)
    await send({"type": "http.response.body", "body": body})

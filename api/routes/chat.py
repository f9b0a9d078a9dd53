"""Answers from the documents in OpenAI's form, by the language model's server that is configured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api.chat.answering import prepare, streamed, whole
from api.chat.errors import upstream_problem
from api.chat.schemas import ChatAnswer, ChatRequest, Model, Models
from api.chat.upstream import Upstream, UpstreamFailed
from api.serving import problems
from api.serving.keys import Key
from api.serving.tenants import Caller, Live
from core.errors import Forbidden, NotFound

CLIENT_GONE = 499  # seen by no one but the log
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy holds events back
Answer = TypeVar("Answer")
EVENTS = {"text/event-stream": {"schema": {"type": "string", "description": "With `stream`: OpenAI's chunks."}}}


async def upstream_of(request: Request) -> Upstream:
    """The language model's server of this application."""
    return request.app.state.upstream


Configured = Annotated[Upstream, Depends(upstream_of)]


def check_may_ask(caller: Key, upstream: Upstream) -> None:
    """Raises `Forbidden` for a key that may search and not ask, `NotFound` where no language model is configured."""
    _ = upstream.model
    if not caller.may(upstream.role):
        raise Forbidden(
            f"Asking the language model needs a key with the role {upstream.role}; yours has the role {caller.role}. "
            "POST /v1/context gives the passages, ready for a prompt."
        )


router = APIRouter()


@router.post(
    "/chat/completions",
    response_model=ChatAnswer,
    responses=problems.documented(400, 404, 413, 422, 502, 504) | {200: {"content": EVENTS}},
    summary="Answer a conversation's last question from the documents, with citations (OpenAI-compatible)",
)
async def chat(live: Live, caller: Caller, upstream: Configured, request: Request, body: ChatRequest) -> Response:
    """The question is searched, the passages are added, and the configured language model answers; 404 without one."""
    check_may_ask(caller, upstream)
    try:
        answering = _begun(live, upstream, body) if body.stream else _whole(live, upstream, body)
        return await _unless_gone(request, answering)
    except UpstreamFailed as error:
        return upstream_problem(error)


@router.get("/models", summary="The language model that answers (OpenAI-compatible)")
async def models(upstream: Configured) -> Models:
    """The list is empty where none is configured."""
    try:
        return Models(data=[Model(id=upstream.model)])
    except NotFound:
        return Models(data=[])


async def _whole(live: Live, upstream: Upstream, body: ChatRequest) -> Response:
    return JSONResponse(await whole(await prepare(body, live, upstream), upstream))


async def _begun(live: Live, upstream: Upstream, body: ChatRequest) -> Response:
    """The stream once its first event is there: until then a failure has a status of its own."""
    events = streamed(await prepare(body, live, upstream), upstream)
    first = await anext(events)
    return StreamingResponse(_with_first(first, events), media_type="text/event-stream", headers=STREAM_HEADERS)


async def _with_first(first: str, events: AsyncIterator[str]) -> AsyncIterator[str]:
    try:
        yield first
        async for event in events:
            yield event
    finally:
        await events.aclose()  # the client has gone: so does the request to the language model


async def _unless_gone(request: Request, answering: Coroutine[Any, Any, Response]) -> Response:
    """The answer, unless the client goes away first; then the work on it is cancelled."""
    work, gone = asyncio.ensure_future(answering), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else Response(status_code=CLIENT_GONE)
    finally:
        work.cancel()
        gone.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

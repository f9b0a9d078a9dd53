"""An answer from the documents: the question is searched, the passages go into the prompt, the model answers."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from anyio import to_thread

from api.chat.citing import annotations, citations
from api.chat.errors import error_event
from api.chat.injection import find_flags, neutralise
from api.chat.prompting import build_prompt, last_question, needs_rewriting, new_fence, rewriting_prompt, rewritten
from api.chat.schemas import ChatRequest, Citation, Retrieval
from api.chat.upstream import Upstream, UpstreamFailed
from api.contexts import find_context, llm_tokenizer
from api.schemas import MAX_QUERY_CHARACTERS
from api.serving.live import LiveIndex
from core.index import Index
from search.passages import POOL
from search.rendering import Cited
from search.retriever import Retriever

ENCODING = "o200k_base"
# Of an upstream's answer: what else it says, such as a model's folder, is its own business.
RELAYED = ("created", "choices", "usage", "service_tier")
DONE = "data: [DONE]\n\n"
_logger = logging.getLogger("limpid.chat")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for a question: `text` goes into the prompt."""

    query: str
    text: str
    passages: tuple[Cited, ...]
    notes: tuple[str, ...]

    @property
    def citations(self) -> list[Citation]:
        """The passages under their labels."""
        return citations(self.passages)

    def to_json(self) -> dict[str, Any]:
        """The fields that Limpid adds to an answer."""
        return {
            "query": self.query,
            "citations": [citation.model_dump() for citation in self.citations],
            "flags": [flag.model_dump() for flag in find_flags(self.passages)],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that is needed to answer: the prompt, and what was found for it."""

    messages: list[dict[str, Any]]
    parameters: dict[str, Any]
    found: Found


async def prepare(request: ChatRequest, live: LiveIndex, upstream: Upstream) -> Prepared:
    """Search for the last question and write the prompt. Raises `NotFound` without an upstream, and like a search."""
    _ = upstream.model
    query, notes = await _query(request, live, upstream)
    retrieval = request.retrieval or Retrieval()
    budget = min(retrieval.context_tokens or live.settings.chat_context_tokens, live.settings.chat_context_tokens)

    def find(index: Index, retriever: Retriever) -> Found:
        return _find(index, retriever, live, query, budget, retrieval)

    found = await to_thread.run_sync(live.answer, find)
    text = found.text if found.passages else ""
    messages = build_prompt(request.messages, text, found.notes, new_fence())
    noted = Found(found.query, found.text, found.passages, (*notes, *found.notes))
    return Prepared(messages, request.parameters(), noted)


async def whole(prepared: Prepared, upstream: Upstream) -> dict[str, Any]:
    """The whole answer in OpenAI's form, with citations. Raises `UpstreamFailed`."""
    answer = await upstream.ask(prepared.messages, **prepared.parameters)
    given = prepared.found.citations
    for choice in answer["choices"]:
        message = choice["message"]
        message["annotations"] = _annotations(message.get("content") or "", given)
    return _relayed(answer, "chat.completion", _new_id(), upstream.model) | prepared.found.to_json()


async def streamed(prepared: Prepared, upstream: Upstream) -> AsyncIterator[str]:
    """The answer as server-sent events, in OpenAI's form.

    The first carries what Limpid adds to an answer, the last of every choice its annotations.
    Raises `UpstreamFailed` before the first event; later failures are an event.
    """
    given, added = prepared.found.citations, prepared.found.to_json()
    answer_id, texts = _new_id(), defaultdict(str)
    has_begun = False
    try:
        async for chunk in upstream.stream(prepared.messages, **prepared.parameters):
            for choice in chunk.get("choices") or []:
                _follow(choice, texts, given)
            event = _relayed(chunk, "chat.completion.chunk", answer_id, upstream.model) | added
            has_begun, added = True, {}
            yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    except UpstreamFailed as error:
        if not has_begun:
            raise
        yield error_event(error)
        return
    yield DONE


def _follow(choice: dict[str, Any], texts: dict[int, str], given: list[Citation]) -> None:
    """Remember what the choice has said so far; annotate it where this is its end."""
    index, delta = choice.get("index", 0), choice["delta"]
    if index in texts:
        delta.pop("role", None)  # said once: clients that join the chunks would join it too
    texts[index] += delta.get("content") or ""
    if choice.get("finish_reason"):
        delta["annotations"] = _annotations(texts[index], given)


def _annotations(text: str, given: list[Citation]) -> list[dict[str, Any]]:
    return [annotation.model_dump() for annotation in annotations(text, given)]


async def _query(request: ChatRequest, live: LiveIndex, upstream: Upstream) -> tuple[str, list[str]]:
    """What is searched for, and what to remark of it."""
    own = request.messages[last_question(request.messages)].text
    if live.settings.chat_rewrite and needs_rewriting(request.messages):
        try:
            answer = await upstream.ask(rewriting_prompt(request.messages))
            if query := rewritten(answer["choices"][0]["message"].get("content") or ""):
                return query, []
        except UpstreamFailed as error:
            _logger.warning("A question wasn't rewritten: %s", error.reference)
        return own[:MAX_QUERY_CHARACTERS], ["The question couldn't be rewritten; it was searched for as it stands."]
    if len(own) > MAX_QUERY_CHARACTERS:
        return own[:MAX_QUERY_CHARACTERS], [f"Only the first {MAX_QUERY_CHARACTERS:,} characters were searched for."]
    return own, []


def _find(index: Index, retriever: Retriever, live: LiveIndex, query: str, budget: int, retrieval: Retrieval) -> Found:
    """The passages for a query, within the budget as they stand in the prompt."""
    count = llm_tokenizer(ENCODING, live.settings.cache_dir / "tiktoken").count
    allowed = budget
    while True:
        context = find_context(
            index, retriever, live.settings, query, max_tokens=allowed, encoding=ENCODING, form="xml",
            passage="sentences", order="document", k=POOL, mode=retrieval.mode, where=retrieval.filter,
        )  # fmt: skip
        text = neutralise(context.text)
        n_tokens = count([text])[0]
        if n_tokens <= budget or not context.passages:
            return Found(query, text, context.passages, context.notes)
        allowed = min(allowed - 1, allowed * budget // n_tokens)  # character references take more room


def _relayed(given: dict[str, Any], kind: str, answer_id: str, model: str) -> dict[str, Any]:
    known = {"id": answer_id, "object": kind, "created": int(time.time()), "model": model, "choices": []}
    return known | {name: given[name] for name in RELAYED if given.get(name) is not None}


def _new_id() -> str:
    return f"chatcmpl-{uuid.uuid4().hex}"

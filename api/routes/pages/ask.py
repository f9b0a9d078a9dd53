"""The page to ask on: a language model answers from the documents, with citations that open the passage."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Form, Response

from api import pages
from api.chat.answering import prepare, whole
from api.chat.schemas import ChatMessage, ChatRequest, Citation
from api.chat.upstream import Upstream, UpstreamFailed
from api.pages.answers import cited_pieces
from api.pages.hits import document_link
from api.routes.chat import Configured, check_may_ask
from api.routes.pages.failing import check_length, page_router
from api.schemas import MAX_QUERY_CHARACTERS
from api.serving.tenants import Caller, Live
from core.errors import Forbidden, InputError, NotFound

router = page_router()


@router.get("/ask")
async def ask_page(caller: Caller, upstream: Configured) -> Response:
    """The form; without a language model, what to set."""
    return _page(caller, upstream)


@router.post("/ask")
async def answer(live: Live, caller: Caller, upstream: Configured, question: Annotated[str, Form()] = "") -> Response:
    """The answer to one question, for browsers without scripts; with them the page asks /v1/chat/completions."""
    if not question.strip():
        raise InputError("The question is empty; write at least one word.")
    check_length("question", question, MAX_QUERY_CHARACTERS)
    check_may_ask(caller, upstream)
    request = ChatRequest(messages=[ChatMessage(role="user", content=question)])
    try:
        given = await whole(await prepare(request, live, upstream), upstream)
    except UpstreamFailed as error:
        return _page(caller, upstream, error.status, question=question, failure=str(error))
    return _page(caller, upstream, question=question, answer=_shown(given))


def _shown(given: dict[str, Any]) -> dict[str, Any]:
    citations = [Citation(**citation) for citation in given["citations"]]
    text = given["choices"][0]["message"].get("content") or ""
    return {
        "pieces": cited_pieces(text, {citation.label for citation in citations}),
        "citations": [(c, document_link(c.document_id, c.chunk_id, given["query"])) for c in citations],
        "flags": given["flags"],
        "notes": given["notes"],
    }


def _page(caller: Caller, upstream: Upstream, status: int = 200, **shown: Any) -> Response:
    lacking, title = "", ""
    try:
        check_may_ask(caller, upstream)
    except NotFound as error:
        lacking, title = str(error), "No language model is set up."
    except Forbidden as error:
        lacking, title = str(error), "Your key may not ask."
    model = "" if lacking else upstream.model
    given = {"question": "", "answer": None, "failure": "", **shown}
    return pages.render("ask", caller, status, model=model, lacking=lacking, title=title, **given)

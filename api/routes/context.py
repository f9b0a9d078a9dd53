"""Contexts for language models over HTTP."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field

from api.contexts import find_context
from api.schemas import MAX_FILTER_CHARACTERS, MAX_QUERY_CHARACTERS, NOT_BLANK, Fusion, Mode
from api.serving import problems
from api.serving.answers import json_answer
from api.serving.tenants import Live
from search.passages import POOL

MAX_TOKENS = 200_000
MAX_CHUNKS = 1000

Kind = Literal["sentences", "best", "chunk", "section"]
Format = Literal["plain", "markdown", "xml", "messages"]
Encoding = Literal["o200k_base", "cl100k_base"]
Order = Literal["document", "relevance"]
Reason = Literal["over_budget", "near_duplicate", "trimmed"]


class ContextRequest(BaseModel):
    """A query, the budget of its context, and how to fill that."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(
        min_length=1,
        max_length=MAX_QUERY_CHARACTERS,
        description="What the context shall answer.",
        json_schema_extra=NOT_BLANK,
    )
    max_tokens: int = Field(ge=1, le=MAX_TOKENS, description="Most tokens of the text, labels and wrappers included.")
    encoding: Encoding = Field("o200k_base", description="tiktoken's encoding that counts them.")
    format: Format = Field("plain", description="How the text is written; xml and messages escape what was retrieved.")
    passage: Kind = Field("sentences", description="From the sentences worth most to whole sections.")
    order: Order = Field("document", description="Documents with their passages as written, or passages by relevance.")
    k: int = Field(POOL, ge=1, le=MAX_CHUNKS, description="How many of the best chunks are read.")
    mode: Mode = Field("hybrid", description="Search by meaning (dense), by words (sparse, BM25) or both.")
    fusion: Fusion | None = Field(
        None, description="How hybrid makes one ranking of two; by default `tuned` once the index is, else `convex`."
    )
    filter: str | None = Field(
        None,
        max_length=MAX_FILTER_CHARACTERS,
        description='Condition on fields, such as `year >= 2020 and lang = "en"`.',
    )


class CitedPassage(BaseModel):
    """A passage under its label. `document.text[start:end]` is its text."""

    label: int
    document_id: str
    chunk_ids: list[str] = Field(description="The chunks that it is made of.")
    uri: str
    title: str
    headings: list[str]
    page: int | None = Field(description="Its first page, slide or sheet, counted from 1.")
    last_page: int | None
    place: str = Field(description='What a reader calls its pages, such as "pages 3–4" or "sheet Budget".')
    start: int
    end: int
    text: str
    lead: str = Field(description="Header rows of the table that it is a part of, shown above it.")
    also_in: list[str] = Field(description="Other documents with the same text, which is stored once for all.")
    score: float = Field(description="Of its best part, from 0 to 1.")
    is_trimmed: bool = Field(description="Whether some sentences of its chunks were left out.")


class LeftOutText(BaseModel):
    """Text of the evidence that isn't in the context."""

    reason: Reason
    label: int | None = Field(description="The passage that says it too, or that the rest of its chunk is in.")
    document_id: str
    chunk_id: str
    start: int
    end: int
    n_characters: int = Field(description="Left out between start and end.")


class Message(BaseModel):
    """A chat message."""

    role: Literal["system", "user"]
    content: str


class ContextAnswer(BaseModel):
    """What goes into the prompt, and where it is from."""

    query: str
    format: Format
    passage: Kind
    order: Order
    encoding: Encoding
    max_tokens: int
    n_tokens: int = Field(description="Tokens of `text`, never more than `max_tokens`.")
    text: str = Field(description="All that goes into the prompt; for messages their JSON.")
    messages: list[Message] = Field([], description="Only with format messages.")
    passages: list[CitedPassage]
    n_left_out: dict[Reason, int]
    left_out: list[LeftOutText]
    notes: list[str] = Field([], description="What the caller should know; absent where nothing.")


router = APIRouter()


@router.post(
    "/context",
    response_model=ContextAnswer,
    responses=problems.documented(400, 413, 422),
    summary="Make a context for a language model, within a budget of tokens and ready to be cited",
)
def make_context(live: Live, body: ContextRequest) -> Response:
    """Take passages by what they are worth until the rendered text fills the budget."""
    return json_answer(make(live, body))


def make(live: Live, body: ContextRequest) -> dict:
    """The answer in the form of `ContextAnswer`. Raises like `find_context`."""
    wanted = body.model_dump(exclude={"filter", "format"}) | {"where": body.filter, "form": body.format}
    context = live.answer(lambda index, retriever: find_context(index, retriever, live.settings, **wanted))
    return context.to_json()

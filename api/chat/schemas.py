"""What travels through the OpenAI-compatible endpoints, as pydantic models.

Requests are read as OpenAI's servers read them: fields that aren't known are ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from api.routes.context import MAX_TOKENS
from api.schemas import MAX_FILTER_CHARACTERS, Mode

MAX_MESSAGES = 1000
MAX_CHOICES = 8
# Fields of a request that are the language model's business: passed on as they are, where they are given.
PASSED_ON = (
    "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "presence_penalty",
    "frequency_penalty", "n", "logit_bias", "logprobs", "top_logprobs", "response_format", "tools", "tool_choice",
    "parallel_tool_calls", "reasoning_effort", "stream_options", "user",
)  # fmt: skip


def _whole(value: Any) -> Any:
    """JSON knows one kind of numbers: 5.0 is a whole one."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)  # behind the limits, else the description lacks them
# A question is needed; described here, checked where it is looked for.
_WORDS: JsonValue = {"type": "string", "pattern": "\\S"}
_HAS_QUESTION: dict[str, JsonValue] = {
    "contains": {
        "properties": {
            "role": {"const": "user"},
            "content": {
                "anyOf": [_WORDS, {"type": "array", "contains": {"properties": {"text": _WORDS}, "required": ["text"]}}]
            },
        },
        "required": ["role", "content"],
    }
}


class TextPart(BaseModel):
    """A part of a message. Only text is read."""

    model_config = ConfigDict(strict=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """Its content, with parts one below the other."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""

    def to_upstream(self, text: str | None = None) -> dict[str, Any]:
        """The message as it is passed on; `text` in the place of its content."""
        message = self.model_dump(exclude_none=True, exclude={"content"})
        has_content = text is not None or self.content is not None or "tool_calls" not in message
        return message | ({"content": self.text if text is None else text} if has_content else {"content": None})


class Retrieval(BaseModel):
    """How the passages for an answer are found; Limpid's own addition to a request."""

    model_config = ConfigDict(strict=True)

    filter: str | None = Field(
        None,
        max_length=MAX_FILTER_CHARACTERS,
        description='Condition on fields, such as `year >= 2020 and lang = "en"`.',
    )
    mode: Mode = Field("hybrid", description="Search by meaning (dense), by words (sparse, BM25) or both.")
    context_tokens: Annotated[int, Field(ge=100, le=MAX_TOKENS), WHOLE] | None = Field(
        None, description="Budget of the passages; never more than the server's own."
    )


class ChatRequest(BaseModel):
    """A conversation whose last user message is to be answered from the documents."""

    model_config = ConfigDict(strict=True)

    messages: list[ChatMessage] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        description="The conversation; its last user message with words in it is the question.",
        json_schema_extra=_HAS_QUESTION,
    )
    model: str | None = Field(None, description="Any name: the server's own model answers.")
    stream: bool | None = Field(False, description="Send the answer as it is made, as server-sent events.")
    retrieval: Retrieval | None = Field(None, description="How passages are found.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1), WHOLE] | None = None
    stop: str | list[str] | None = None
    seed: Annotated[int, WHOLE] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES), WHOLE] | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20), WHOLE] | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    stream_options: dict[str, Any] | None = None
    user: str | None = None

    def parameters(self) -> dict[str, Any]:
        """What is passed on to the language model besides the messages."""
        given = self.model_dump(include=set(PASSED_ON), exclude_none=True)
        if not self.stream:
            given.pop("stream_options", None)
        return given


class Citation(BaseModel):
    """A passage that the model was given, under the label that the answer cites it by.

    `document.text[start:end]` is its text.
    """

    label: int
    document_id: str
    chunk_id: str = Field(description="The first of its chunks.")
    chunk_ids: list[str]
    title: str
    uri: str
    headings: list[str]
    page: int | None = Field(description="Its first page, slide or sheet, counted from 1.")
    last_page: int | None
    place: str = Field(description='What a reader calls its pages, such as "pages 3–4" or "sheet Budget".')
    start: int
    end: int
    text: str


class InjectionFlag(BaseModel):
    """A passage that looks as if it wanted to instruct the model."""

    label: int
    document_id: str
    chunk_id: str
    reason: Literal["instruction", "role", "chat_token", "fence", "invisible"]
    found: str = Field(description="What it says, at most 100 characters.")


class UrlCitation(BaseModel):
    """`content[start_index:end_index]` is the label, in characters."""

    start_index: int
    end_index: int
    title: str
    url: str = Field(description="The document's address, or where this server has it if that can't be a link.")


class Annotation(BaseModel):
    """A label in the answer, in OpenAI's form."""

    type: Literal["url_citation"]
    url_citation: UrlCitation


class AnswerMessage(BaseModel):
    """What the language model answered. Further fields are passed on as it gave them."""

    role: Literal["assistant"]
    content: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    annotations: list[Annotation]


class Choice(BaseModel):
    """One answer."""

    index: int
    message: AnswerMessage
    finish_reason: str | None


class ChatAnswer(BaseModel):
    """An answer in OpenAI's form, and where it is from."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    choices: list[Choice]
    usage: dict[str, Any] | None = Field(None, description="Tokens as the language model's server counted them.")
    query: str = Field(description="What was searched for.")
    citations: list[Citation] = Field(description="All passages that the model was given.")
    flags: list[InjectionFlag] = Field(description="Passages that look like instructions; empty where none does.")
    notes: list[str] = Field(description="What the search says of itself; empty where nothing.")


class Model(BaseModel):
    """A model that answers."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "limpid"


class Models(BaseModel):
    """The configured language model; none where none is configured."""

    object: Literal["list"] = "list"
    data: list[Model]

"""What the tools take. The descriptions are written for a model that has never seen Limpid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import MAX_FILTER_CHARACTERS, MAX_QUERY_CHARACTERS
from core.filters import BUILT_IN

LEAST_TOKENS, DEFAULT_TOKENS, MOST_TOKENS = 500, 4_000, 20_000
MOST_HITS, MOST_SKIPPED, MOST_EXAMPLES = 50, 900, 20
MOST_DOCUMENTS = 200
MOST_ID_CHARACTERS = 10_000
# Names of metadata fields come from documents, and a tool's description is trusted: only plain words get there.
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")
MOST_FIELDS = 40

MaxTokens = Annotated[
    int,
    Field(
        ge=LEAST_TOKENS,
        le=MOST_TOKENS,
        description="Most tokens (o200k_base) that the answer may have. What doesn't fit is left for the next page.",
    ),
]
Query = Annotated[str, Field(min_length=1, max_length=MAX_QUERY_CHARACTERS)]
Filter = Annotated[
    str | None,
    Field(
        max_length=MAX_FILTER_CHARACTERS,
        description=(
            "Only passages that meet a condition: field operator value, with =, !=, in (…), not in (…), for numbers "
            'also <, <=, >, >=; joined by and, or, not, parentheses. Such as title = "Setup"; page >= 3 and page <= 9; '
            'document_id in ("a", "b"). A passage that lacks a field passes != and not. Leave it out to search all.'
        ),
    ),
]
Mode = Annotated[
    Literal["hybrid", "dense", "sparse"],
    Field(
        description="hybrid (best for nearly all), dense (meaning only) or sparse (the query's own words only, BM25: "
        "for identifiers, error codes, names)."
    ),
]
Id = Annotated[str, Field(min_length=1, max_length=MOST_ID_CHARACTERS)]
Example = Annotated[
    str,
    Field(
        min_length=1, max_length=MAX_QUERY_CHARACTERS, description='A chunk_id, a document_id, or "text:" and words.'
    ),
]


class Parameters(BaseModel):
    """What every tool takes."""

    model_config = ConfigDict(extra="forbid")

    max_tokens: MaxTokens = DEFAULT_TOKENS


class SearchParameters(Parameters):
    """Of `search`."""

    query: Query = Field(description="A question or keywords, in the language of the documents.")
    k: int = Field(10, ge=1, le=MOST_HITS, description="Most passages to return.")
    offset: int = Field(
        0, ge=0, le=MOST_SKIPPED, description="Passages to skip: pass next_offset of the page before to go on."
    )
    filter: Filter = None
    mode: Mode = "hybrid"


class ContextParameters(Parameters):
    """Of `context`."""

    query: Query = Field(description="The question that the evidence shall answer.")
    filter: Filter = None
    mode: Mode = "hybrid"


class ReadParameters(Parameters):
    """Of `read_document`."""

    document_id: Id = Field(description="As search, context, similar or list_documents gave it, unchanged.")
    start: int = Field(
        0, ge=0, description="First character to read: 0, a hit's start, or next_start of the page before."
    )
    chunk_id: Id | None = Field(None, description="Read around this passage of the document, instead of from start.")
    chunk: int | None = Field(
        None,
        ge=0,
        description="Read from the document's chunk with this number, counted from 0, instead of from start.",
    )


class SimilarParameters(Parameters):
    """Of `similar`."""

    like: list[Example] = Field([], max_length=MOST_EXAMPLES, description="What the passages should resemble.")
    unlike: list[Example] = Field([], max_length=MOST_EXAMPLES, description="What they should stay away from.")
    k: int = Field(10, ge=1, le=MOST_HITS, description="Most passages to return.")
    offset: int = Field(
        0, ge=0, le=MOST_SKIPPED, description="Passages to skip: pass next_offset of the page before to go on."
    )
    filter: Filter = None


class ReportParameters(Parameters):
    """Of `report`."""

    kind: str | None = Field(
        None,
        max_length=100,
        description="Only findings of this kind, such as duplicate; `counts` names those there are.",
    )
    offset: int = Field(0, ge=0, description="Findings to skip: pass next_offset of the page before to go on.")


class ListParameters(Parameters):
    """Of `list_documents`."""

    limit: int = Field(50, ge=1, le=MOST_DOCUMENTS, description="Most documents to list.")
    after: str | None = Field(
        None,
        max_length=MOST_ID_CHARACTERS,
        description="Start behind this id: pass next_after of the page before to go on.",
    )


def schema_of(parameters: type[Parameters], fields: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema of a tool's parameters; a filter's description names the `fields` that the index knows."""
    schema = deepcopy(_schema(parameters))
    if "filter" in schema["properties"]:
        schema["properties"]["filter"]["description"] += f" {_known(fields)}"
    return schema


@cache
def _schema(parameters: type[Parameters]) -> dict[str, Any]:
    schema = parameters.model_json_schema()
    schema.pop("description", None)
    return _without_titles(schema)


def _known(fields: Mapping[str, str]) -> str:
    named = [f"{name} ({kind})" for name, kind in sorted(fields.items()) if FIELD_NAME.fullmatch(name)]
    more = f" and {len(fields) - MOST_FIELDS} more" if len(named) > MOST_FIELDS else ""
    return f"Fields of this index: {', '.join([*BUILT_IN, *named[:MOST_FIELDS]])}{more}."


def _without_titles(schema: Any) -> Any:
    """A schema without the titles that pydantic derives from names: they cost the model's attention and say nothing."""
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    if isinstance(schema, dict):
        return {
            name: _without_titles(part) for name, part in schema.items() if name != "title" or not isinstance(part, str)
        }
    return schema

"""What travels over HTTP, as pydantic models: the source of the OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from core.types import MetadataValue

MAX_K = 1000
MAX_OFFSET = 9000  # with k, no further than what a search lists
MAX_QUERY_CHARACTERS = 10_000
MAX_FILTER_CHARACTERS = 2_000
MAX_PAGE = 1000  # documents to a page of the list

NOT_BLANK: dict[str, JsonValue] = {"pattern": "\\S"}  # described; what checks it says more than a pattern could

Mode = Literal["hybrid", "dense", "sparse"]
Fusion = Literal["convex", "tm2c2", "rrf", "dbsf", "zscore", "tuned"]
PassageKind = Literal["chunk", "sentences", "section"]
Metadata = dict[str, MetadataValue]


class SearchRequest(BaseModel):
    """A query and how to answer it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: str = Field(
        min_length=1,
        max_length=MAX_QUERY_CHARACTERS,
        description="What to look for.",
        json_schema_extra=NOT_BLANK,
    )
    k: int = Field(10, ge=1, le=MAX_K, description="How many passages to return.")
    mode: Mode = Field("hybrid", description="Search by meaning (dense), by words (sparse, BM25) or both.")
    fusion: Fusion | None = Field(
        None, description="How hybrid makes one ranking of two; by default `tuned` once the index is, else `convex`."
    )
    filter: str | None = Field(
        None,
        max_length=MAX_FILTER_CHARACTERS,
        description='Condition on fields, such as `year >= 2020 and lang = "en"`.',
    )
    explain: bool = Field(False, description="Add the matched terms and what fusion made of each leg.")
    passage: PassageKind = Field(
        "chunk", description="What a hit returns: its chunk, the sentences that answer, or the section around it."
    )
    offset: int = Field(0, ge=0, le=MAX_OFFSET, description="Hits to leave out at the start: the pages before.")
    neighbours: int = Field(0, ge=0, le=10, description="Chunks to add on either side of a hit's; what touches is one.")
    group: Literal["document"] | None = Field(None, description="Leave each document `per_document` hits.")
    per_document: int = Field(1, ge=1, le=MAX_K, description="Hits of each document, with `group`.")
    diversity: float = Field(0, ge=0, le=1, description="Trade relevance for novelty: 0 is off, 1 novelty alone.")
    rerank: bool | None = Field(
        None, description="Whether a cross-encoder reads the best candidates; null where tuning has measured a gain."
    )


class Leg(BaseModel):
    """What one leg of the search gave a hit."""

    rank: int | None = Field(description="From 1, among all candidates; null where the leg gave nothing.")
    score: float = Field(description="The leg's raw score.")
    normalized: float = Field(0.0, description="What fusion used. Only with `explain`.")
    found: bool = Field(False, description="Whether the leg itself retrieved the hit. Only with `explain`.")


class Sentence(BaseModel):
    """A sentence of the passage; offsets count characters of the document."""

    start: int
    end: int
    text: str


class Explanation(BaseModel):
    """Why a hit is where it is."""

    chunk_cosine: float | None = Field(description="Cosine of query and passage.")
    sentence_cosine: float | None = Field(description="Cosine of query and best sentence.")
    matched_terms: list[str] = Field(description="Words of the query that occur in the passage, its title or headings.")


class Rerank(BaseModel):
    """What the cross-encoder gave a hit."""

    score: float = Field(description="Of query and passage read together; higher is better.")
    rank_before: int = Field(description="The hit's rank by fusion alone, from 1.")


class HitAnswer(BaseModel):
    """A passage that answers the query. `document.text[start:end]` is its text."""

    rank: int
    score: float
    document_id: str
    chunk_id: str = Field(description="The chunk that the passage is, is part of, or was made from.")
    text: str
    start: int
    end: int
    page: int | None = Field(description="The passage's first page, slide or sheet, counted from 1.")
    last_page: int | None
    place: str = Field(description='What a reader calls its pages, such as "pages 3–4" or "sheet Budget".')
    title: str
    headings: list[str]
    uri: str
    metadata: Metadata
    lead: str = Field(description="Header rows of the table that the passage is a part of; empty for any other.")
    also_in: list[str] = Field(description="Other documents with the same text, which is stored once for all.")
    best_sentence: Sentence | None
    legs: dict[Literal["dense", "sparse"], Leg]
    n_more: int | None = Field(None, description="Further candidates of its document. Only with `group`.")
    rerank: Rerank | None = Field(None, description="Only of a hit that the cross-encoder has read.")
    explain: Explanation | None = Field(None, description="Only with `explain`.")


class SignalsAnswer(BaseModel):
    """What a search says of itself."""

    confidence: float | None = Field(
        description="Probability that the corpus holds an answer, as judged collections had it; null unless hybrid."
    )
    far: bool = Field(description="Whether everything found is as far from the query as from unrelated questions.")
    unknown_terms: list[str] = Field(description="Words of the query that occur nowhere in the index.")
    legs_disagree: bool = Field(description="Whether the best ten of either leg have nothing in common.")


class SearchAnswer(BaseModel):
    """The hits, best first."""

    query: str
    mode: Mode
    took_ms: float = Field(description="Time inside the search, without HTTP.")
    hits: list[HitAnswer]
    signals: SignalsAnswer
    notes: list[str] = Field([], description="What the caller should know about the query; absent where nothing.")
    fusion: Fusion | None = Field(None, description="Only with `explain`; null unless the mode is hybrid.")


class DocumentAnswer(BaseModel):
    """An indexed document without its text."""

    id: str
    uri: str
    title: str
    n_chunks: int
    content_hash: str = Field(description="SHA-256 of what the document was extracted from; another one, another text.")
    metadata: Metadata
    splits: list[int] = Field(description="Offsets in the text at which `limpid fix` has divided chunks.")


class ChunkAnswer(BaseModel):
    """A chunk of a document. `document.text[start:end]` is its text."""

    chunk_id: str
    position: int
    start: int
    end: int
    page: int | None
    last_page: int | None
    place: str = Field(description='What a reader calls its pages, such as "pages 3–4" or "sheet Budget".')
    headings: list[str]
    text: str
    lead: str = Field(description="Header rows of the table that the chunk is a part of.")
    also_in: list[str] = Field(description="Other documents that hold the same text.")
    encoder_tokens: int
    llm_tokens: int


class DocumentText(DocumentAnswer):
    """An indexed document with the text that every offset refers to."""

    markup: str = Field(description="How structure is written in the text: text, markdown or code with its language.")
    page_starts: list[int] = Field(description="Offsets at which pages begin.")
    page_names: list[str] = Field(description="What a reader calls the pages; empty where they are just numbered.")
    has_own_title: bool = Field(description="False where the title is only the file's name.")
    text: str
    chunks: list[ChunkAnswer] = Field([], description="Only with `chunks=true`.")


class DocumentsAnswer(BaseModel):
    """One page of the documents, in the order of their ids."""

    documents: list[DocumentAnswer]
    total: int = Field(description="Number of documents in the index.")
    next: str | None = Field(description="Pass it as `after` to get the next page; null on the last page.")


class IndexStatus(BaseModel):
    """What an index holds and how it was made."""

    generation: int = Field(description="Number of the generation that answers.")
    documents: int
    chunks: int
    complete: bool = Field(
        description="False where documents are half written or weights an estimate: an ingest is at it, or was cut off."
    )
    avg_len: float = Field(description="Average length of a chunk in BM25 terms.")
    fields: dict[str, str] = Field(description="Metadata fields that filters know, with their kind.")
    fingerprint: dict[str, str | int | float] = Field(description="What the index was made with.")


class Status(BaseModel):
    """A health check that passed."""

    status: Literal["ok", "ready"]


class FieldFault(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(description="A URI that names the kind of problem, or about:blank.")
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str = Field(description="What is wrong and what to do.")
    instance: str | None = Field(None, description="Reference of this occurrence in the server's log.")
    errors: list[FieldFault] = Field([], description="The faults of the request, field by field.")

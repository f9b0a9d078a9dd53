"""What the packages pass to one another: frozen values, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Scalar = str | int | float | bool
MetadataValue = Scalar | list[str] | list[Scalar]


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of characters, `text[start:end]`."""

    start: int
    end: int


def place(page_names: Sequence[str], page: int | None, last_page: int | None) -> str:
    """What a reader calls pages, which count from 1: "pages 3–4", or their names where they have some; "" for None."""
    if page is None or last_page is None:
        return ""
    if last_page > len(page_names):
        return f"page {page}" if page == last_page else f"pages {page}–{last_page}"
    first, last = page_names[page - 1], page_names[last_page - 1]
    return first if first == last else f"{first} – {last}"


@dataclass(frozen=True, slots=True)
class Document:
    """One source document after extraction.

    `text` is the extracted text that every offset refers to. `page_starts[i]` is the offset at which page `i + 1`
    begins; it is empty where the format has no pages. `page_names[i]` is what a reader calls that page ("slide 3",
    "sheet Budget"); empty where pages are just numbered. `markup` says how structure is written in `text`.
    `has_own_title` is false where the title is only the file's name: names move, so no vector depends on them.
    `splits` are offsets at which `limpid fix` divides the chunks that they fall into, rising.
    """

    id: str
    uri: str
    title: str
    text: str
    content_hash: str
    markup: str = "text"  # "text" (plain, reST-like underlines), "markdown" or "code:" with a language
    page_starts: tuple[int, ...] = ()
    page_names: tuple[str, ...] = ()
    has_own_title: bool = True
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    splits: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document, the unit that is embedded, scored and returned.

    `id` is 16 hexadecimal digits, below 8000000000000000. `document.text[start:end] == text` always. `context` is what
    the encoder reads in front of the text (title and headings, shortened where they would not fit). `sentences` are
    offsets into the document, inside `[start, end)`, rising and not overlapping. `encoder_tokens` counts `context` and
    `text` as the encoder sees them, special tokens included; `llm_tokens` counts `text` with tiktoken's o200k_base.
    `page` and `last_page` count from 1; `place` is what a reader calls them ("pages 3–4", "slide 2", "sheet Budget").
    `lead` is what a part of a divided table needs to be understood: the table's header rows, repeated. `also_in` names
    other documents that hold the same text, where it is stored once for all of them; `metadata` is then that of all.
    """

    id: str
    document_id: str
    position: int
    start: int
    end: int
    text: str
    uri: str = ""
    title: str = ""
    headings: tuple[str, ...] = ()
    page: int | None = None
    last_page: int | None = None
    place: str = ""
    lead: str = ""
    context: str = ""
    sentences: tuple[Span, ...] = ()
    encoder_tokens: int = 0
    llm_tokens: int = 0
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    also_in: tuple[str, ...] = ()

    @property
    def embedding_text(self) -> str:
        """What the encoder reads for the chunk's own vector."""
        return "\n".join(part for part in (self.context, self.lead, self.text) if part)

    def between(self, start: int, end: int) -> str:
        """The part of the text at these offsets of the document, which lie inside the chunk."""
        return self.text[start - self.start : end - self.start]

    @property
    def sentence_texts(self) -> list[str]:
        """The texts of `sentences`."""
        return [self.between(span.start, span.end) for span in self.sentences]

    @property
    def lexical_text(self) -> str:
        """What BM25 reads: title and headings are searched as well as the text."""
        headings = [heading for heading in self.headings if heading != self.title]
        return "\n".join(part for part in (self.title, *headings, self.lead, self.text) if part)


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """What the index remembers of a document besides its chunks.

    `generation` names the version whose chunks are current; chunks of the same document with another generation
    are leftovers of an interrupted update. `block_keys` are 8 bytes for every block of its text that other documents
    might hold as well. With `text` and what follows it, the document can be cut anew without its source. `splits` are
    the document's; `fixes` is a hash over all that `limpid fix` has changed in its chunks, empty where that is nothing.
    """

    id: str
    uri: str
    title: str
    content_hash: str
    generation: str
    n_chunks: int
    n_terms: int = 0  # length of all its chunks together, in BM25 terms
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
    settling: bool = False  # old chunks of this document may still have to be removed
    block_keys: bytes = b""
    has_own_title: bool = True
    splits: tuple[int, ...] = ()
    fixes: str = ""
    text: str = ""
    markup: str = "text"
    page_starts: tuple[int, ...] = ()
    page_names: tuple[str, ...] = ()

    @property
    def document(self) -> Document:
        """The document itself; only of a record that was read with its text."""
        return Document(
            id=self.id,
            uri=self.uri,
            title=self.title,
            text=self.text,
            content_hash=self.content_hash,
            markup=self.markup,
            page_starts=self.page_starts,
            page_names=self.page_names,
            has_own_title=self.has_own_title,
            metadata=self.metadata,
            splits=self.splits,
        )


@dataclass(frozen=True, slots=True)
class LegScore:
    """What one leg of the search gave a hit.

    `score` is the leg's raw score; `rank` counts from 1 in the leg's own order over the candidates, None where the
    leg gave nothing (a sparse score of zero: no query term occurs). `normalized` is what fusion used. `found` tells
    whether the leg itself retrieved the hit, or whether its score was looked up because the other leg did.
    """

    rank: int | None
    score: float
    normalized: float
    found: bool


@dataclass(frozen=True, slots=True)
class Reranked:
    """What a cross-encoder gave a hit: its score, and the hit's rank from 1 before the reranking."""

    score: float
    rank_before: int


@dataclass(frozen=True, slots=True)
class Passage:
    """What a hit returns of its document where that isn't its chunk: some sentences, its section, or chunks around it.

    `document.text[start:end] == text` always. Pages and their place are as a chunk's.
    """

    start: int
    end: int
    text: str
    page: int | None = None
    last_page: int | None = None
    place: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result with the reasons for its place.

    `score` is the fused score, or that of the best sentence of a passage made of sentences. `n_more` counts further
    candidates of its document, None unless hits are grouped.
    """

    rank: int
    score: float
    chunk: Chunk
    legs: Mapping[str, LegScore]
    best_sentence: Span | None = None
    cosine: float | None = None  # of query and chunk vector
    sentence_cosine: float | None = None  # of query and best sentence vector
    matched_terms: tuple[str, ...] = ()
    passage: Passage | None = None  # None where the chunk itself is returned
    reranked: Reranked | None = None  # None where no cross-encoder has read it
    n_more: int | None = None


@dataclass(frozen=True, slots=True)
class Flag:
    """A finding of the quality report.

    `score` is compared with `threshold`; `confidence` lies in [0, 1]; `evidence` holds the texts and numbers behind
    it, ready for JSON; `action` tells the reader what to do.
    """

    kind: str
    subject: str
    score: float
    threshold: float
    confidence: float
    evidence: Mapping[str, object]
    action: str

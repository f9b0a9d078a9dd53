"""Ranges of a document become chunks: context, measured length, page, place, sentences, id."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document, Span
from ingest.chunkers.context import ContextWriter
from ingest.chunkers.graphemes import boundary_at
from ingest.chunkers.leads import NO_LEAD, Lead
from ingest.chunkers.measure import TokenRuler
from ingest.chunkers.sentences import merge_short, split_sentences
from ingest.structure import Block, Blocks

MIN_CONTEXT_TOKENS = 24  # kept for the context where chunk_tokens alone would fill the encoder
BATCH = 256  # chunks measured in one call of the tokenizers
SPACES = " \n\t"
LINE_KINDS = ("code", "table")  # a newline ends a sentence there


@dataclass(frozen=True, slots=True)
class Passage:
    """A range that a chunker has chosen; `sentences` are those it cut at, None where they are still to be found."""

    path: tuple[str, ...]
    start: int
    end: int
    lead: Lead = NO_LEAD
    sentences: tuple[Span, ...] | None = None


def text_budget(chunk_tokens: int, tokenizer: EncoderTokenizer) -> int:
    """Encoder tokens that a chunk's lead and text may take, room being left for its context."""
    return max(1, min(chunk_tokens, tokenizer.max_tokens - tokenizer.n_special_tokens - MIN_CONTEXT_TOKENS))


class ChunkWriter:
    """Makes chunks of passages, none above the encoder's limit."""

    def __init__(self, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer):
        self._tokenizer = tokenizer
        self._llm_tokenizer = llm_tokenizer

    def write(self, document: Document, blocks: Blocks, ruler: TokenRuler, passages: Iterable[Passage]) -> list[Chunk]:
        """The passages as chunks, in their order; one that is too long even without its context becomes several."""
        contexts = ContextWriter(document.title if document.has_own_title else "", self._tokenizer)
        passages = list(passages)
        chunks: list[Chunk] = []
        for first in range(0, len(passages), BATCH):
            drafts = [self._draft(document, passage, ruler, contexts) for passage in passages[first : first + BATCH]]
            chunks.extend(self._fit(drafts, contexts))
        known = {(passage.start, passage.end): passage.sentences for passage in passages if passage.sentences}
        starts = [block.start for block in blocks.blocks]
        finished: list[Chunk] = []
        for position, chunk in enumerate(chunks):
            start, end = chunk.start, chunk.end
            page, last_page = _pages(document, chunk)
            finished.append(
                replace(
                    chunk,
                    id=_chunk_id(document.id, start, chunk.text),
                    position=position,
                    page=page,
                    last_page=last_page,
                    place=_place(document, page, last_page),
                    sentences=known.get((start, end))
                    or sentences_between(document.text, blocks.blocks, starts, start, end),
                    llm_tokens=self._llm_tokenizer.count([chunk.text])[0],
                )
            )
        return finished

    def _draft(self, document: Document, passage: Passage, ruler: TokenRuler, contexts: ContextWriter) -> Chunk:
        """A chunk with its context; its `encoder_tokens` are 0 where the tokenizer has to count them."""
        start, end = passage.start, passage.end
        n_tokens = ruler.count(start, end)
        context = contexts.write(passage.path, n_tokens + passage.lead.n_tokens)
        adds_up = self._tokenizer.splits_words and not passage.lead.text and _stands_free(document.text, start, end)
        return Chunk(
            id="",
            document_id=document.id,
            position=0,
            start=start,
            end=end,
            text=document.text[start:end],
            uri=document.uri,
            title=document.title,
            headings=passage.path,
            lead=passage.lead.text,
            context=context,
            encoder_tokens=self._tokenizer.n_special_tokens + contexts.count(context) + n_tokens if adds_up else 0,
            metadata=document.metadata,
        )

    def _fit(self, batch: Sequence[Chunk], contexts: ContextWriter) -> Iterator[Chunk]:
        """The chunks as measured; one over the limit loses context, then its lead, then is halved until it fits."""
        counts = iter(self._tokenizer.count([chunk.embedding_text for chunk in batch if not chunk.encoder_tokens]))
        for chunk in batch:
            n_tokens = chunk.encoder_tokens or next(counts)
            excess = n_tokens - self._tokenizer.max_tokens
            if excess <= 0 or (len(chunk.text) == 1 and not chunk.context and not chunk.lead):
                yield replace(chunk, encoder_tokens=n_tokens)
            elif chunk.context:
                context = contexts.shorten(chunk.headings, chunk.context, excess)
                yield from self._fit([replace(chunk, context=context, encoder_tokens=0)], contexts)
            elif chunk.lead:
                yield from self._fit([replace(chunk, lead="", encoder_tokens=0)], contexts)
            else:
                yield from self._fit(_halve(chunk), contexts)


def _stands_free(text: str, start: int, end: int) -> bool:
    """Whether a range is bounded by whitespace on both sides, as every tokenizer understands it."""
    return (start == 0 or text[start - 1] in SPACES) and (end == len(text) or text[end] in SPACES)


def _halve(chunk: Chunk) -> list[Chunk]:
    """The chunk in two, at the whitespace nearest behind its middle if there is any, else between two characters."""
    middle = len(chunk.text) // 2
    words = chunk.text[middle:].split(maxsplit=1)
    at = len(chunk.text) - len(words[1]) if len(words) > 1 else boundary_at(chunk.text, middle, 0)
    head, tail = chunk.text[:at].rstrip(), chunk.text[at:].lstrip()
    return [
        replace(chunk, end=chunk.start + len(head), text=head, encoder_tokens=0),
        replace(chunk, start=chunk.end - len(tail), text=tail, encoder_tokens=0),
    ]


def sentences_between(
    text: str, blocks: Sequence[Block], starts: Sequence[int], start: int, end: int
) -> tuple[Span, ...]:
    """The sentences of `text[start:end]`, split by the kind of each block; `starts` are the blocks'."""
    spans: list[Span] = []
    for i in range(max(0, bisect_right(starts, start) - 1), len(blocks)):
        block = blocks[i]
        if block.start >= end:
            break
        inner_start, inner_end = max(block.start, start), min(block.end, end)
        spans.extend(split_sentences(text, inner_start, inner_end, block.kind in LINE_KINDS))
    return merge_short(text, spans)


def _pages(document: Document, chunk: Chunk) -> tuple[int | None, int | None]:
    """The pages of a chunk's first and last character, counted from 1; None where the document has no pages."""
    if not document.page_starts:
        return None, None
    first = bisect_right(document.page_starts, chunk.start)
    return max(1, first), max(1, bisect_right(document.page_starts, chunk.end - 1))


def _place(document: Document, page: int | None, last_page: int | None) -> str:
    """What a reader calls the pages: their names where they have some, else their numbers."""
    if page is None or last_page is None:
        return ""
    if last_page > len(document.page_names):
        return f"page {page}" if page == last_page else f"pages {page}–{last_page}"
    first, last = document.page_names[page - 1], document.page_names[last_page - 1]
    return first if first == last else f"{first} – {last}"


def _chunk_id(document_id: str, start: int, text: str) -> str:
    """63 bits of a hash over what the chunk is and where it stands, the same in every generation."""
    digest = blake2b(f"{document_id}\0{start}\0{text}".encode(), digest_size=8, person=b"limpid chunk").digest()
    return f"{int.from_bytes(digest) >> 1:016x}"

"""A document in chunks that follow its structure, each within the encoder's limit, each at exact offsets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document, Span
from ingest.context import ContextWriter
from ingest.measure import TokenRuler
from ingest.sentences import merge_short, split_sentences
from ingest.structure import Block, Blocks

CHUNK_TOKENS = 200  # leaves 54 of MiniLM's 256 word-pieces for title and headings
MIN_CONTEXT_TOKENS = 24  # kept for the context where chunk_tokens alone would fill the encoder
SMALL_SECTION = 0.25  # of the budget: a section below it shares a chunk with its siblings
BATCH = 256  # chunks measured in one call of the tokenizers
LINE_KINDS = ("code", "table")  # a newline ends a sentence there

# How welcome a cut in front of a piece is, in shares of the wanted chunk length that it may be off for it.
_CUT_AT_BLOCK = 0.4
_CUT_AT_PARAGRAPH = 0.2  # at a blank line or list item inside a block
_CUT_AT_LINE = 0.1
_CUT_AT_SENTENCE = 0.0
_CUT_IN_SENTENCE = -0.3
_CUT_AFTER_HEADING = -2.0


@dataclass(frozen=True, slots=True)
class _Piece:
    """A range that is never divided, and how welcome a cut in front of it is."""

    start: int
    end: int
    welcome: float


@dataclass(frozen=True, slots=True)
class _Section:
    """A heading with what follows it up to the next one, or several such sections in a row."""

    path: tuple[str, ...]
    start: int
    end: int
    has_body: bool


def chunk_document(
    document: Document,
    blocks: Blocks,
    tokenizer: EncoderTokenizer,
    llm_tokenizer: LlmTokenizer,
    chunk_tokens: int = CHUNK_TOKENS,
) -> list[Chunk]:
    """The document's chunks in order; every character that isn't whitespace lies in exactly one.

    A chunk holds at most `chunk_tokens` encoder tokens of text (fewer where the encoder's limit asks for it), and
    never more than `tokenizer.max_tokens` with its context and special tokens. It stays inside one section, except
    that small neighbouring sections share a chunk under the headings they have in common. Deterministic.
    """
    text = document.text
    ruler = TokenRuler(text, tokenizer)
    budget = max(1, min(chunk_tokens, tokenizer.max_tokens - tokenizer.n_special_tokens - MIN_CONTEXT_TOKENS))
    sections = _merge_small(_sections(blocks), ruler, budget)
    pieces = _Pieces(text, blocks, ruler, budget)
    ranges = [(section.path, span) for section in sections for span in pieces.pack(section.start, section.end)]
    writer = ContextWriter(document.title, tokenizer)
    chunks: list[Chunk] = []
    for first in range(0, len(ranges), BATCH):
        batch = [_draft(document, path, span, ruler, writer) for path, span in ranges[first : first + BATCH]]
        chunks.extend(_fit(batch, tokenizer, writer))
    return _finish(document, chunks, blocks, llm_tokenizer)


def _sections(blocks: Blocks) -> Iterator[_Section]:
    """The text's sections in order; a heading without a body belongs to the deeper section that follows it."""
    last: _Section | None = None
    for block in blocks.blocks:
        is_heading = block.kind == "heading"
        if last is not None and not is_heading:
            last = _Section(last.path, last.start, block.end, has_body=True)
            continue
        path = blocks.headings_at(block.start)
        if last is not None and not last.has_body and path[: len(last.path)] == last.path:
            last = _Section(path, last.start, block.end, has_body=False)
            continue
        if last is not None:
            yield last
        last = _Section(path, block.start, block.end, has_body=not is_heading)
    if last is not None:
        yield last


def _merge_small(sections: Iterator[_Section], ruler: TokenRuler, budget: int) -> Iterator[_Section]:
    """Sections with small ones joined to their neighbours while they fit and have the same parent."""
    small = budget * SMALL_SECTION
    last: _Section | None = None
    for section in sections:
        if last is None:
            last = section
            continue
        common = _common(last.path, section.path)
        is_kin = len(common) >= max(len(last.path), len(section.path)) - 1  # siblings, or parent and child
        is_small = ruler.cost(last.start, last.end) < small or ruler.cost(section.start, section.end) < small
        if is_kin and is_small and ruler.cost(last.start, section.end) <= budget:
            last = _Section(common, last.start, section.end, has_body=True)
        else:
            yield last
            last = section
    if last is not None:
        yield last


def _common(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return tuple(one[:n])


class _Pieces:
    """Packs the blocks of a range into chunks of at most `budget` tokens."""

    def __init__(self, text: str, blocks: Blocks, ruler: TokenRuler, budget: int):
        self._text = text
        self._blocks = blocks.blocks
        self._starts = [block.start for block in blocks.blocks]
        self._ruler = ruler
        self._budget = budget

    def pack(self, start: int, end: int) -> Iterator[Span]:
        """Ranges of nearly equal length, cut where it hurts least; the last is not a small rest."""
        cost = self._ruler.cost
        if cost(start, end) <= self._budget:
            yield Span(start, end)
            return
        pieces = list(self._divide(start, end))
        i = 0
        while i < len(pieces):
            rest = cost(pieces[i].start, end)
            if rest <= self._budget:
                yield Span(pieces[i].start, end)
                return
            wanted = rest / -(-rest // self._budget)
            best, stop, j = float("-inf"), i + 1, i + 1
            while j < len(pieces) and (length := cost(pieces[i].start, pieces[j - 1].end)) <= self._budget:
                score = pieces[j].welcome - abs(length - wanted) / wanted
                if score >= best:
                    best, stop = score, j
                j += 1
            yield Span(pieces[i].start, pieces[stop - 1].end)
            i = stop

    def _divide(self, start: int, end: int) -> Iterator[_Piece]:
        """Whole blocks where they fit, else their sentences, else parts of sentences."""
        welcome = _CUT_AT_BLOCK
        for i in range(bisect_left(self._starts, start), bisect_left(self._starts, end)):
            block = self._blocks[i]
            if self._ruler.cost(block.start, block.end) <= self._budget:
                yield _Piece(block.start, block.end, welcome)
            else:
                yield from self._divide_block(block, welcome)
            welcome = _CUT_AFTER_HEADING if block.kind == "heading" else _CUT_AT_BLOCK

    def _divide_block(self, block: Block, welcome: float) -> Iterator[_Piece]:
        last_end = block.start
        for sentence in split_sentences(self._text, block.start, block.end, block.kind in LINE_KINDS):
            if last_end > block.start:
                welcome = _welcome(self._text[last_end : sentence.start], block.kind)
            last_end = sentence.end
            for start, end in self._ruler.cut(sentence.start, sentence.end, self._budget):
                yield _Piece(start, end, welcome)
                welcome = _CUT_IN_SENTENCE


def _welcome(gap: str, kind: str) -> float:
    """How welcome a cut is in the whitespace between two sentences of one block."""
    n_newlines = gap.count("\n")
    if n_newlines > 1 or (n_newlines and kind == "list"):
        return _CUT_AT_PARAGRAPH
    return _CUT_AT_LINE if n_newlines else _CUT_AT_SENTENCE


def _draft(document: Document, path: tuple[str, ...], span: Span, ruler: TokenRuler, writer: ContextWriter) -> Chunk:
    """A chunk with its context, not yet measured by the tokenizer as a whole."""
    return Chunk(
        id="",
        document_id=document.id,
        position=0,
        start=span.start,
        end=span.end,
        text=document.text[span.start : span.end],
        uri=document.uri,
        title=document.title,
        headings=path,
        context=writer.write(path, ruler.count(span.start, span.end)),
        metadata=document.metadata,
    )


def _fit(batch: Sequence[Chunk], tokenizer: EncoderTokenizer, writer: ContextWriter) -> Iterator[Chunk]:
    """The chunks as measured; one over the encoder's limit loses context first, then is halved until it fits."""
    counts = tokenizer.count([chunk.embedding_text for chunk in batch])
    for chunk, n_tokens in zip(batch, counts, strict=True):
        if n_tokens <= tokenizer.max_tokens:
            yield replace(chunk, encoder_tokens=n_tokens)
        elif chunk.context:
            excess = n_tokens - tokenizer.max_tokens
            shorter = replace(chunk, context=writer.shorten(chunk.headings, chunk.context, excess))
            yield from _fit([shorter], tokenizer, writer)
        elif len(chunk.text) > 1:
            yield from _fit(_halve(chunk), tokenizer, writer)
        else:
            yield replace(chunk, encoder_tokens=n_tokens)


def _halve(chunk: Chunk) -> list[Chunk]:
    """The chunk in two, at the whitespace nearest behind its middle if there is any."""
    middle = len(chunk.text) // 2
    words = chunk.text[middle:].split(maxsplit=1)
    at = len(chunk.text) - len(words[1]) if len(words) > 1 else middle
    head, tail = chunk.text[:at].rstrip(), chunk.text[at:].lstrip()
    return [
        replace(chunk, end=chunk.start + len(head), text=head),
        replace(chunk, start=chunk.end - len(tail), text=tail),
    ]


def _finish(document: Document, chunks: Sequence[Chunk], blocks: Blocks, llm_tokenizer: LlmTokenizer) -> list[Chunk]:
    """The chunks with id, position, page, sentences and the language model's token count."""
    finished = []
    starts = [block.start for block in blocks.blocks]
    for first in range(0, len(chunks), BATCH):
        batch = chunks[first : first + BATCH]
        counts = llm_tokenizer.count([chunk.text for chunk in batch])
        for position, (chunk, n_tokens) in enumerate(zip(batch, counts, strict=True), start=first):
            finished.append(
                replace(
                    chunk,
                    id=_chunk_id(document.id, chunk.start, chunk.text),
                    position=position,
                    page=bisect_right(document.page_starts, chunk.start) or None,
                    sentences=_sentences(document.text, chunk, blocks.blocks, starts),
                    llm_tokens=n_tokens,
                )
            )
    return finished


def _sentences(text: str, chunk: Chunk, blocks: Sequence[Block], starts: Sequence[int]) -> tuple[Span, ...]:
    spans: list[Span] = []
    for i in range(bisect_right(starts, chunk.start) - 1, len(blocks)):
        block = blocks[i]
        if block.start >= chunk.end:
            break
        start, end = max(block.start, chunk.start), min(block.end, chunk.end)
        spans.extend(split_sentences(text, start, end, block.kind in LINE_KINDS))
    return merge_short(text, spans)


def _chunk_id(document_id: str, start: int, text: str) -> str:
    """63 bits of a hash over what the chunk is and where it stands, the same in every generation."""
    digest = blake2b(f"{document_id}\0{start}\0{text}".encode(), digest_size=8, person=b"limpid chunk").digest()
    return f"{int.from_bytes(digest) >> 1:016x}"

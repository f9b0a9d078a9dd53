"""Chunks in parts, where `limpid fix` has decided so: the others stay as they are, whatever the chunker."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise

from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document
from ingest.chunkers.leads import NO_LEAD, Lead
from ingest.chunkers.measure import TokenRuler
from ingest.chunkers.passages import ChunkWriter, Passage, text_budget
from ingest.chunkers.pieces import Pieces
from ingest.chunkers.sections import common
from ingest.structure import Blocks


class Divider:
    """Divides the chunks of documents at the documents' `splits`."""

    def __init__(self, chunk_tokens: int, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer):
        self._tokenizer = tokenizer
        self._budget = text_budget(chunk_tokens, tokenizer)
        self._writer = ChunkWriter(tokenizer, llm_tokenizer)

    def divide(self, document: Document, blocks: Blocks, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The document's chunks, those that a split falls into in parts that hold the same sentences between them.

        A part ends in front of the first sentence that begins at the split or behind it; a split that leaves nothing
        on one side divides nothing. Parts have the headings that all of their blocks share, and stay shared text where
        the chunk was.
        """
        if not document.splits:
            return list(chunks)
        divided: list[Chunk] = []
        ruler: TokenRuler | None = None
        n_more = 0
        for chunk in chunks:
            firsts = _firsts(chunk, document.splits)
            if not firsts:
                divided.append(replace(chunk, position=chunk.position + n_more))
                continue
            ruler = ruler or TokenRuler(document.text, self._tokenizer)
            passages = list(self._parts(document, blocks, ruler, chunk, firsts))
            parts = self._writer.write(document, blocks, ruler, passages)
            for place, part in enumerate(parts):
                position = chunk.position + n_more + place
                divided.append(replace(part, position=position, metadata=chunk.metadata, also_in=chunk.also_in))
            n_more += len(parts) - 1
        return divided

    def _parts(
        self, document: Document, blocks: Blocks, ruler: TokenRuler, chunk: Chunk, firsts: Sequence[int]
    ) -> Iterator[Passage]:
        """The stretches between the sentences `firsts`, with what each needs in front of it."""
        text = document.text
        pieces = Pieces(text, blocks, ruler, self._budget)
        leads = {piece.start: piece.lead for piece in pieces.divide(_block_start(blocks, chunk), chunk.end, ())}
        bounds = [0, *firsts, len(chunk.sentences)]
        for first, stop in pairwise(bounds):
            start = chunk.sentences[first].start if first else chunk.start
            end = chunk.sentences[stop].start if stop < len(chunk.sentences) else chunk.end
            end = start + len(text[start:end].rstrip())
            if first:
                lead = leads.get(start, NO_LEAD)
            else:
                lead = Lead(chunk.lead, self._tokenizer.count([chunk.lead])[0] - self._tokenizer.n_special_tokens)
            if ruler.cost(start, end) + lead.n_tokens > self._budget:
                lead = NO_LEAD
            yield Passage(_headings(blocks, start, end), start, end, lead, chunk.sentences[first:stop])


def _firsts(chunk: Chunk, splits: Sequence[int]) -> list[int]:
    """The sentences that begin a part of their own, by number, without the chunk's first one."""
    starts = [span.start for span in chunk.sentences]
    inside = splits[bisect_left(splits, chunk.start + 1) : bisect_left(splits, chunk.end)]
    places = {bisect_left(starts, split) for split in inside}
    return sorted(place for place in places if 0 < place < len(starts))


def _block_start(blocks: Blocks, chunk: Chunk) -> int:
    """Where the block begins in which the chunk does: rows of a table are known by its header."""
    starts = [block.start for block in blocks.blocks]
    return starts[max(0, bisect_left(starts, chunk.start + 1) - 1)]


def _headings(blocks: Blocks, start: int, end: int) -> tuple[str, ...]:
    """The path that the blocks of a stretch have in common, its headings' own lines apart."""
    inside = [block for block in blocks.blocks if block.start < end and block.end > start]
    bodies = [block for block in inside if block.kind != "heading"] or inside
    return reduce(common, (blocks.headings_at(max(block.start, start)) for block in bodies))

"""What a section may be cut into at the least: whole blocks, sentences, parts of sentences."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Container, Iterator
from dataclasses import dataclass

from ingest.chunkers.leads import MAX_SHARE, NO_LEAD, Lead, Scopes, header_rows, write_lead
from ingest.chunkers.measure import TokenRuler
from ingest.chunkers.passages import LINE_KINDS
from ingest.chunkers.sentences import split_sentences
from ingest.structure import Block, Blocks

KINDS = ("heading", "paragraph", "list", "code", "table")

# How welcome a cut in front of a piece is, in shares of the wanted chunk length that it may be off for it.
_CUT_AT_BLOCK = 0.4
_CUT_AT_PARAGRAPH = 0.2  # at a blank line or list item inside a block
_CUT_AT_LINE = 0.1
_CUT_AT_SENTENCE = 0.0
_CUT_IN_SENTENCE = -0.3
_CUT_AFTER_HEADING = -2.0


@dataclass(frozen=True, slots=True)
class Piece:
    """A range that is never divided, how welcome a cut in front of it is, and the lead of a chunk that begins here."""

    start: int
    end: int
    welcome: float
    lead: Lead = NO_LEAD


class Pieces:
    """The pieces of one document's sections, none above `budget` tokens."""

    def __init__(self, text: str, blocks: Blocks, ruler: TokenRuler, budget: int):
        self._text = text
        self._blocks = blocks.blocks
        self._starts = [block.start for block in blocks.blocks]
        self._ruler = ruler
        self._budget = budget
        self._lead_limit = int(budget * MAX_SHARE)

    def divide(self, start: int, end: int, whole: Container[str] = KINDS) -> Iterator[Piece]:
        """Blocks of the kinds in `whole` where they fit, of others their sentences, of long ones parts of them."""
        welcome = _CUT_AT_BLOCK
        scopes: Scopes | None = None
        for i in range(bisect_left(self._starts, start), bisect_left(self._starts, end)):
            block = self._blocks[i]
            if block.kind != "code":
                scopes = None
            elif scopes is None:
                scopes = Scopes(self._text, block.start)
            if block.kind in whole and self._ruler.cost(block.start, block.end) <= self._budget:
                yield Piece(block.start, block.end, welcome, self._lead(scopes, block.start, block.end))
            else:
                yield from self._divide_block(block, welcome, scopes)
            welcome = _CUT_AFTER_HEADING if block.kind == "heading" else _CUT_AT_BLOCK

    def _divide_block(self, block: Block, welcome: float, scopes: Scopes | None) -> Iterator[Piece]:
        header, rows_start = NO_LEAD, block.end
        if block.kind == "table":
            lines, rows_start = header_rows(self._text, block.start, block.end)
            header = write_lead(self._text, lines, self._ruler, self._lead_limit)
        room = self._budget - (self._lead_limit if block.kind in LINE_KINDS else 0)
        last_end = block.start
        for sentence in split_sentences(self._text, block.start, block.end, block.kind in LINE_KINDS):
            if last_end > block.start:
                welcome = _welcome(self._text, last_end, sentence.start, block.kind)
            last_end = sentence.end
            for start, end in self._ruler.cut(sentence.start, sentence.end, room):
                lead = header if start >= rows_start else self._lead(scopes, start, block.end)
                yield Piece(start, end, welcome, lead)
                welcome = _CUT_IN_SENTENCE

    def _lead(self, scopes: Scopes | None, start: int, end: int) -> Lead:
        if scopes is None:
            return NO_LEAD
        return write_lead(self._text, scopes.around(start, end), self._ruler, self._lead_limit)


def _welcome(text: str, last_end: int, start: int, kind: str) -> float:
    """How welcome a cut is between two sentences of one block."""
    n_newlines = text.count("\n", last_end, start)
    if kind == "table" and text[start] == "+":  # a grid's rule; its other lines may go on with the row above
        return _CUT_AT_BLOCK
    if n_newlines > 1 or (n_newlines and kind == "list"):
        return _CUT_AT_PARAGRAPH
    return _CUT_AT_LINE if n_newlines else _CUT_AT_SENTENCE

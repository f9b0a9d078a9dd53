"""Chunks that are cut where the topic turns, by the vectors that the index keeps of the sentences anyway."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document, Span
from ingest.chunkers.leads import NO_LEAD, Lead
from ingest.chunkers.measure import MAX_CHARS_PER_TOKEN, TokenRuler
from ingest.chunkers.partition import Units, partition
from ingest.chunkers.passages import LINE_KINDS, ChunkWriter, Passage, sentences_between, text_budget
from ingest.chunkers.pieces import Piece, Pieces
from ingest.chunkers.sections import Section, sections
from ingest.chunkers.structure import StructureChunker
from ingest.structure import Blocks

# What a chunk has to gain, in units of the noise: with less, cuts follow every sentence that stands out; with more,
# they miss turns. On joined texts 1.5 found 100%, 1.8 99% and 2.2 97% of the seams, with ever fewer other cuts.
PENALTY = 1.8
MIN_NOISE = 0.05  # for texts that repeat themselves
# A section below this share of the budget is one chunk, whatever it is about: its parts would say too little.
WHOLE_SECTION = 0.5
MAX_UNITS = 1000  # of a section that are cut at once: bounds the memory that their vectors take
MAX_PREPARED = 1000  # documents whose sentences are remembered from `texts` to `chunk`


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A document's sections, each with its sentences where it may have to be cut, else with none."""

    document: Document
    blocks: Blocks
    ruler: TokenRuler
    sections: Sequence[tuple[Section, tuple[Span, ...]]]


@dataclass(frozen=True, slots=True)
class _Unit:
    """A range that is never cut, the lead of a chunk that begins here, and which of the sentences it lies in."""

    start: int
    end: int
    welcome: float
    lead: Lead
    first: int
    stop: int


class TopicChunker:
    """See `ingest.chunkers.Chunker`.

    Sections are those of the structure chunker. One that is long enough is cut so that the sentences of each chunk are
    as much alike as possible (`ingest.chunkers.partition`); a cut between blocks or paragraphs costs less than one
    between sentences, and code and tables that fit stay whole. Equal vectors give equal chunks. Source code is cut by
    structure alone: its functions are its topics, and lines of code are no sentences.
    """

    def __init__(self, chunk_tokens: int, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer):
        self._tokenizer = tokenizer
        self._budget = text_budget(chunk_tokens, tokenizer)
        self._writer = ChunkWriter(tokenizer, llm_tokenizer)
        self._structure = StructureChunker(chunk_tokens, tokenizer, llm_tokenizer)
        self._prepared: OrderedDict[int, _Prepared] = OrderedDict()

    def texts(self, document: Document, blocks: Blocks) -> list[str]:
        """The sentences of the sections that may have to be cut, in order; they are the chunks' sentences later."""
        if _is_source_code(document):
            return []
        prepared = self._prepare(document, blocks)
        self._prepared[id(blocks)] = prepared
        if len(self._prepared) > MAX_PREPARED:
            self._prepared.popitem(last=False)
        return [document.text[span.start : span.end] for _, spans in prepared.sections for span in spans]

    def chunk(self, document: Document, blocks: Blocks, vectors: Mapping[str, np.ndarray]) -> list[Chunk]:
        """See `ingest.chunkers.Chunker.chunk`."""
        if _is_source_code(document):
            return self._structure.chunk(document, blocks, vectors)
        prepared = self._prepare(document, blocks)
        self._prepared.pop(id(blocks), None)
        pieces = Pieces(document.text, blocks, prepared.ruler, self._budget)
        noise = _noise(document.text, (spans for _, spans in prepared.sections), vectors)
        passages: list[Passage] = []
        for section, sentences in prepared.sections:
            if not sentences:
                passages.append(Passage(section.path, section.start, section.end))
                continue
            divided = pieces.divide(section.start, section.end, LINE_KINDS)
            units = list(_units(divided, sentences, prepared.ruler, self._budget))
            for first in range(0, len(units), MAX_UNITS):
                stretch = units[first : first + MAX_UNITS]
                arrays = _arrays(document.text, stretch, sentences, prepared.ruler, vectors)
                for begin, stop in partition(arrays, self._budget, PENALTY, noise):
                    passages.append(_passage(section.path, stretch[begin:stop], sentences))
        return self._writer.write(document, blocks, prepared.ruler, passages)

    def _prepare(self, document: Document, blocks: Blocks) -> _Prepared:
        held = self._prepared.get(id(blocks))
        if held is not None and held.blocks is blocks and held.document is document:
            return held
        ruler = TokenRuler(document.text, self._tokenizer)
        starts = [block.start for block in blocks.blocks]
        found = []
        for section in sections(blocks, ruler, self._budget):
            sentences: tuple[Span, ...] = ()
            if ruler.cost(section.start, section.end) > WHOLE_SECTION * self._budget:
                sentences = sentences_between(document.text, blocks.blocks, starts, section.start, section.end)
            found.append((section, sentences))
        return _Prepared(document, blocks, ruler, found)


def _is_source_code(document: Document) -> bool:
    return document.markup.startswith("code:")


def _noise(text: str, sentences: Iterable[Sequence[Span]], vectors: Mapping[str, np.ndarray]) -> float:
    """Half the mean squared distance of neighbouring sentences: what sentences of one topic vary by.

    Encoders differ in it, and so do kinds of text.
    """
    distances: list[float] = []
    for spans in sentences:
        found = (vectors[text[span.start : span.end]] for span in spans)
        distances.extend(1.0 - float(one @ other) for one, other in pairwise(found))
    return max(MIN_NOISE, sum(distances) / len(distances)) if distances else 1.0


def _units(pieces: Iterable[Piece], sentences: Sequence[Span], ruler: TokenRuler, budget: int) -> Iterator[_Unit]:
    """The pieces, joined where a sentence goes on from one to the next and both fit the budget."""
    starts = [span.start for span in sentences]
    beginnings = set(starts)
    joined: list[Piece] = []

    def settle() -> Iterator[_Unit]:
        fits = bool(joined) and ruler.cost(joined[0].start, joined[-1].end) <= budget
        for group in [joined] if fits else [[piece] for piece in joined]:
            start, end = group[0].start, group[-1].end
            lead = group[0].lead if ruler.cost(start, end) + group[0].lead.n_tokens <= budget else NO_LEAD
            first, stop = bisect_right(starts, start) - 1, bisect_left(starts, end)
            yield _Unit(start, end, group[0].welcome, lead, first, stop)

    for piece in pieces:
        if piece.start in beginnings:
            yield from settle()
            joined = []
        joined.append(piece)
    yield from settle()


def _arrays(
    text: str, units: Sequence[_Unit], sentences: Sequence[Span], ruler: TokenRuler, vectors: Mapping[str, np.ndarray]
) -> Units:
    """What `partition` reads of the units; they are measured in tokens and in the tokens that their length may hide."""
    sums = [
        np.sum([vectors[text[span.start : span.end]] for span in sentences[unit.first : unit.stop]], axis=0)
        for unit in units
    ]
    starts = [(ruler.count(0, unit.start), unit.start / MAX_CHARS_PER_TOKEN) for unit in units]
    ends = [(ruler.count(0, unit.end), unit.end / MAX_CHARS_PER_TOKEN) for unit in units]
    return Units(
        sums=np.array(sums),
        sizes=np.array([unit.stop - unit.first for unit in units]),
        bonus=np.array([unit.welcome for unit in units]),
        starts=np.array(starts).T,
        ends=np.array(ends).T,
        extra=np.array([unit.lead.n_tokens for unit in units]),
    )


def _passage(path: tuple[str, ...], units: Sequence[_Unit], sentences: Sequence[Span]) -> Passage:
    start, end = units[0].start, units[-1].end
    own = tuple(sentences[units[0].first : units[-1].stop])
    is_whole = own[0].start == start and own[-1].end == end
    return Passage(path, start, end, units[0].lead, own if is_whole else None)

"""Chunks that follow the document's structure: headings, blocks, paragraphs, sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document
from ingest.chunkers.leads import NO_LEAD
from ingest.chunkers.measure import TokenRuler
from ingest.chunkers.passages import ChunkWriter, Passage, text_budget
from ingest.chunkers.pieces import Pieces
from ingest.chunkers.sections import Section, sections
from ingest.structure import Blocks


class StructureChunker:
    """See `ingest.chunkers.Chunker`.

    A chunk stays inside one section, except that small neighbouring sections share a chunk under the headings they
    have in common. A section that doesn't fit is cut into parts of nearly equal length, where it hurts least.
    """

    def __init__(self, chunk_tokens: int, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer):
        self._tokenizer = tokenizer
        self._budget = text_budget(chunk_tokens, tokenizer)
        self._writer = ChunkWriter(tokenizer, llm_tokenizer)

    def texts(self, document: Document, blocks: Blocks) -> list[str]:
        """Nothing: no vectors are needed."""
        return []

    def chunk(self, document: Document, blocks: Blocks, vectors: Mapping[str, np.ndarray]) -> list[Chunk]:
        """See `ingest.chunkers.Chunker.chunk`; `vectors` isn't read."""
        ruler = TokenRuler(document.text, self._tokenizer)
        pieces = Pieces(document.text, blocks, ruler, self._budget)
        passages = (
            passage
            for section in sections(blocks, ruler, self._budget)
            for passage in self._pack(section, pieces, ruler)
        )
        return self._writer.write(document, blocks, ruler, passages)

    def _pack(self, section: Section, pieces_of: Pieces, ruler: TokenRuler) -> Iterator[Passage]:
        """Passages of nearly equal length, cut where it hurts least; the last is not a small rest."""
        cost, path, end = ruler.cost, section.path, section.end
        if cost(section.start, end) <= self._budget:
            yield Passage(path, section.start, end)
            return
        pieces = list(pieces_of.divide(section.start, end))
        i = 0
        while i < len(pieces):
            start, lead = pieces[i].start, pieces[i].lead
            if cost(start, pieces[i].end) + lead.n_tokens > self._budget:
                lead = NO_LEAD
            room = self._budget - lead.n_tokens
            rest = cost(start, end)
            if rest <= room:
                yield Passage(path, start, end, lead)
                return
            wanted = rest / -(-rest // room)
            best, stop, j = float("-inf"), i + 1, i + 1
            while j < len(pieces) and (length := cost(start, pieces[j - 1].end)) <= room:
                score = pieces[j].welcome - abs(length - wanted) / wanted
                if score >= best:
                    best, stop = score, j
                j += 1
            yield Passage(path, start, pieces[stop - 1].end, lead)
            i = stop

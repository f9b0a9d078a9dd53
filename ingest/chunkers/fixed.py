"""Chunks of equal length, without regard to structure: the baseline that the others are measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import groupby

import numpy as np

from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document
from ingest.chunkers.measure import TokenRuler
from ingest.chunkers.passages import ChunkWriter, Passage, text_budget
from ingest.structure import Blocks


class FixedChunker:
    """See `ingest.chunkers.Chunker`.

    A document is cut at word boundaries into windows of nearly equal length, as few as fit `chunk_tokens`. They don't
    overlap: every character lies in exactly one chunk, whichever the chunker. Only groups of blocks are kept apart.
    """

    def __init__(self, chunk_tokens: int, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer):
        self._tokenizer = tokenizer
        self._budget = text_budget(chunk_tokens, tokenizer)
        self._writer = ChunkWriter(tokenizer, llm_tokenizer)

    def texts(self, document: Document, blocks: Blocks) -> list[str]:
        """Nothing: no vectors are needed."""
        return []

    def chunk(self, document: Document, blocks: Blocks, vectors: Mapping[str, np.ndarray]) -> list[Chunk]:
        """See `ingest.chunkers.Chunker.chunk`; `vectors` isn't read. A chunk's headings are those at its beginning."""
        ruler = TokenRuler(document.text, self._tokenizer)
        passages = (
            Passage(blocks.headings_at(start), start, end)
            for first, last in _runs(blocks)
            for start, end in ruler.cut(first, last, self._budget)
        )
        return self._writer.write(document, blocks, ruler, passages)


def _runs(blocks: Blocks) -> Iterator[tuple[int, int]]:
    """Where the longest stretches of one group begin and end."""
    for _, run in groupby(blocks.blocks, key=lambda block: block.group):
        first, *others = run
        yield first.start, (others or [first])[-1].end

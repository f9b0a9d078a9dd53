"""Documents into chunks: one protocol, three ways to choose where to cut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from core.errors import ConfigError
from ingest.chunkers.fixed import FixedChunker
from ingest.chunkers.structure import StructureChunker
from ingest.chunkers.topic import TopicChunker

if TYPE_CHECKING:
    import numpy as np

    from core.tokens import EncoderTokenizer, LlmTokenizer
    from core.types import Chunk, Document
    from ingest.structure import Blocks

CHUNKERS = ("structure", "topic", "fixed")


class Chunker(Protocol):
    """Cuts documents into chunks; holds nothing of one document that another could notice."""

    def texts(self, document: Document, blocks: Blocks) -> list[str]:
        """What the chunker needs vectors of to cut this document; empty where it needs none."""
        ...

    def chunk(self, document: Document, blocks: Blocks, vectors: Mapping[str, np.ndarray]) -> list[Chunk]:
        """The document's chunks in order; every character that isn't whitespace lies in exactly one.

        `vectors` holds the encoder's vector, float32 (dim,), of each of `texts(document, blocks)`.

        A chunk's lead and text take at most `chunk_tokens` encoder tokens (fewer where the encoder's limit asks for
        it), and never more than that limit together with context and special tokens. Blocks of different groups never
        share a chunk. Deterministic.
        """
        ...


def open_chunker(name: str, chunk_tokens: int, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer) -> Chunker:
    """The chunker of that name, one of `CHUNKERS`.

    Raises `ConfigError` for another name.
    """
    known = {"structure": StructureChunker, "topic": TopicChunker, "fixed": FixedChunker}
    if name not in known:
        raise ConfigError(f"Unknown chunker {name!r}; use one of {', '.join(CHUNKERS)}.")
    return known[name](chunk_tokens, tokenizer, llm_tokenizer)

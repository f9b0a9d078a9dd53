"""Documents to cut, chunkers to cut them with, and what holds of every document's chunks."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from core.tokens import EncoderTokenizer, LlmTokenizer
from core.types import Chunk, Document
from ingest.chunkers import open_chunker
from ingest.structure import Blocks, parse


def document(text: str, markup: str = "markdown", title: str = "Title", **more) -> Document:
    return Document("doc", "file:///doc", title, text, "hash", markup, **more)


def paragraph(n_words: int, word: str = "word") -> str:
    return " ".join([word] * n_words) + "."


def hashed(texts: Sequence[str]) -> np.ndarray:
    """Vectors of length 1 that depend on the whole texts, for tests of what holds whatever the vectors are."""
    digests = b"".join(blake2b(text.encode(), digest_size=16).digest() for text in texts)
    vectors = np.frombuffer(digests, dtype=np.uint8).reshape(len(texts), 16).astype(np.float32) - 127.5
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Cutter:
    """Cuts documents with the real tokenizers; vectors are hashed texts unless others are given."""

    def __init__(self, tokenizer: EncoderTokenizer, llm_tokenizer: LlmTokenizer):
        self.tokenizer, self.llm_tokenizer = tokenizer, llm_tokenizer

    def __call__(
        self,
        doc: Document,
        chunk_tokens: int = 200,
        chunker: str = "structure",
        *,
        blocks: Blocks | None = None,
        encode=hashed,
    ) -> list[Chunk]:
        blocks = blocks or parse(doc.text, doc.markup)
        opened = open_chunker(chunker, chunk_tokens, self.tokenizer, self.llm_tokenizer)
        texts = opened.texts(doc, blocks)
        return opened.chunk(doc, blocks, dict(zip(texts, encode(texts), strict=True)))


def check(doc: Document, chunks: Sequence[Chunk], max_tokens: int = 256) -> None:
    """What holds for every document."""
    at = 0
    for position, chunk in enumerate(chunks):
        assert chunk.position == position
        assert doc.text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        assert chunk.start >= at
        assert not doc.text[at : chunk.start].strip()
        assert chunk.encoder_tokens <= max_tokens
        inner = chunk.start
        for span in chunk.sentences:
            assert inner <= span.start < span.end <= chunk.end
            assert not doc.text[inner : span.start].strip()
            inner = span.end
        assert inner == chunk.end
        at = chunk.end
    assert not doc.text[at:].strip()

"""Chunkers (in the making)."""

from ingest.chunk import chunk_document


class _Structure:
    def __init__(self, chunk_tokens, tokenizer, llm_tokenizer):
        self._how = (tokenizer, llm_tokenizer, chunk_tokens)

    def texts(self, document, blocks):
        return []

    def chunk(self, document, blocks, vectors):
        return chunk_document(document, blocks, *self._how)


def open_chunker(name, chunk_tokens, tokenizer, llm_tokenizer):
    return _Structure(chunk_tokens, tokenizer, llm_tokenizer)

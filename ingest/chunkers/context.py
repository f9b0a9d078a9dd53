"""What the encoder reads in front of a chunk's text: title and headings, as much of them as fits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.tokens import EncoderTokenizer

MAX_CONTEXT_TOKENS = 64  # more would weigh heavier than the text in a vector that averages over tokens
MAX_CHARS = 300  # of the title and of the heading path: a title of one endless word is one token
CUT = "…"


class ContextWriter:
    """Writes the contexts of one document's chunks, `Title` and `Heading > Subheading` on two lines."""

    def __init__(self, title: str, tokenizer: EncoderTokenizer):
        self._title = " ".join(title.split())[:MAX_CHARS]
        self._tokenizer = tokenizer
        self._counts: dict[str, int] = {}  # of the contexts of one path at a time
        self._path: tuple[str, ...] | None = None

    def write(self, path: tuple[str, ...], n_text_tokens: int) -> str:
        """The fullest context that the encoder has room for beside `n_text_tokens` tokens of text."""
        room = self._tokenizer.max_tokens - self._tokenizer.n_special_tokens - n_text_tokens
        return self._fullest(path, min(room, MAX_CONTEXT_TOKENS))

    def shorten(self, path: tuple[str, ...], context: str, excess: int) -> str:
        """The fullest context that is at least `excess` tokens shorter than `context`."""
        return self._fullest(path, self.count(context) - excess)

    def _fullest(self, path: tuple[str, ...], limit: int) -> str:
        if path != self._path:
            self._path, self._counts = path, {}
        return next((context for context in self._contexts(path) if self.count(context) <= limit), "")

    def _contexts(self, path: Sequence[str]) -> Iterator[str]:
        """Ever shorter contexts: headings go from the outermost on, then the title from its end."""
        headings = [heading for heading in path if heading != self._title]
        for first in range(len(headings)):
            line = " > ".join([CUT] * (first > 0) + headings[first:])
            if len(line) <= MAX_CHARS:
                yield f"{self._title}\n{line}" if self._title else line
        yield self._title
        words = self._title.split()
        for n_words in (len(words) * 3 // 4, len(words) // 2, len(words) // 4):
            if n_words:
                yield " ".join(words[:n_words]) + CUT

    def count(self, context: str) -> int:
        """Tokens of a context without special tokens."""
        if context not in self._counts:
            self._counts[context] = self._tokenizer.count([context])[0] - self._tokenizer.n_special_tokens
        return self._counts[context]

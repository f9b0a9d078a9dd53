"""Encoder tokens of any stretch of a text, after tokenizing it once."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator

from core.tokens import EncoderTokenizer
from ingest.chunkers.graphemes import boundary_at

WINDOW_CHARS = 50_000  # text given to the tokenizer at once; bounds the memory that its offsets take
# Encoders give one token to a "word" of any length they don't know, and runs of spaces none at all. A chunk is
# bounded in characters too: ordinary text has 4 to 5 characters a token, the sparsest tables about 8.
MAX_CHARS_PER_TOKEN = 10

_NOT_SPACE = re.compile(r"\S")


class TokenRuler:
    """Measures ranges of one text by binary search over the offsets of its tokens.

    The count of a range is exact where its ends lie between words; inside a word it may be off by one or two.
    """

    def __init__(self, text: str, tokenizer: EncoderTokenizer):
        self._text = text
        self._starts = array("I")
        at = 0
        while at < len(text):
            stop = _end_of_window(text, at)
            self._starts.extend([at + start for start, _ in tokenizer.offsets(text[at:stop])])
            at = stop

    def count(self, start: int, end: int) -> int:
        """Tokens that begin in `text[start:end]`."""
        return bisect_left(self._starts, end) - bisect_left(self._starts, start)

    def cost(self, start: int, end: int) -> int:
        """What a range takes of a budget of tokens: its tokens, or its characters where they are out of proportion."""
        return max(self.count(start, end), -(-(end - start) // MAX_CHARS_PER_TOKEN))

    def cut(self, start: int, end: int, budget: int) -> Iterator[tuple[int, int]]:
        """A trimmed range in trimmed parts of nearly equal cost, none above `budget`, cut at whitespace if possible."""
        while (cost := self.cost(start, end)) > budget:
            stop = self.reach(start, end - 1, -(-cost // -(-cost // budget)))
            head = self._text[start:stop].rstrip()
            yield start, start + len(head)
            start = _NOT_SPACE.search(self._text, stop).start()  # there is some: the range is trimmed
        yield start, end

    def reach(self, start: int, end: int, budget: int) -> int:
        """How far a stretch from `start` on goes that costs at most `budget`, ending at whitespace if possible.

        It holds one character at least, and ends at `end` at the latest.
        """
        stop = min(self._position(start, budget), start + budget * MAX_CHARS_PER_TOKEN, end)
        return self._at_whitespace(start, max(stop, start + 1))

    def _position(self, start: int, n_tokens: int) -> int:
        """Where `n_tokens` tokens after `start` end, or the end of the text."""
        index = bisect_left(self._starts, start) + n_tokens
        return self._starts[index] if index < len(self._starts) else len(self._text)

    def _at_whitespace(self, start: int, stop: int) -> int:
        """The last whitespace in the second half of a range, else the last end of a character."""
        if stop >= len(self._text) or self._text[stop].isspace():
            return stop
        words = self._text[(start + stop) // 2 : stop + 1].rsplit(maxsplit=1)
        return stop + 1 - len(words[1]) if len(words) == 2 else boundary_at(self._text, stop, start)


def _end_of_window(text: str, start: int) -> int:
    """A place to divide the text at: whitespace if there is any in the window's second half."""
    stop = start + WINDOW_CHARS
    if stop >= len(text):
        return len(text)
    space = max(text.rfind("\n", start, stop), text.rfind(" ", start, stop))
    return space if space > start + WINDOW_CHARS // 2 else stop

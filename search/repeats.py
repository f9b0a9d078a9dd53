"""What a text says again that stood in better-ranked text already, told by word triples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

# Broder 1997, "On the resemblance and containment of documents": the share of one text's w-shingles (runs of w words)
# that the other holds. Containment, not resemblance: a sentence is a repetition however long the text around it.
SHINGLE_WORDS = 3
# A changed word takes up to three triples away. At .9 a sentence of up to 31 words in which one word differs is kept,
# because that word may be the answer; only whole copies, and long ones with a slip of the pen, are repetitions.
MIN_CONTAINMENT = 0.9
MIN_WORDS = 8  # shorter lines ("return None", a table's row) recur without being copies
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]|\w+")  # scripts without spaces by character

_NUMBER = re.compile(r"\b[^\W\d]*+\d\w*")

Shingle = tuple[str, str, str]


def words_of(text: str) -> list[str]:
    """The text's words without case and punctuation; characters where the script puts no space between words."""
    return _WORD.findall(text.casefold())


class Said:
    """Texts in the order of their rank, asked whether one of them holds another text."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self._holders: dict[Shingle, list[int]] = {}  # of every run of three words, in the order they came
        self._texts: dict[int, str] = {}

    def add(self, key: int, text: str) -> None:
        """Remember a text under a key of the caller's, which must be new."""
        for shingle in _shingles(words_of(text)):
            self._holders.setdefault(shingle, []).append(key)
        self._texts[key] = text

    def holder(self, text: str) -> int | None:
        """The key of the text that holds most of this one, the first of equals; None where this is new.

        A text with a number that the other lacks is never a repetition: copies of a form differ in nothing else.
        """
        words = words_of(text)
        if len(words) < MIN_WORDS:
            return None
        shingles = _shingles(words)
        held = Counter(key for shingle in shingles for key in self._holders.get(shingle, ()))
        for key, n_held in sorted(held.items(), key=lambda entry: (-entry[1], entry[0])):
            if n_held < MIN_CONTAINMENT * len(shingles):
                return None
            if _numbers(text) <= _numbers(self._texts[key]):
                return key
        return None


def _shingles(words: Sequence[str]) -> set[Shingle]:
    return set(zip(words, words[1:], words[2:], strict=False))


def _numbers(text: str) -> set[str]:
    return set(_NUMBER.findall(text.casefold()))

"""Texts as words, for checks that ask which of them two texts share."""

from __future__ import annotations

import re

WORDS = re.compile(r"[぀-ヿ㐀-䶿一-鿿가-힯]|[^\W_]+")  # ideographs and kana singly, else whole words
SHINGLE_WORDS = 3
_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, in their order."""
    return WORDS.findall(text.lower())


def shingles(text: str, size: int = SHINGLE_WORDS) -> set[tuple[str, ...]]:
    """Every run of `size` words of the text, in lower case; a shorter text is one run."""
    words = _WORD.findall(text.lower())
    return set(zip(*(words[k:] for k in range(min(size, len(words)))), strict=False))

"""Sentences by rule, as exact character ranges: the unit of sentence vectors and of cuts inside a block."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from core.types import Span
from ingest.chunkers.graphemes import boundary_at

MIN_CHARS = 30  # a shorter sentence ("See below.") says too little for a vector of its own
MAX_WORDS = 45  # a longer one says several things
MAX_UNSPACED_CHARS = 120  # what takes the place of MAX_WORDS in scripts without spaces
MAX_WORD_CHARS = 40  # a longer run without spaces (an address, base64) counts as several words
_WINDOW_CHARS = 20_000  # a sentence without any end is cut in windows of this many characters, to bound memory

_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_TERMINATORS = ".!?…"
_UNSPACED_TERMINATORS = "。！？｡"
_CLOSERS = "\"'”’»›)\\]}」』）】》〉*_`"
# An ordinary end needs whitespace behind it, an East Asian one doesn't. Runs are matched from their first character
# only and without giving back, so that a megabyte of dots takes linear time.
_END = re.compile(
    rf"(?<![{_TERMINATORS}])[{_TERMINATORS}]++[{_CLOSERS}]*+(?=\s)"
    rf"|(?<![{_UNSPACED_TERMINATORS}])[{_UNSPACED_TERMINATORS}]++[{_CLOSERS}]*+"
    r"|\n[^\S\n]*+(?=\n|(?:[-*+•‣◦·]|\(?\d{1,9}[.)]|\#{1,6})[ \t]|[|>])"
)
_LINE_END = re.compile(r"\n")
_UNIT = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]{{1,{MAX_WORD_CHARS}}}")
_UNSPACED_CHARACTER = re.compile(rf"[{_UNSPACED}]")
_CLAUSE_ENDS = frozenset(",;:—–，；：、،؛)")
_INNER_DOTS = re.compile(r"(?:\w\.)+\w$")  # e.g, i.e, U.S, a.m
_NEXT_WORD = re.compile(r"\s*[\"'“‘«(\[*_`]*(\S)")
_NO_END_AFTER = frozenset(
    re.findall(
        r"\w+",
        """al approx bd bzw ca capt cf ch chap col corp dept dr eds eq eqs ex fig figs gov hon inc jr lt ltd mr mrs ms
        mt nr nos p par pp prof prop ref refs resp rev sec secs sen sgt st thm vgl viz vol vols vs z""",
    )
)

# A unit's share of a full sentence, in whole numbers: 120 characters or 45 words make 360.
_FULL = 360
_SHARE_OF_WORD = _FULL // MAX_WORDS
_SHARE_OF_CHAR = _FULL // MAX_UNSPACED_CHARS
_SURELY_SHORT = 2 * _FULL // (_SHARE_OF_WORD + _SHARE_OF_CHAR)  # characters: no text can count more a character
_EARLIEST_CUT = 0.6  # of the wanted length: how far in front of it a clause end may be to be preferred


def split_sentences(text: str, start: int, end: int, by_line: bool = False) -> tuple[Span, ...]:
    """The sentences of `text[start:end]`: trimmed, rising, together holding every character but whitespace.

    None exceeds 45 words or 120 characters of a script without spaces; one under 30 characters is joined to a
    neighbour where one has room. `by_line` ends a sentence at every newline (code, tables); otherwise only blank lines
    and lines that open a list item, heading, quote or table row do.
    """
    spans = []
    for span in _sentences(text, start, end, by_line):
        spans.extend(_cut(text, span))
    return merge_short(text, spans)


def merge_short(text: str, spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same sentences with those under 30 characters joined to the next one, else to the one before."""
    merged: list[Span] = []
    for span in spans:
        if merged and _is_short(merged[-1]):
            if _fits(text, merged[-1].start, span.end):
                merged[-1] = Span(merged[-1].start, span.end)
                continue
            _join_back(text, merged)
        merged.append(span)
    if merged and _is_short(merged[-1]):
        _join_back(text, merged)
    return tuple(merged)


def _join_back(text: str, merged: list[Span]) -> None:
    """Join the last sentence to the one before it where both fit."""
    if len(merged) > 1 and _fits(text, merged[-2].start, merged[-1].end):
        last = merged.pop()
        merged[-1] = Span(merged[-1].start, last.end)


def _is_short(span: Span) -> bool:
    return span.end - span.start < MIN_CHARS


def _sentences(text: str, start: int, end: int, by_line: bool) -> Iterator[Span]:
    at = start
    for match in (_LINE_END if by_line else _END).finditer(text, start, end):
        stop = match.end()
        if stop <= at or not _is_end(text, match.start(), stop, at):
            continue
        if span := _trim(text, at, stop):
            yield span
        at = stop
    if span := _trim(text, at, end):
        yield span


def _is_end(text: str, mark: int, stop: int, start: int) -> bool:
    """Whether a mark ends a sentence: not in front of a small letter, nor behind an abbreviation or initial."""
    if text[mark] not in _TERMINATORS:
        return True
    following = _NEXT_WORD.match(text, stop, stop + MAX_WORD_CHARS)
    if following and following[1].islower():
        return False
    if text[mark] != "." or text[mark : mark + 2] == "..":
        return True
    words = text[max(start, mark - MAX_WORD_CHARS) : mark].split()
    word = words[-1].lstrip("([\"'“‘«*_") if words else ""
    if len(word) == 1 and word.isalpha():
        return word == "I" or not word.isupper()
    if word.isdigit() and len(words) == 1:
        return False
    return word.lower() not in _NO_END_AFTER and not _INNER_DOTS.search(word)


def _cut(text: str, span: Span) -> Iterator[Span]:
    """A sentence in parts of nearly equal length, cut behind clause punctuation where it is near."""
    while span.end - span.start > _WINDOW_CHARS:
        stop = span.start + _WINDOW_CHARS
        space = max(text.rfind(" ", span.start, stop), text.rfind("\n", span.start, stop))
        stop = space if space > span.start + _WINDOW_CHARS // 2 else boundary_at(text, stop, span.start)
        if head := _trim(text, span.start, stop):
            yield from _cut_window(text, head)
        rest = _trim(text, stop, span.end)
        if rest is None:
            return
        span = rest
    yield from _cut_window(text, span)


def _cut_window(text: str, span: Span) -> Iterator[Span]:
    if _fits(text, span.start, span.end):
        yield span
        return
    starts, ends, shares = _units(text, span.start, span.end)
    total, done, start = shares[-1], 0, span.start
    while total - done > _FULL:
        wanted = done + (total - done) / -(-(total - done) // _FULL)
        last = bisect_right(shares, done + _FULL) - 1
        first = bisect_left(shares, done + (wanted - done) * _EARLIEST_CUT)
        clauses = [i for i in range(first, last + 1) if text[ends[i] - 1] in _CLAUSE_ENDS]
        if clauses:
            at = min(clauses, key=lambda i: abs(shares[i] - wanted))
        else:
            at = max(first, bisect_right(shares, wanted) - 1)
        done, end, following = shares[at], ends[at], starts[at + 1]
        if end == following:  # inside a word, or between two characters of a script without spaces
            end = following = boundary_at(text, end, start)
        yield Span(start, end)
        start = following
    yield Span(start, span.end)


def _fits(text: str, start: int, end: int) -> bool:
    """Whether a range is within the longest sentence allowed."""
    if end - start <= _SURELY_SHORT:
        return True
    stretch = text[start:end]
    is_spaced = stretch.isascii() or not _UNSPACED_CHARACTER.search(stretch)
    if is_spaced and len(stretch.split()) + len(stretch) // MAX_WORD_CHARS <= MAX_WORDS:
        return True  # at least as many as its units: spares finding each of them in nearly all sentences
    return _units(text, start, end)[2][-1] <= _FULL


def _units(text: str, start: int, end: int) -> tuple[list[int], list[int], list[int]]:
    """Starts and ends of all words, or characters of an unspaced script, and their shares summed up."""
    starts, ends, shares, total = [], [], [], 0
    for match in _UNIT.finditer(text, start, end):
        total += _SHARE_OF_CHAR if match[0] >= "\u0e00" and len(match[0]) == 1 else _SHARE_OF_WORD
        starts.append(match.start())
        ends.append(match.end())
        shares.append(total)
    return starts, ends, shares


def _trim(text: str, start: int, end: int) -> Span | None:
    """The range without whitespace at its ends; None where nothing is left."""
    stretch = text[start:end]
    stripped = stretch.lstrip()
    if not stripped:
        return None
    return Span(end - len(stripped), end - len(stripped) + len(stripped.rstrip()))

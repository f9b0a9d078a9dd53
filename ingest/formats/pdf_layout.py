"""Lines with their places and fonts become blocks of Markdown: headings, paragraphs, lists, code, tables."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ingest.formats.content import fence, one_line, table

MAX_HEADING_CHARS = 120  # a longer line in large print is an abstract or a quotation
MIN_REPEATS = 3  # pages that must share a running head before it is left out
HEAD_GAP = 2.0  # of the font size: a running head whose text changes stands farther than that from the text
HEADING_SIZE = 1.15  # of the body's font size
CONTENTS_SHARE = 0.4  # of a page's lines: where as many end in dots and a number it is a table of contents
FULL_LINE = 0.8  # of the width of its page's text: a line that ends before it ends there on purpose
PARAGRAPH_GAP = 1.3  # of the page's usual distance between lines
MAX_CELL_CHARS = 40  # on average; what is longer is text in columns, not a table

_HYPHEN = re.compile(
    "[\x02\u00ad\ufffe\uffff]\\s*"
)  # what stands for a hyphen that only divides a word at a line's end
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_NUMBERS = re.compile(r"^(\d{1,6})\b|\b(\d{1,6})$")
_ROMAN = re.compile(r"[ivxlc]{1,8}$", re.I)
_LEADER = re.compile(r"(?:\s?\.){4,}\s*\w{0,6}$")
_BULLET = re.compile(r"[•·◦▪‣●○■□–—\u2043\uf0b7\uf0a7*-]\s+(?=\S)")
_ITEM = re.compile(r"\(?(?:\d{1,3}|[a-z])[.)]\s+\S")
_NUMBERING = re.compile(r"^(?:chapter|section|appendix|part)?\s*(?:[A-Z]|\d+)?(?:\.\d+)*[.:]?\s+", re.I)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page: its edges and the bottom of its first character in points, its font, its cells.

    `cells` are the left edges, right edges and texts of its parts, where wide gaps divide it.
    """

    text: str
    left: float
    right: float
    bottom: float
    size: float
    is_mono: bool = False
    is_bold: bool = False
    cells: tuple[tuple[float, float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """A bookmark: the level (from 1), title and page (from 0) of a section."""

    level: int
    title: str
    page: int


def read_layout(pages: Sequence[Sequence[Line]], marks: Sequence[Mark]) -> Iterator[list[str]]:
    """Each page's blocks of Markdown.

    Headings are the lines that bookmarks name, and lines in larger print than the body's; where there are no bookmarks,
    short bold lines too.
    """
    kept = [list(page) for page in _without_running_heads(pages)]
    if sum(map(_is_contents, kept)) < sum(map(bool, kept)):
        kept = [[] if _is_contents(page) else page for page in kept]
    levels = _Levels(kept, marks)
    for number, page in enumerate(kept):
        yield list(_blocks(page, levels.on(number)))


def clean(text: str) -> str:
    """Text with divided words joined, ligatures written out, and without control characters."""
    return _CONTROL.sub("", _HYPHEN.sub("", text).translate(_LIGATURES)).strip()


def _without_running_heads(pages: Sequence[Sequence[Line]]) -> Iterator[list[Line]]:
    """The pages without the outermost lines that several of them share, and without page numbers."""
    body = _body_size(pages)
    edges = [_edges(page) for page in pages]
    keys = [
        {id(line): set(_running_keys(side, i, number, body)) for side in sides for i, line in enumerate(side)}
        for number, sides in enumerate(edges)
    ]
    repeats = Counter(key for page_keys in keys for key in set().union(*page_keys.values()))
    for page, sides, page_keys in zip(pages, edges, keys, strict=True):
        dropped: set[int] = set()
        for side in sides:
            for line in side:
                if not any(repeats[key] >= _n_needed(key, len(pages)) for key in page_keys[id(line)]):
                    break
                dropped.add(id(line))
        yield [line for line in page if id(line) not in dropped]


def _body_size(pages: Sequence[Sequence[Line]]) -> float:
    """The font size that most of the text is set in, code apart."""
    sizes: Counter[float] = Counter()
    for line in (line for page in pages for line in page if not line.is_mono):
        sizes[line.size] += len(line.text)
    return max(sizes, key=lambda size: (sizes[size], -size), default=0.0)


def _edges(page: Sequence[Line]) -> tuple[list[Line], list[Line]]:
    """The three topmost lines and the three lowest, the outermost first."""
    ordered = sorted(page, key=lambda line: -line.bottom)
    return ordered[:3], ordered[::-1][:3]


def _running_keys(side: Sequence[Line], i: int, page: int, body: float) -> Iterator[tuple]:
    """What a running head has in common with those of other pages: its text, its place, or its page number."""
    line = side[i]
    text = clean(line.text).strip("-–—|·[]() ")
    band = round(line.bottom / 3)
    if i == 2 or len(text) > MAX_HEADING_CHARS:
        return
    yield ("text", text)
    if _ROMAN.match(text):
        yield ("roman", band)
    for number in [int(found[1] or found[2]) - page for found in _NUMBERS.finditer(text)]:
        yield ("place", band, number)
        yield ("number", _NUMBERS.sub("", text).strip(), number)
    is_apart = i + 1 < len(side) and abs(line.bottom - side[i + 1].bottom) > HEAD_GAP * line.size
    if is_apart and line.size <= body:
        yield ("apart", band)


def _n_needed(key: tuple, n_pages: int) -> float:
    """On how many pages a key makes a running head; that small print stands apart at one place says little."""
    return max(MIN_REPEATS, 5, n_pages / 2) if key[0] == "apart" else MIN_REPEATS


def _is_contents(page: Sequence[Line]) -> bool:
    n_leaders = sum(1 for line in page if _LEADER.search(line.text))
    return n_leaders >= 4 and n_leaders >= CONTENTS_SHARE * len(page)


class _Levels:
    """The heading level of lines, from bookmarks and from sizes of print."""

    def __init__(self, pages: Sequence[Sequence[Line]], marks: Sequence[Mark]):
        self._body = _body_size(pages)
        self._marked: dict[int, int] = {}  # level by the id of a line; 0 for one that continues a title
        self._pages = pages
        by_size: defaultdict[float, list[int]] = defaultdict(list)
        for mark in marks:
            for line, level in self._find(mark):
                self._marked[id(line)] = level
                if level:
                    by_size[line.size].append(level)
        self._has_marks = bool(self._marked)
        self._by_size = {size: sorted(levels)[len(levels) // 2] for size, levels in by_size.items()}
        self._fill_sizes({line.size for page in pages for line in page if not line.is_mono})

    def on(self, page: int) -> dict[int, int]:
        """Levels of a page's headings by the id of their lines; 0 for a line that continues the heading above it."""
        found: dict[int, int] = {}
        last: Line | None = None
        for line in self._pages[page]:
            level = self._marked.get(id(line), self._level(line))
            is_after_title = last is not None and id(last) in found
            if level is not None and is_after_title and id(line) not in self._marked and _is_next(last, line):
                level = 0
            elif level and is_after_title and id(line) in self._marked and id(last) not in self._marked:
                found[id(last)], level = level, 0  # "Chapter 1" above the title that the bookmark spells
            if level is not None:
                found[id(line)] = level
            last = line
        return found

    def _level(self, line: Line) -> int | None:
        text = clean(line.text)
        is_title = 1 < len(text) <= MAX_HEADING_CHARS and not text.endswith((",", ";")) and any(map(str.isalpha, text))
        if not is_title or line.is_mono or _BULLET.match(text) or _LEADER.search(text):
            return None
        if line.size >= HEADING_SIZE * self._body:
            return self._by_size.get(line.size)
        if line.is_bold and not self._has_marks and line.size >= self._body and not text.endswith((".", ":")):
            return min(max(self._by_size.values(), default=0) + 1, 6)
        return None

    def _fill_sizes(self, sizes: set[float]) -> None:
        """Levels for the sizes that no bookmark tells: as the nearest larger size's, one deeper."""
        level = 0
        for size in sorted((size for size in sizes if size >= HEADING_SIZE * self._body), reverse=True):
            level = self._by_size.setdefault(size, min(level + 1, 6))

    def _find(self, mark: Mark) -> Iterator[tuple[Line, int]]:
        """The lines on the bookmark's page that spell its title, with their levels; nothing where none do."""
        wanted = _letters(mark.title)
        page = self._pages[mark.page] if mark.page < len(self._pages) else ()
        for i in range(len(page) if wanted else 0):
            if id(page[i]) in self._marked:
                continue
            spelled = ""
            for n_lines in range(1, 4):
                if i + n_lines > len(page):
                    break
                spelled = f"{spelled} {page[i + n_lines - 1].text}"
                if wanted in (_letters(spelled), _letters(_NUMBERING.sub("", clean(spelled)))):
                    yield page[i], mark.level
                    yield from ((line, 0) for line in page[i + 1 : i + n_lines])
                    return


def _letters(text: str) -> str:
    return "".join(character for character in clean(text).casefold() if character.isalnum())


def _is_next(last: Line, line: Line) -> bool:
    """Whether a line continues the heading above it: the same print, no more than a line below."""
    return last.size == line.size and last.is_bold == line.is_bold and 0 < last.bottom - line.bottom < 2 * line.size


def _blocks(page: Sequence[Line], levels: dict[int, int]) -> Iterator[str]:
    """The blocks of a page's lines in order."""
    gap = _usual_gap(page)
    left = min((line.left for line in page), default=0.0)
    margin = left + FULL_LINE * (max((line.right for line in page), default=0.0) - left)
    i = 0
    while i < len(page):
        line = page[i]
        stop = i + 1
        if id(line) in levels:
            while stop < len(page) and levels.get(id(page[stop])) == 0:
                stop += 1
            title = one_line(" ".join(clean(part.text) for part in page[i:stop]))
            yield "#" * max(1, min(levels[id(line)], 6)) + " " + title
        elif (n_rows := _n_rows(page, i, levels)) >= MIN_REPEATS:
            stop = i + n_rows
            yield table([[clean(cell) for _, _, cell in row.cells] for row in page[i:stop]])
        elif line.is_mono and not _continues(page, i, gap, margin):
            while stop < len(page) and page[stop].is_mono and id(page[stop]) not in levels:
                stop += 1
            is_word = stop == i + 1 and len(line.text.split()) == 1  # a term that is explained, not a program
            yield clean(line.text) if is_word else fence(_code(page[i:stop], gap))
        else:
            while stop < len(page) and id(page[stop]) not in levels and _continues(page, stop, gap, margin):
                stop += 1
            yield _paragraph(page[i:stop], margin)
        i = stop


def _usual_gap(page: Sequence[Line]) -> float:
    """The commonest distance between a line and the next, in points."""
    gaps = Counter(
        round(above.bottom - below.bottom)
        for above, below in pairwise(page)
        if 0 < above.bottom - below.bottom < 4 * above.size
    )
    return max(gaps, key=lambda gap: (gaps[gap], -gap), default=0)


def _continues(page: Sequence[Line], i: int, gap: float, margin: float) -> bool:
    """Whether a line belongs to the paragraph that the line above it is part of.

    A line of code does only where the line above runs to the margin, so that it had to be wrapped.
    """
    if i == 0:
        return False
    above, line = page[i - 1], page[i]
    if line.is_mono and not above.is_mono and above.right < margin:
        return False
    distance = above.bottom - line.bottom
    text = clean(line.text)
    if _BULLET.match(text) or (_ITEM.match(text) and distance > 0):
        return False
    is_near = 0 <= distance <= PARAGRAPH_GAP * max(gap, line.size)
    is_divided = _HYPHEN.search(above.text) is not None  # PDFium gives both halves, and what follows, as one line
    is_like = abs(above.size - line.size) < 0.5 or line.is_mono != above.is_mono
    is_indented = line.left > above.left + line.size and clean(above.text).endswith((".", "!", "?", ":"))
    return (is_near or (is_divided and 0 <= distance <= 2.2 * max(gap, line.size))) and is_like and not is_indented


def _paragraph(lines: Sequence[Line], margin: float) -> str:
    """The lines as running text; a line that ends well before the margin keeps its end."""
    parts = []
    for line in lines:
        text = clean(line.text)
        parts += [text, " " if line.right >= margin else "\n"]
    text = "".join(parts[:-1])
    bullet = _BULLET.match(text)
    return "- " + text[bullet.end() :].replace("\n", "\n  ") if bullet else text


def _code(lines: Sequence[Line], gap: float) -> str:
    """Lines of code with the indentation and blank lines that their places tell."""
    left = min(line.left for line in lines)
    width = max((line.right - line.left) / max(1, len(line.text)) for line in lines) or 1.0
    parts = []
    for i, line in enumerate(lines):
        if i and gap and lines[i - 1].bottom - line.bottom > 1.6 * gap:
            parts.append("")
        parts.append(" " * min(80, round((line.left - left) / width)) + _CONTROL.sub("", line.text).rstrip())
    return "\n".join(parts)


def _n_rows(page: Sequence[Line], i: int, levels: dict[int, int]) -> int:
    """How many lines from one on are rows of a table: as many cells in each, their left or right edges in line."""
    rows = []
    for line in page[i:]:
        if len(line.cells) < 2 or id(line) in levels or _LEADER.search(line.text):
            break
        if rows and (len(rows[0].cells) != len(line.cells) or not _are_aligned(rows[-1], line)):
            break
        rows.append(line)
    cells = [cell for row in rows for _, _, cell in row.cells]
    return len(rows) if cells and sum(map(len, cells)) <= MAX_CELL_CHARS * len(cells) else 0


def _are_aligned(one: Line, other: Line) -> bool:
    def is_close(a: float, b: float) -> bool:
        return abs(a - b) <= one.size / 2

    pairs = zip(one.cells, other.cells, strict=True)
    return all(
        is_close(a[0], b[0]) or is_close(a[1], b[1]) or is_close((a[0] + a[1]) / 2, (b[0] + b[1]) / 2) for a, b in pairs
    )

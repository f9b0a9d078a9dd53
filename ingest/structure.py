"""The blocks that a text consists of (headings, paragraphs, lists, code, tables), with exact offsets."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

MAX_TITLE_CHARS = 200  # a longer line isn't a heading; it also bounds the work that patterns do on it
MIN_UNDERLINE = 3  # shorter runs are bullets, dashes and smileys
UNDERLINES = frozenset("=-~^*\"#+`:.'_")  # what reStructuredText authors underline titles with

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`]*)$")
_ITEM = re.compile(r"[ \t]*(?:[-*+•‣◦·]|\(?\d{1,9}[.)]|\(?[a-zA-Z]\)|#\.)[ \t]+\S")
_INTERRUPTING_ITEM = re.compile(r"[ \t]*(?:[-*+•‣◦]|\(?1[.)])[ \t]+\S")  # a wrapped "1986. It was…" is no list
_DIRECTIVE = re.compile(r"[ \t]*\.\. (?:code|code-block|sourcecode|parsed-literal|testcode|doctest)::")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()]*\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of text of one kind, trimmed of whitespace; `level` and `title` are a heading's.

    `kind` is "heading", "paragraph", "list", "code" or "table". Blocks of different `group` never share a chunk;
    text that many documents share gets a group of its own.
    """

    kind: str
    start: int
    end: int
    level: int = 0
    title: str = ""
    group: str = ""


@dataclass(frozen=True)
class Blocks:
    """All blocks of a text in order; every character that isn't whitespace lies in exactly one.

    `sections` are offsets, rising from 0, at which the path of sections changes, each with the path from there on; None
    where headings make the sections.
    """

    blocks: tuple[Block, ...]
    sections: tuple[tuple[int, tuple[str, ...]], ...] | None = None

    def headings_at(self, offset: int) -> tuple[str, ...]:
        """Titles of the sections around an offset, outermost first; a heading's own line is inside its section."""
        starts, paths = self._paths
        index = bisect_right(starts, offset) - 1
        return paths[index] if index >= 0 else ()

    @cached_property
    def _paths(self) -> tuple[list[int], list[tuple[str, ...]]]:
        if self.sections is not None:
            return [start for start, _ in self.sections], [path for _, path in self.sections]
        starts: list[int] = []
        paths: list[tuple[str, ...]] = []
        open_sections: list[Block] = []
        for block in self.blocks:
            if block.kind == "heading":
                while open_sections and open_sections[-1].level >= block.level:
                    open_sections.pop()
                open_sections.append(block)
                starts.append(block.start)
                paths.append(tuple(section.title for section in open_sections))
        return starts, paths


def parse(text: str, markup: str = "text") -> Blocks:
    """The blocks of a text whose structure is written as `markup`: "markdown", "text" for plain and reST, or "code:"
    with a language.

    Takes time linear in the length of the text.
    """
    if markup.startswith("code:"):
        from ingest.syntax import parse_code  # builds on this module

        return parse_code(text, markup.removeprefix("code:"))
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    parser = _Parser(lines, markup == "markdown")
    blocks = []
    index = 0
    while index < len(lines):
        if not lines[index] or lines[index].isspace():
            index += 1
            continue
        kind, level, title, stop = parser.next_block(index)
        last = stop - 1
        while not lines[last].strip():
            last -= 1
        start = starts[index] + _indent(lines[index])
        blocks.append(Block(kind, start, starts[last] + len(lines[last].rstrip()), level, title))
        index = stop
    return Blocks(tuple(blocks))


class _Parser:
    """Reads one block at a time; remembers reST underline styles and a `::` that announces a literal block."""

    def __init__(self, lines: Sequence[str], is_markdown: bool):
        self.lines = lines
        self.is_markdown = is_markdown
        self._styles: dict[tuple[str, bool], int] = {}
        self._literal_indent: int | None = None  # indent of the paragraph that ended in `::`

    def next_block(self, index: int) -> tuple[str, int, str, int]:
        """Kind, heading level, heading title and the line after the block that starts at a line."""
        lines, line = self.lines, self.lines[index]
        literal_indent, self._literal_indent = self._literal_indent, None
        if literal_indent is not None and _indent(line) > literal_indent:
            return "code", 0, "", _end_of_indented(lines, index, literal_indent)
        heading = self._heading(index)
        if heading:
            return "heading", *heading
        kind, stop = self._other_block(index)
        if not self.is_markdown and lines[stop - 1].rstrip().endswith("::"):
            self._literal_indent = _indent(lines[stop - 1])
        return kind, 0, "", stop

    def _other_block(self, index: int) -> tuple[str, int]:
        lines, line = self.lines, self.lines[index]
        if fence := _FENCE.match(line[:MAX_TITLE_CHARS]):
            return "code", _end_of_fence(lines, index, fence[1])
        if stop := _end_of_table(lines, index):
            return "table", stop
        if self.is_markdown and _width_of_indent(line) >= 4:
            return "code", _end_of_indented(lines, index, 3)
        if not self.is_markdown and _DIRECTIVE.match(line):
            return "code", _end_of_indented(lines, index, _indent(line))
        if line.lstrip().startswith(">>> "):
            return "code", _end_of_paragraph(lines, index)
        if _ITEM.match(line):
            return "list", self._end_of_list(index)
        stop = index + 1
        while stop < len(lines) and not self._interrupts(stop):
            stop += 1
        return "paragraph", stop

    def _heading(self, index: int) -> tuple[int, str, int] | None:
        """Level, title and following line of the heading that starts at a line, if one does."""
        lines, line = self.lines, self.lines[index]
        if len(line) > MAX_TITLE_CHARS:
            return None
        if self.is_markdown:
            if line.lstrip().startswith("#") and (atx := _ATX.match(line)):
                title = _clean_title(atx[2] or "")
                return (len(atx[1]), title, index + 1) if title else None
            rule = _rule(lines, index + 1)
            if rule in ("=", "-") and not _is_structural(line):
                return 1 if rule == "=" else 2, _clean_title(line), index + 2
            return None
        overline = _rule(lines, index)
        title_at = index + 1 if overline else index
        underline = _rule(lines, title_at + 1)
        if not underline or (overline and overline != underline):
            return None
        title = lines[title_at].strip()
        is_fitting = 0 < len(title) <= len(lines[title_at + 1].rstrip()) and not _rule(lines, title_at)
        if not is_fitting or (not overline and (line[:1].isspace() or _is_structural(line))):
            return None
        level = self._styles.setdefault((underline, bool(overline)), len(self._styles) + 1)
        return level, title, title_at + 2

    def _interrupts(self, index: int) -> bool:
        """Whether a line ends the paragraph above it."""
        line = self.lines[index]
        head = line[:MAX_TITLE_CHARS].lstrip()
        if not head:
            return not line.strip()
        if head[0] in "`~" and _FENCE.match(line[:MAX_TITLE_CHARS]):
            return True
        if head[0] == "#" and self.is_markdown and len(line) <= MAX_TITLE_CHARS and _ATX.match(line):
            return True
        return bool(_INTERRUPTING_ITEM.match(line)) or (head[0] in "|+" and bool(_end_of_table(self.lines, index)))

    def _end_of_list(self, index: int) -> int:
        """The line after a list's last item and its continuation lines."""
        lines, indent = self.lines, _indent(self.lines[index])
        index += 1
        after_blank = False
        while index < len(lines):
            line = lines[index]
            if not line or line.isspace():
                after_blank = True
            else:
                is_item = _indent(line) >= indent and bool(_ITEM.match(line))
                is_deeper = _indent(line) > indent
                if not (is_item or is_deeper) and (after_blank or self._interrupts(index) or self._heading(index)):
                    break
                after_blank = False
            index += 1
        return index


def _rule(lines: Sequence[str], index: int) -> str:
    """The character that a line repeats as a title's under- or overline, else the empty string."""
    line = lines[index].rstrip() if index < len(lines) and len(lines[index]) <= 2 * MAX_TITLE_CHARS else ""
    is_rule = len(line) >= MIN_UNDERLINE and line[0] in UNDERLINES and line == line[0] * len(line)
    return line[0] if is_rule else ""


def _is_structural(line: str) -> bool:
    """Whether a line opens a list, quote or table, so that dashes below it don't make it a title."""
    return bool(_ITEM.match(line)) or line.lstrip()[:1] in ("|", ">", "+") or bool(_FENCE.match(line))


def _end_of_fence(lines: Sequence[str], index: int, fence: str) -> int:
    """The line after a fenced block; an open fence reaches to the end of the text."""
    for at in range(index + 1, len(lines)):
        line = lines[at].strip() if len(lines[at]) <= MAX_TITLE_CHARS else ""
        if len(line) >= len(fence) and line == fence[0] * len(line):
            return at + 1
    return len(lines)


def _end_of_table(lines: Sequence[str], index: int) -> int:
    """The line after a pipe, grid or simple table that starts at a line; 0 where none does."""
    line = lines[index]
    first = line[:MAX_TITLE_CHARS].lstrip()[:1]
    if first == "+" and _consists_of(line, "+-= \t") and line.rstrip().endswith("+") and len(line.strip()) > 2:
        stop = index + 1
        while stop < len(lines) and lines[stop].lstrip()[:1] in ("+", "|"):
            stop += 1
        return stop
    if first == "=" and _consists_of(line, "= \t") and len(line.split()) > 1:
        return _end_of_paragraph(lines, index)
    has_delimiters = index + 1 < len(lines) and "|" in lines[index + 1] and "-" in lines[index + 1]
    if has_delimiters and "|" in line and _consists_of(lines[index + 1], "|-: \t"):
        stop = index + 2
        while stop < len(lines) and "|" in lines[stop]:
            stop += 1
        return stop
    return 0


def _end_of_indented(lines: Sequence[str], index: int, indent: int) -> int:
    """The line after the lines that are blank or indented by more than `indent`, the first one included."""
    stop = last = index + 1
    while stop < len(lines):
        line = lines[stop]
        if line and not line.isspace():
            if _width_of_indent(line) <= indent:
                break
            last = stop + 1
        stop += 1
    return last


def _end_of_paragraph(lines: Sequence[str], index: int) -> int:
    while index < len(lines) and lines[index].strip():
        index += 1
    return index


def _consists_of(line: str, characters: str) -> bool:
    return not line.strip(characters)


def _indent(line: str) -> int:
    """Characters in front of the line's first character that isn't whitespace."""
    return len(line) - len(line.lstrip())


def _width_of_indent(line: str) -> int:
    """Columns of indentation, tabs reaching to the next multiple of four."""
    return len(line[: _indent(line)].expandtabs(4))


def _clean_title(title: str) -> str:
    """A heading's text without Markdown's links, emphasis and code marks."""
    return _LINK.sub(r"\1", title).replace("`", "").replace("**", "").replace("__", "").strip().strip("*").strip()

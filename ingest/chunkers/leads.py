"""What a part of a divided table or of divided code must repeat to be understood: header rows, signature lines."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from core.types import Span
from ingest.chunkers.measure import TokenRuler

MAX_SHARE = 0.25  # of a chunk: a lead is there for what follows it
MAX_HEADER_ROWS = 4
TAB_WIDTH = 4

_CLOSING = re.compile(r"[)\]}]|`{3}|~{3}")  # opens no scope of its own
_MAX_RULE_CHARS = 1000  # of a line that are looked at to see whether it is a rule


@dataclass(frozen=True, slots=True)
class Lead:
    """The text that a chunk repeats in front of its own, and its encoder tokens."""

    text: str = ""
    n_tokens: int = 0


NO_LEAD = Lead()


def write_lead(text: str, lines: Iterable[Span], ruler: TokenRuler, limit: int) -> Lead:
    """Lines one below the other, as many as fit `limit` tokens; the first is cut where it alone is too long."""
    parts: list[str] = []
    n_tokens = 0
    for line in lines:
        cost = ruler.cost(line.start, line.end)
        if n_tokens + cost > limit:
            if not parts:
                end = ruler.reach(line.start, line.end, limit)
                parts, n_tokens = [text[line.start : end].rstrip()], ruler.cost(line.start, end)
            break
        parts.append(text[line.start : line.end])
        n_tokens += cost
    lead = "\n".join(parts)
    return Lead(lead, n_tokens) if lead.strip() else NO_LEAD


def header_rows(text: str, start: int, end: int) -> tuple[list[Span], int]:
    """The lines of a table that name its columns, without rules, and where its rows begin.

    They are those between the rules of a grid or simple table, else the first line.
    """
    rows: list[Span] = []
    at, n_rules = start, 0
    opens_with_rule = _is_rule(text, _line(text, start, end))
    while at < end and len(rows) <= MAX_HEADER_ROWS:
        line = _line(text, at, end)
        if _is_rule(text, line):
            n_rules += 1
            if rows:
                return rows, min(line.end + 1, end)
        elif rows and not opens_with_rule:
            return rows, at
        else:
            rows.append(line)
        at = line.end + 1
    return rows[:1], (rows[0].end + 1 if rows else start)


class Scopes:
    """The lines around an offset that open its scopes, by indentation: `class A:`, `def f():`, outermost first.

    Offsets must rise; all of them together take time linear in the text between the first and the last.
    """

    def __init__(self, text: str, start: int):
        self._text = text
        self._at = text.rfind("\n", 0, start) + 1
        self._open: list[tuple[int, Span]] = []

    def around(self, offset: int, end: int) -> list[Span]:
        """The lines that enclose the line at `offset`, by rising indentation."""
        while self._at < end:
            line = _line(self._text, self._at, end)
            if line.end >= offset:
                break
            self._take(line)
            self._at = line.end + 1
        indent = self._indent(_line(self._text, self._at, end)) if self._at < end else 0
        return [line for width, line in self._open if width < indent]

    def _take(self, line: Span) -> None:
        first = self._first(line)
        if first == line.end or _CLOSING.match(self._text, first):
            return
        indent = self._indent(line)
        while self._open and self._open[-1][0] >= indent:
            self._open.pop()
        self._open.append((indent, line))

    def _first(self, line: Span) -> int:
        """Where the line's first visible character stands."""
        stretch = self._text[line.start : line.end]
        return line.end - len(stretch.lstrip())

    def _indent(self, line: Span) -> int:
        return len(self._text[line.start : self._first(line)].expandtabs(TAB_WIDTH))


def _line(text: str, start: int, end: int) -> Span:
    """The line from `start` on, without its newline."""
    stop = text.find("\n", start, end)
    return Span(start, end if stop < 0 else stop)


def _is_rule(text: str, line: Span) -> bool:
    """Whether a line draws a border: `|---|:-:|`, `+====+`."""
    head = text[line.start : min(line.end, line.start + _MAX_RULE_CHARS)]
    return not head.strip("-=+|: \t") and ("-" in head or "=" in head)

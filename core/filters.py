"""Filters over chunks: `lang = "en" and year >= 2020 and source in ("a", "b")`, parsed once, run by the engine.

or_filter   := and_filter ("or" and_filter)*
and_filter  := not_filter ("and" not_filter)*
not_filter  := "not" not_filter | "(" or_filter ")" | comparison
comparison  := field ("=" | "!=" | "<" | "<=" | ">" | ">=") value | field ["not"] "in" "(" value ("," value)* ")"
field       := name | "text" | 'text', the latter for names that aren't a word
value       := "text" | 'text' | number | true | false
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from core.errors import InputError

# Fields that every chunk has, by the key they are stored under; all others are metadata, stored under `meta.`.
BUILT_IN = {"document_id": "document_id", "uri": "uri", "title": "title", "page": "page", "headings": "headings"}

# Where a chunk names its metadata fields that are true, and those that are false. Yes-or-no fields are matched there
# as words: the embedded engine's Python binding (0.9) takes True for the number 1, which equals no stored value.
TRUE_FIELDS, FALSE_FIELDS = "yes", "no"

# Names of metadata fields that an engine can index: others hold what its paths are made of, and have to be quoted.
INDEXABLE = re.compile(r"[\w-]+")
_UNQUOTABLE = re.compile(r'["\\]')

MAX_DEPTH = 32  # of parentheses and `not`: people nest a few, and engines recurse over what they are given
MAX_TOLD, MAX_TOLD_CHARACTERS = 40, 40  # names of fields in a message
MAX_INTEGER = 2**63 - 1  # what the engines store

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Comparison:
    """`key operator value`, with operator one of = < <= > >=."""

    key: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """`key in values`."""

    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a filter; a chunk that lacks the field passes."""

    part: Filter


@dataclass(frozen=True, slots=True)
class All:
    """Every part must hold."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part must hold."""

    parts: tuple[Filter, ...]


Filter = Comparison | OneOf | Not | All | Some

# What other languages write for the same.
_FOREIGN = {"==": "=", "<>": "!=", "≠": "!=", "=>": ">=", "=<": "<=", "≥": ">=", "≤": "<=", "&&": "and", "||": "or"}

_TOKEN = re.compile(r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
                    r"""|(?P<operator>==|<>|=>|=<|≠|≥|≤|<=|>=|!=|=|<|>|\(|\)|,)"""
                    r"""|(?P<number>-?\d+(?:\.\d+)?(?![\w.]))|(?P<word>[^\s"'<>=!(),]+))""")  # fmt: skip


def parse_filter(expression: str, fields: Collection[str]) -> Filter:
    """The filter that `expression` spells; `fields` are the metadata fields that the index knows.

    Raises `InputError` with the place of a syntax error, or the known fields for an unknown one.
    """
    parser = _Parser(expression, fields)
    parsed = parser.either()
    if parser.peek() is not None:
        parser.fail("expected 'and', 'or' or the end")
    return parsed


class _Parser:
    def __init__(self, expression: str, fields: Collection[str]):
        self.expression = expression
        self.fields = fields
        self.tokens: list[tuple[str, str, int]] = []
        self.at = 0
        self.depth = 0
        position = 0
        end = len(expression.rstrip())
        while position < end:
            match = _TOKEN.match(expression, position)
            if match is None:
                self.refuse(position)
            if match[match.lastgroup] in _FOREIGN:
                token, at = match[match.lastgroup], match.start(match.lastgroup) + 1
                raise InputError(f"Filter: write {_FOREIGN[token]!r} for {token!r} at character {at}.")
            self.tokens.append((match.lastgroup or "", match[match.lastgroup or 0], match.start(match.lastgroup or 0)))
            position = match.end()

    def refuse(self, position: int) -> None:
        rest = self.expression[position:].lstrip()
        at = len(self.expression) - len(rest) + 1
        if rest[0] in "\"'":
            raise InputError(f"Filter: the quote at character {at} isn't closed.")
        raise InputError(f"Filter: can't read {rest.strip()!r} at character {at}.")

    def peek(self) -> str | None:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def fail(self, expected: str) -> None:
        found, place = (
            (f"found {self.tokens[self.at][1]!r}", self.tokens[self.at][2] + 1)
            if self.at < len(self.tokens)
            else ("the filter ends", len(self.expression) + 1)
        )
        raise InputError(f"Filter: {expected}, but {found} at character {place} of {self.expression!r}.")

    def accept(self, *words: str) -> str | None:
        token = self.peek()
        if token is not None and self.tokens[self.at][0] != "text" and token.lower() in words:
            self.at += 1
            return token.lower()
        return None

    def expect(self, word: str) -> None:
        if self.accept(word) is None:
            self.fail(f"expected {word!r}")

    def either(self) -> Filter:
        parts = [self.both()]
        while self.accept("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def both(self) -> Filter:
        parts = [self.single()]
        while self.accept("and"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def single(self) -> Filter:
        opened = self.accept("not", "(")
        if opened is None:
            return self.comparison()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise InputError(f"Filter: more than {MAX_DEPTH} nested 'not' and parentheses; write it flatter.")
        inner: Filter
        if opened == "not":
            inner = Not(self.single())
        else:
            inner = self.either()
            self.expect(")")
        self.depth -= 1
        return inner

    def comparison(self) -> Filter:
        key = self.field()
        negated = bool(self.accept("not"))
        if self.accept("in"):
            self.expect("(")
            values = [self.value()]
            while self.accept(","):
                values.append(self.value())
            self.expect(")")
            found = _among(key, values)
            return Not(found) if negated else found
        operator = None if negated else self.accept("=", "!=", "<", "<=", ">", ">=")
        if operator is None:
            self.fail("expected =, !=, <, <=, >, >= or in")
        value = self.value()
        if operator in ("=", "!="):
            return Not(_equal(key, value)) if operator == "!=" else _equal(key, value)
        if isinstance(value, str | bool):
            is_quoted = isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value)
            hint = " Leave out the quotes." if is_quoted else ""
            raise InputError(f"Filter: {operator} compares numbers, not {value!r}.{hint}")
        return Comparison(key, operator or "=", value)

    def field(self) -> str:
        if self.peek() is None or self.tokens[self.at][0] not in ("word", "text"):
            self.fail("expected a field name")
        kind, token, _ = self.tokens[self.at]
        name = _unquoted(token) if kind == "text" else token
        self.at += 1
        if name in BUILT_IN:
            return BUILT_IN[name]
        if name in self.fields:
            return _path(name)
        known = sorted({*BUILT_IN, *self.fields})
        by_lower = {field.lower(): field for field in known}
        close = difflib.get_close_matches(name.lower(), by_lower, n=1)
        hint = f" Did you mean {by_lower[close[0]]!r}?" if close else ""
        raise InputError(f"Filter: unknown field {name!r}.{hint} This index knows: {_listed(known)}.")

    def value(self) -> Value | bool:
        if self.peek() is None:
            self.fail("expected a value")
        kind, token, _ = self.tokens[self.at]
        if kind == "operator":
            self.fail("expected a value")
        self.at += 1
        if kind == "text":
            return _unquoted(token)
        if kind == "number":
            number = float(token) if "." in token else int(token)
            if abs(number) > MAX_INTEGER:
                raise InputError(f"Filter: {token} is out of range; numbers reach to ±{MAX_INTEGER}.")
            return number
        return {"true": True, "false": False}.get(token.lower(), token)


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def _listed(names: Sequence[str]) -> str:
    """Names of fields as a filter spells them: documents may bring any number, of any length."""
    told = [name if INDEXABLE.fullmatch(name) else repr(name) for name in names if len(name) <= MAX_TOLD_CHARACTERS]
    left = len(names) - len(told[:MAX_TOLD])
    return ", ".join(told[:MAX_TOLD]) + f" and {left:,} more" * bool(left)


def _path(name: str) -> str:
    """Where the engines keep a metadata field. Raises `InputError` where their paths can't name it."""
    if INDEXABLE.fullmatch(name):
        return f"meta.{name}"
    if _UNQUOTABLE.search(name):
        raise InputError(f"Filter: no condition can name the field {name!r}: it has a quotation mark or a backslash.")
    return f'meta."{name}"'


def _equal(key: str, value: Value | bool) -> Comparison:
    if isinstance(value, bool):
        return Comparison(TRUE_FIELDS if value else FALSE_FIELDS, "=", key.removeprefix("meta.").strip('"'))
    return Comparison(key, "=", value)


def _among(key: str, values: Sequence[Value | bool]) -> Filter:
    if any(isinstance(value, bool) for value in values):
        return Some(tuple(_equal(key, value) for value in values))
    return OneOf(key, tuple(values))

"""The blocks of source code: its classes and functions, found in its syntax tree, are its sections."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from ingest.languages import LANGUAGES, Language
from ingest.structure import Block, Blocks

if TYPE_CHECKING:
    from tree_sitter import Node, Parser

MAX_DEPTH = 40  # of nodes that are looked into; people nest a few classes
MAX_TITLE_CHARS = 120

Path = tuple[str, ...]

_CLOSING = re.compile(r"[\s{}()\[\];,]*")  # what stands between a class's last method and what follows the class
_GAP = re.compile(r"\n[ \t\r\f\v]*\n\s*")


def parse_code(text: str, language: str) -> Blocks:
    """The blocks of a program, cut at blank lines, with its classes and functions as sections.

    `headings_at` gives a path like ("class Retriever", "def search"). Comments, decorators and attributes directly
    above a definition are part of it. A block never reaches into another section. Where no grammar is known for the
    language, or the text doesn't follow it, there are no sections.
    """
    sections = _sections(text, LANGUAGES[language]) if language in LANGUAGES else [(0, ())]
    ends = [start for start, _ in sections[1:]] + [len(text)]
    blocks = [block for (start, _), end in zip(sections, ends, strict=True) for block in _code_blocks(text, start, end)]
    return Blocks(tuple(blocks), tuple(sections))


def _code_blocks(text: str, start: int, end: int) -> Iterator[Block]:
    """The runs of lines between blank lines."""
    while start < end:
        gap = _GAP.search(text, start, end)
        stop = gap.start() if gap else end
        if part := text[start:stop].strip():
            first = text.index(part[0], start)
            yield Block("code", first, first + len(part))
        start = gap.end() if gap else end


def _sections(text: str, language: Language) -> list[tuple[int, Path]]:
    """Offsets at which the path changes, with the path from there on; the first is 0.

    A section ends with its line, and with the brackets that follow it: neither is worth a section of its own.
    """
    data = text.encode("utf-8", "surrogatepass")
    root = _parser(language).parse(data).root_node
    changes = list(_changes(root, language, (), 0)) if root.type != "ERROR" else []
    starts = _characters(data, [byte for byte, _, _ in changes])
    sections: list[tuple[int, Path]] = [(0, ())]
    for (_, path, is_end), start, end in zip(changes, starts, [*starts[1:], len(text)], strict=False):
        begin = start
        if is_end and not _CLOSING.fullmatch(text, start, end) and (newline := text.find("\n", start, end)) >= 0:
            begin = newline + 1
        if not is_end or not _CLOSING.fullmatch(text, begin, end):
            sections.append((begin, path))
    return sections


def _characters(data: bytes, offsets: list[int]) -> list[int]:
    """Rising offsets into UTF-8 as offsets in characters."""
    counts, at, n_characters = [], 0, 0
    for offset in offsets:
        n_characters += len(data[at:offset].decode("utf-8", "surrogatepass"))
        at = offset
        counts.append(n_characters)
    return counts


def _changes(parent: Node, language: Language, path: Path, depth: int) -> Iterator[tuple[int, Path, bool]]:
    """Where definitions inside a node begin and end, in bytes, with the path from there on; true where one ends."""
    begin: int | None = None  # of the comments directly above
    last_row = -1
    for node in parent.children:
        if node.type in language.attached and node.start_point.row > last_row:
            is_continued = begin is not None and node.start_point.row <= last_row + 1
            begin = begin if is_continued else node.start_byte
            last_row = _last_row(node)
            continue
        definition = _definition(node, language, depth)
        if definition is not None:
            start = begin if begin is not None and node.start_point.row <= last_row + 1 else node.start_byte
            inner = (*path, _title(definition, language))
            yield start, inner, False
            if definition.type in language.classes and depth < MAX_DEPTH:
                yield from _changes(definition, language, inner, depth + 1)
            yield node.end_byte, path, True
        elif (node.type in language.wrappers or node.type in language.bodies) and depth < MAX_DEPTH:
            yield from _changes(node, language, path, depth + 1)
        begin, last_row = None, _last_row(node)


def _last_row(node: Node) -> int:
    """The row of a node's last character; the newline that some comments end in doesn't count."""
    return node.end_point.row - (node.end_point.column == 0 and node.end_point.row > node.start_point.row)


def _definition(node: Node, language: Language, depth: int) -> Node | None:
    """The definition that a node is, or that is all that it wraps."""
    if node.type in language.sections and node.is_named:
        return node if language.is_section(node) else None
    if node.type not in language.wrappers or depth >= MAX_DEPTH:
        return None
    found = [inner for child in node.named_children if (inner := _definition(child, language, depth + 1)) is not None]
    return found[0] if len(found) == 1 else None


def _title(node: Node, language: Language) -> str:
    """The keyword and name of a definition, as its language's programmers call it."""
    if node.type == "impl_item":  # Rust's have no name: "impl Trait for Type"
        body = node.child_by_field_name("body")
        text = (node.text or b"")[: (body.start_byte if body else node.end_byte) - node.start_byte]
    else:
        receiver = node.child_by_field_name("receiver")  # Go's "func (t *Type) name"
        words = (language.sections[node.type].encode(), receiver and receiver.text, _name(node).text)
        text = b" ".join(word for word in words if word)
    return " ".join(text.decode("utf-8", "replace").split())[:MAX_TITLE_CHARS]


def _name(node: Node) -> Node:
    """The node that names a definition; in C it is the innermost of its declarators."""
    if name := node.child_by_field_name("name") or node.child_by_field_name("left"):
        return name
    while inner := node.child_by_field_name("declarator") or _declared(node):
        node = inner
    return node


def _declared(node: Node) -> Node | None:
    """What a declarator in parentheses or behind an `&` declares; the grammar gives it no field."""
    if node.type not in ("reference_declarator", "parenthesized_declarator"):
        return None
    return next((child for child in node.named_children if child.type.endswith(("declarator", "identifier"))), None)


@cache
def _parser(language: Language) -> Parser:
    import tree_sitter

    return tree_sitter.Parser(tree_sitter.Language(language.load()))

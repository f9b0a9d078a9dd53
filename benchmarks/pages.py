"""Pages of real text that every CPython carries: language reference topics, and its library."""

from __future__ import annotations

import ast
import sysconfig
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

# Tests, what isn't the library's, and tables of codes and texts.
NOT_MODULES = {"test", "tests", "idle_test", "site-packages", "__pycache__", "lib2to3", "encodings", "pydoc_data"}
SOURCE_BYTES = (4_000, 120_000)  # shorter ones say nothing, longer ones would be most of the corpus
REFERENCE_CHARS = 2_000  # at least


class Part(NamedTuple):
    """A stretch of a page; `kind` is heading, text or code."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A titled document before it is given a format."""

    name: str
    title: str
    parts: tuple[Part, ...]


class Module(NamedTuple):
    """A module's source, and its signatures and docstrings as a page; None where these are few."""

    name: str
    source: str
    page: Page | None


def topics() -> dict[str, str]:
    """The topics by name, sorted."""
    from pydoc_data.topics import topics as texts

    return dict(sorted(texts.items()))


def topic_pages() -> Iterator[Page]:
    """The topics as pages: underlined lines are headings, indented paragraphs code."""
    for name, text in topics().items():
        parts = [_part(paragraph.strip("\n")) for paragraph in text.split("\n\n") if paragraph.strip()]
        title = parts[0].text if parts[0].kind == "heading" else name
        yield Page(name, title, tuple(part for part in parts if part != Part("heading", title)))


def modules() -> Iterator[Module]:
    """The standard library's modules of a common length, sorted by name."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not NOT_MODULES.intersection(parts) and SOURCE_BYTES[0] <= path.stat().st_size <= SOURCE_BYTES[1]:
            name, source = ".".join(parts), path.read_text(encoding="utf-8", errors="replace")
            described = tuple(_reference(ast.parse(source)))
            is_enough = sum(len(part.text) for part in described) >= REFERENCE_CHARS
            yield Module(name, source, Page(name, f"The module {name}", described) if is_enough else None)


def _part(paragraph: str) -> Part:
    first, _, line = paragraph.partition("\n")
    if line and "\n" not in line and len(set(line)) == 1 and line[0] in "*=-~^":
        return Part("heading", first.strip())
    is_code = all(text.startswith("   ") for text in paragraph.splitlines())
    return Part("code" if is_code else "text", textwrap.dedent(paragraph))


def _reference(tree: ast.AST) -> Iterator[Part]:
    if not isinstance(tree, ast.Module):
        yield Part("heading", tree.name)
        bases = f"({', '.join(map(ast.unparse, tree.bases))})" if isinstance(tree, ast.ClassDef) else ""
        arguments = "" if isinstance(tree, ast.ClassDef) else f"({ast.unparse(tree.args)})"
        yield Part("code", f"{tree.name}{bases}{arguments}")
    for paragraph in (ast.get_docstring(tree) or "").split("\n\n"):
        if paragraph.strip():
            yield Part("text", paragraph.strip("\n"))
    for child in tree.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(child):
            yield from _reference(child)

"""The text of a PDF as Markdown, and where its pages begin in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from core.errors import InputError

MAX_HEADING_CHARS = 120  # layout analysis takes an emphasised sentence for a heading; real ones are short
MIN_REPEATS = 3  # pages that must share a running head before it is left out

_SOFT_HYPHEN = re.compile("[\x02\u00ad]\\s*")  # what PDF readers give for a hyphen that only divides a line's last word
_PAGE_NUMBER = re.compile(r"^\d+\b|\b\d+$")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PdfText:
    """Markdown text of a PDF; `page_starts[i]` is the offset at which page `i + 1` begins, an empty page included."""

    title: str
    text: str
    page_starts: tuple[int, ...]


def read_pdf(data: bytes) -> PdfText:
    """The text of a PDF, headings marked, words divided at line ends joined, running heads left out.

    Raises `InputError` for a PDF that is broken, encrypted, or holds no text (a scan: characters aren't recognised
    in images).
    """
    import kreuzberg  # loads 80 MB of Rust

    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        output_format="markdown",
        include_document_structure=True,
        enable_quality_processing=False,
    )
    try:
        result = kreuzberg.extract_bytes_sync(data, "application/pdf", config=config)
    except Exception as error:  # kreuzberg's own errors, and panics of its Rust core
        raise InputError(_reason(data, str(error))) from None
    nodes = result.document["nodes"] if result.document else []
    n_pages = result.metadata.get("page_count") or max((node.get("page") or 1 for node in nodes), default=1)
    pages: list[list[str]] = [[] for _ in range(n_pages)]
    for node in nodes:
        page = min(node.get("page") or 1, n_pages)
        if block := _markdown(node["content"]):
            pages[page - 1].append(block)
    text, page_starts = _join(list(_without_running_heads(pages)))
    if not text:
        raise InputError(
            f"holds no text on its {n_pages} pages. If it is a scan, run a text recognition such as ocrmypdf first."
        )
    return PdfText(_clean(result.metadata.get("title") or ""), text, page_starts)


def _reason(data: bytes, message: str) -> str:
    """Why a PDF can't be read, in plain words instead of the library's."""
    if "assword" in message or "ncrypt" in message or b"/Encrypt" in data[-4096:]:
        return "is encrypted. Remove its password, for example with qpdf --decrypt."
    if not data[:1024].lstrip().startswith(b"%PDF"):
        return "isn't a PDF, whatever its name says: it doesn't begin with %PDF."
    return "is a broken PDF. Repair it, for example with qpdf or by printing it to a new PDF."


def _markdown(content: dict) -> str:
    """One node of the document's structure as a block of Markdown."""
    kind, text = content.get("node_type"), content.get("text") or ""
    if kind == "code":
        return f"```\n{_CONTROL.sub('', text).rstrip()}\n```" if text.strip() else ""
    if kind == "table":
        return _table(content.get("grid") or {})
    text = _clean(text)
    if kind == "heading" and text:
        is_heading = len(text) <= MAX_HEADING_CHARS and "\n" not in text and not text.endswith((".", ",", ";"))
        return "#" * min(content.get("level") or 1, 6) + " " + text if is_heading else text
    return "- " + text.replace("\n", "\n  ") if kind == "list_item" and text else text


def _table(grid: dict) -> str:
    n_columns = grid.get("cols") or 0
    rows: dict[int, dict[int, str]] = {}
    for cell in grid.get("cells") or ():
        text = " ".join(_clean(cell.get("content") or "").split()).replace("|", "\\|")
        rows.setdefault(cell.get("row") or 0, {})[cell.get("col") or 0] = text
    lines = []
    for row in (rows[index] for index in sorted(rows)):
        lines.append("| " + " | ".join(row.get(column, "") for column in range(n_columns)) + " |")
    if lines and n_columns:
        lines.insert(1, "|" + " --- |" * n_columns)
    return "\n".join(lines) if n_columns else ""


def _clean(text: str) -> str:
    text = _SOFT_HYPHEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _CONTROL.sub("", text).strip()


def _without_running_heads(pages: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """The pages without a first or last block that several of them share but for the page number."""
    keys = [
        {_running_key(block, i) for block in (page[0], page[-1])} if page else set() for i, page in enumerate(pages)
    ]
    repeats = Counter(key for page_keys in keys for key in page_keys)
    for i, page in enumerate(pages):
        kept = list(page)
        for at in (0, -1):
            if kept and repeats[_running_key(kept[at], i)] >= MIN_REPEATS:
                del kept[at]
        yield kept


def _running_key(block: str, page: int) -> tuple[str, int | None]:
    """A block without its page number, and by how much that differs from the page's place in the file."""
    text = block.lstrip("#- ").strip()
    found = _PAGE_NUMBER.search(text) if len(text) <= MAX_HEADING_CHARS else None
    if not found or len(found[0]) > 9:
        return text, None
    return _PAGE_NUMBER.sub("", text, count=1).strip(), int(found[0]) - page


def _join(pages: Sequence[Sequence[str]]) -> tuple[str, tuple[int, ...]]:
    """The pages' blocks in one text, and each page's first offset; an empty page begins where the next one does."""
    parts: list[str] = []
    starts, length = [], 0
    for blocks in pages:
        starts.append(length + (2 if parts else 0))
        for block in blocks:
            parts.append(block)
            length += (2 if len(parts) > 1 else 0) + len(block)
    return "\n\n".join(parts), tuple(min(start, length) for start in starts)

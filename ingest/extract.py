"""A source's bytes become a document: text with known markup, title, pages and metadata."""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from pathlib import Path

from core.errors import InputError
from core.types import Document, MetadataValue
from ingest.formats.html import render
from ingest.formats.pdf import read_pdf
from ingest.sources import Source
from ingest.structure import Blocks, parse

MAX_CONTROL_SHARE = 0.02  # of characters; text has next to none besides whitespace, escape sequences of a log included
TITLE_SCAN_CHARS = 20_000  # how far into a text its first heading is looked for
MAX_INTEGER = 2**63 - 1  # what a store's payload can hold

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([A-Za-z0-9_.:-]+)""", re.I)
_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.{0,10000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|$)", re.S)
_FIELD = re.compile(r"([A-Za-z_][\w -]{0,60}?)[ \t]*:[ \t]*(.*)")


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document and the blocks that its text consists of."""

    document: Document
    blocks: Blocks


def load(source: Source) -> Extracted:
    """The document that a source holds, with its blocks; its text with `\\n` newlines and at least one visible character.

    `metadata` has `format` ("text", "markdown", "html", "pdf" or "beir"), `source` (the file's name), and what the
    source says of itself: the fields of Markdown front matter or of a BEIR line's `metadata`.

    Raises `InputError` whose message completes a sentence that begins with the source's name: it looks binary, isn't
    valid UTF-8, is a broken or encrypted PDF, or holds no text.
    """
    reader = {"pdf": _load_pdf, "html": _load_html, "beir": _load_beir, "markdown": _load_markdown}
    title, text, markup, page_starts, own = reader.get(source.format, _load_text)(source)
    if not text.strip():
        raise InputError("holds no text.")
    document = Document(
        id=source.id,
        uri=source.uri,
        title=title or Path(source.name).stem or source.name,
        text=text,
        content_hash=source.content_hash,
        markup=markup,
        page_starts=page_starts,
        has_own_title=bool(title),
        metadata={**own, **source.metadata, "format": source.format, "source": source.name},
    )
    return Extracted(document, parse(text, markup))


_Loaded = tuple[str, str, str, tuple[int, ...], dict[str, MetadataValue]]


def _load_text(source: Source) -> _Loaded:
    text = _decode(source.data)
    return _first_heading(text, "text"), text, "text", (), {}


def _load_markdown(source: Source) -> _Loaded:
    text, fields = _split_front_matter(_decode(source.data))
    title = fields.pop("title", "")
    return str(title) or _first_heading(text, "markdown", level=1), text, "markdown", (), fields


def _load_html(source: Source) -> _Loaded:
    title, text = render(_decode(source.data, declared=_CHARSET.search(source.data[:1024])))
    if not text.strip():
        raise InputError("holds no text besides navigation and scripts.")
    return title, text, "markdown", (), {}


def _load_pdf(source: Source) -> _Loaded:
    pdf = read_pdf(source.data)
    return pdf.title or _first_heading(pdf.text, "markdown"), pdf.text, "markdown", pdf.page_starts, {}


def _load_beir(source: Source) -> _Loaded:
    record = json.loads(source.data)
    metadata = {key: _metadata_value(key, value) for key, value in record["metadata"].items() if value is not None}
    title = " ".join(record["title"].split())
    text = _normalize_newlines(record["text"])
    # A record without text is found by its title, which is all that it holds.
    return title or source.id, text if text.strip() else title, "text", (), metadata


def _decode(data: bytes, declared: re.Match[bytes] | None = None) -> str:
    """Text from bytes: by their byte-order mark, else as UTF-8, else as the encoding that HTML declares.

    Raises `InputError` for binary data, and for bytes that aren't valid in the encoding, with their place.
    """
    mark, encoding = next(((mark, name) for mark, name in _BOMS if data.startswith(mark)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        text = _decode_declared(data, declared)
        if text is None:
            if not mark and _looks_binary(data[:65536].decode("latin-1")):
                raise InputError("looks binary, not text.") from None
            raise InputError(
                f"isn't valid {encoding.upper()}: byte {error.start + len(mark)} is "
                f"0x{error.object[error.start]:02x}. Convert it, for example with "
                "iconv -f WINDOWS-1252 -t UTF-8 if it is Western European."
            ) from None
    if "\0" in text or _looks_binary(text):
        raise InputError("looks binary, not text.")
    return _normalize_newlines(text)


def _decode_declared(data: bytes, declared: re.Match[bytes] | None) -> str | None:
    try:
        return data.decode(declared[1].decode("ascii")) if declared else None
    except (LookupError, UnicodeDecodeError):
        return None


def _looks_binary(text: str) -> bool:
    n_control = sum(1 for _ in _CONTROL.finditer(text))
    return "\0" in text or n_control > max(8, MAX_CONTROL_SHARE * len(text))


def _normalize_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _split_front_matter(text: str) -> tuple[str, dict[str, MetadataValue]]:
    """Markdown without its front matter, and that front matter's `key: value` fields, `[a, b]` read as a list."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return text, {}
    fields: dict[str, MetadataValue] = {}
    for line in found[1].split("\n"):
        field = _FIELD.fullmatch(line.rstrip())
        if field and field[2]:
            value = field[2].strip()
            is_list = value.startswith("[") and value.endswith("]")
            items = [item.strip().strip("\"'") for item in value[1:-1].split(",")] if is_list else []
            fields[field[1].strip().lower()] = [item for item in items if item] if is_list else value.strip("\"'")
    if not fields and found[1].strip():
        return text, {}  # two thematic breaks, not front matter
    return text[found.end() :], fields


def _first_heading(text: str, markup: str, level: int = 6) -> str:
    """Title of the first heading at `level` or above, looked for at the beginning of the text; "" where none is."""
    blocks = parse(text[:TITLE_SCAN_CHARS], markup).blocks
    return next((block.title for block in blocks if block.kind == "heading" and block.level <= level), "")


def _metadata_value(key: str, value: object) -> MetadataValue:
    """A BEIR metadata value as it may be stored.

    Raises `InputError` for an object, a mixed list or a number beyond 64 bits.
    """
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return list(value)
    if isinstance(value, str | bool | float) or (isinstance(value, int) and -MAX_INTEGER <= value <= MAX_INTEGER):
        return value
    raise InputError(
        f"has metadata {key!r} of a kind that can't be filtered by: {json.dumps(value)[:60]}. "
        "Use a string, number, true, false or a list of strings."
    )

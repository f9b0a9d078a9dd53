"""Plain text, Markdown, reStructuredText and source code: decoded, front matter and docinfo read."""

from __future__ import annotations

import codecs
import re
import tomllib

from core.errors import InputError
from core.types import MetadataValue
from ingest.formats.content import Content
from ingest.formats.described import described_by, flatten
from ingest.structure import parse

MAX_CONTROL_SHARE = 0.02  # of characters; text has next to none besides whitespace, escape sequences of a log included
TITLE_SCAN_CHARS = 20_000  # how far into a text its first heading is looked for

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark begins it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([A-Za-z0-9_.:-]+)""", re.I)
_CODING = re.compile(rb"[ \t\f]*#.{0,200}?coding[:=][ \t]*([-\w.]+)")  # Python's, PEP 263
_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1a\x1c-\x1f\x7f]")
_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(.{0,10000}?)\n(?:\1|\.\.\.)[ \t]*(?:\n|$)", re.S)
_FIELD = re.compile(r"([A-Za-z_][\w -]{0,60}?)[ \t]*:[ \t]*(.*)")
_DOCINFO_FIELD = re.compile(r":([A-Za-z][^:\n]{0,60}):(?:[ \t]+(.*))?$")


def read_text(data: bytes) -> Content:
    """Plain text as it is; its title is its first underlined heading.

    Raises `InputError` for what isn't text.
    """
    text = decode(data)
    return Content(text, "text", first_heading(text, "text"))


def read_markdown(data: bytes) -> Content:
    """Markdown without its front matter, whose fields become metadata.

    Raises `InputError` for what isn't text.
    """
    text, fields = _split_front_matter(decode(data))
    title = str(fields.pop("title", "")) or first_heading(text, "markdown", level=1)
    return Content(text, "markdown", title, metadata={**fields, **described_by(fields)})


def read_rst(data: bytes) -> Content:
    """reStructuredText as it is; the field list below its title (its docinfo) is metadata too.

    Raises `InputError` for what isn't text.
    """
    text = decode(data)
    fields = _docinfo(text)
    return Content(text, "text", first_heading(text, "text"), metadata={**fields, **described_by(fields)})


def read_code(data: bytes, language: str) -> Content:
    """Source code as it is.

    Raises `InputError` for what isn't text.
    """
    declared = next(filter(None, map(_CODING.match, data[:1024].split(b"\n", 2)[:2])), None)
    return Content(decode(data, declared), f"code:{language}", metadata={"programming_language": language})


def decode(data: bytes, declared: re.Match[bytes] | None = None) -> str:
    """Text from bytes: by their byte-order mark, else as UTF-8, else as the encoding that the source declares.

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
    return normalize_newlines(text)


def decode_html(data: bytes) -> str:
    """`decode`, with the encoding that the page's `<meta>` or XML declaration names."""
    return decode(data, _CHARSET.search(data[:1024]))


def normalize_newlines(text: str) -> str:
    """The text with `\\n` as its only newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def first_heading(text: str, markup: str, level: int = 6) -> str:
    """Title of the first heading at `level` or above, looked for at the beginning of the text; "" where none is."""
    blocks = parse(text[:TITLE_SCAN_CHARS], markup).blocks
    return next((block.title for block in blocks if block.kind == "heading" and block.level <= level), "")


def _decode_declared(data: bytes, declared: re.Match[bytes] | None) -> str | None:
    try:
        return data.decode(declared[1].decode("ascii")) if declared else None
    except (LookupError, UnicodeDecodeError):
        return None


def _looks_binary(text: str) -> bool:
    n_control = sum(1 for _ in _CONTROL.finditer(text))
    return "\0" in text or n_control > max(8, MAX_CONTROL_SHARE * len(text))


def _split_front_matter(text: str) -> tuple[str, dict[str, MetadataValue]]:
    """Markdown without its front matter, and that front matter's fields."""
    found = _FRONT_MATTER.match(text)
    if not found:
        return text, {}
    fields = _parse_toml(found[2]) if found[1] == "+++" else _parse_yaml(found[2])
    if not fields and found[2].strip():
        return text, {}  # two thematic breaks, not front matter
    return text[found.end() :], fields


def _parse_toml(source: str) -> dict[str, MetadataValue]:
    try:
        return flatten(tomllib.loads(source))
    except (ValueError, RecursionError):
        return {}


def _parse_yaml(source: str) -> dict[str, MetadataValue]:
    """Fields of YAML; of what isn't quite YAML ("title: One: two"), its `key: value` lines."""
    import yaml

    try:
        tree = yaml.load(source, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, RecursionError):
        lines = (_FIELD.fullmatch(line.rstrip()) for line in source.split("\n"))
        return {line[1].strip().lower(): line[2].strip().strip("\"'") for line in lines if line and line[2]}
    return flatten(tree) if isinstance(tree, dict) else {}


def _docinfo(text: str) -> dict[str, MetadataValue]:
    """The fields of the first field list, if nothing but a title stands above it."""
    blocks = parse(text[:TITLE_SCAN_CHARS], "text").blocks
    block = next((block for block in blocks if block.kind != "heading"), None)
    if block is None:
        return {}
    fields: dict[str, list[str]] = {}
    name = ""
    for line in text[block.start : block.end].split("\n"):
        if found := _DOCINFO_FIELD.match(line):
            name = found[1].strip().lower()
            fields[name] = [found[2] or ""]
        elif name and line[:1].isspace():
            fields[name].append(line.strip())
        else:
            break
    return {name: value for name, lines in fields.items() if (value := " ".join(lines).strip())}

"""DOCX as Markdown: headings by outline level, lists by their numbering, tables, footnotes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from ingest.formats.content import Content, fence, table
from ingest.formats.package import Package

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_TEXT_BOX = f"{_W}txbxContent"
_CODE_FONTS = ("courier", "consolas", "mono", "menlo", "lucida console", "code")
# What a paragraph holds besides text: deleted text, instructions of fields, and the older copy of a drawing.
_SKIPPED = {f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}pPr", f"{_W}rPr"}
_SKIPPED |= {"{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback", _TEXT_BOX}


def read_docx(data: bytes) -> Content:
    """Body, text boxes, foot- and endnotes; headers, footers, comments and deleted text are left out.

    Read here and not by kreuzberg (4.10), which drops every `<`, `>` and `&` of a text and takes list items whose
    numbering comes with their style for paragraphs. A page isn't known before a printer lays the text out.

    Raises `InputError` for a file that is broken, encrypted or too large.
    """
    package = Package(data, "DOCX")
    main = next((part for kind, part in package.relations("").values() if kind == "officeDocument"), "")
    main = main or "word/document.xml"
    parts = {kind: part for kind, part in package.relations(main).values() if part in package.names}
    reader = _Reader(_Styles(package, parts))
    blocks = list(reader.read(package.parse(main)))
    for kind, tag in (("footnotes", f"{_W}footnote"), ("endnotes", f"{_W}endnote")):
        for note in package.parse(parts[kind]).iter(tag) if kind in parts else ():
            if note.get(f"{_W}type", "normal") == "normal":
                blocks.append(" ".join(filter(None, reader.read(note))))
    title, metadata = package.core_properties()
    return Content("\n\n".join(_tight(blocks)), "markdown", title or reader.title, metadata=metadata)


class _Styles:
    """What a document's styles and numbering say of its paragraphs: heading level, code, bullet or number."""

    def __init__(self, package: Package, parts: dict[str, str]):
        self.names: dict[str, str] = {}
        self._properties: dict[str, list[ET.Element]] = {}
        self._parents: dict[str, str] = {}
        self._formats: dict[tuple[str, str], str] = {}
        for style in package.parse(parts["styles"]).iter(f"{_W}style") if "styles" in parts else ():
            key = style.get(f"{_W}styleId", "")
            self.names[key] = _value(style, "name").lower()
            self._parents[key] = _value(style, "basedOn")
            self._properties[key] = [part for tag in ("pPr", "rPr") if (part := style.find(_W + tag)) is not None]
        if "numbering" in parts:
            self._read_numbering(package.parse(parts["numbering"]))

    def _read_numbering(self, root: ET.Element) -> None:
        levels = {
            (kind.get(f"{_W}abstractNumId", ""), level.get(f"{_W}ilvl", "0")): _value(level, "numFmt")
            for kind in root.iter(f"{_W}abstractNum")
            for level in kind.iter(f"{_W}lvl")
        }
        for number in root.iter(f"{_W}num"):
            for (kind, level), form in levels.items():
                if kind == _value(number, "abstractNumId"):
                    self._formats[number.get(f"{_W}numId", ""), level] = form

    def chain(self, paragraph: ET.Element) -> list[ET.Element]:
        """The paragraph's own properties and those of its style and the styles below, nearest first."""
        own = paragraph.find(f"{_W}pPr")
        found = [own] if own is not None else []
        key, seen = self.key(paragraph), set()
        while key and key not in seen:
            seen.add(key)
            found += self._properties.get(key, [])
            key = self._parents.get(key, "")
        return found

    def key(self, paragraph: ET.Element) -> str:
        own = paragraph.find(f"{_W}pPr")
        return _value(own, "pStyle") if own is not None else ""

    def heading_level(self, paragraph: ET.Element) -> int:
        """1 to 6 for a heading or the document's title, else 0."""
        if self.names.get(self.key(paragraph)) == "title":
            return 1
        level = next((value for part in self.chain(paragraph) if (value := _value(part, "outlineLvl"))), "9")
        return min(int(level) + 1, 6) if level.isdigit() and int(level) < 9 else 0

    def numbering(self, paragraph: ET.Element) -> tuple[str, int, str]:
        """The list that a paragraph is an item of, how deep, and the form of its number; ("", 0, "") for none."""
        for part in self.chain(paragraph):
            found = part.find(f"{_W}numPr")
            if found is None:
                continue
            key, level = _value(found, "numId"), _value(found, "ilvl") or "0"
            if key == "0":
                break  # a numbering taken back
            return key, int(level) if level.isdigit() else 0, self._formats.get((key, level), "bullet")
        return "", 0, ""

    def is_code(self, paragraph: ET.Element) -> bool:
        """Whether a paragraph's style, or each of its runs, is set in a font for code."""
        runs = [run for run in paragraph.iter(f"{_W}r") if run.find(f"{_W}t") is not None]
        fonts = [_font(run) for run in runs]
        if fonts and all(fonts):
            return all(map(_is_code_font, fonts))
        style = next((font for part in self.chain(paragraph) if (font := _font(part))), "")
        return _is_code_font(style) and not any(fonts)


class _Reader:
    """Turns paragraphs and tables into blocks of Markdown; counts the items of every list."""

    def __init__(self, styles: _Styles):
        self.title = ""
        self._styles = styles
        self._numbers: Counter[tuple[str, int]] = Counter()

    def read(self, parent: ET.Element) -> Iterator[str]:
        """The blocks of a body, a note or a text box."""
        code: list[str] = []
        for element in _content(parent):
            if element.tag == f"{_W}tbl":
                yield from self._flush(code)
                yield table(self._rows(element))
                continue
            text = _text(element)
            if text.strip() and self._styles.is_code(element) and not self._styles.heading_level(element):
                code.append(text)
            elif code and not text.strip():
                code.append("")
            else:
                yield from self._flush(code)
                yield self._paragraph(element, text.strip())
            for box in element.iter(_TEXT_BOX):
                yield from self.read(box)
        yield from self._flush(code)

    def _flush(self, code: list[str]) -> Iterator[str]:
        yield fence("\n".join(code))
        code.clear()

    def _paragraph(self, element: ET.Element, text: str) -> str:
        if not text:
            return ""
        if level := self._styles.heading_level(element):
            title = " ".join(text.split())
            self.title = self.title or title
            return "#" * level + " " + title
        key, depth, form = self._styles.numbering(element)
        if not key or form == "none":
            return text
        for deeper in [at for at in self._numbers if at[0] == key and at[1] > depth]:
            del self._numbers[deeper]
        self._numbers[key, depth] += 1
        marker = "- " if form == "bullet" else f"{self._numbers[key, depth]}. "
        indent = "  " * min(depth, 9)
        return indent + marker + text.replace("\n", "\n" + indent + " " * len(marker))

    def _rows(self, element: ET.Element) -> Iterator[list[str]]:
        for row in _content(element, f"{_W}tr"):
            cells: list[str] = []
            for cell in _content(row, f"{_W}tc"):
                about = cell.find(f"{_W}tcPr")
                span = _value(about, "gridSpan") if about is not None else ""
                cells.append(" ".join(block.strip() for block in self._cell(cell)))
                cells += [""] * (min(int(span), 100) - 1 if span.isdigit() else 0)
            yield cells

    def _cell(self, cell: ET.Element) -> Iterator[str]:
        for element in _content(cell):
            if element.tag == f"{_W}tbl":
                yield from (" ".join(row) for row in self._rows(element))
            else:
                yield _text(element)


def _content(parent: ET.Element, *tags: str) -> Iterator[ET.Element]:
    """Paragraphs and tables (or what `tags` name) of a parent, those inside mere wrappers included."""
    wanted = tags or (f"{_W}p", f"{_W}tbl")
    for element in parent:
        if element.tag in wanted:
            yield element
        elif element.tag not in _SKIPPED and element.tag != f"{_W}p":
            yield from _content(element, *tags)


def _text(element: ET.Element) -> str:
    """The visible text of a paragraph, line breaks and tabs kept."""
    parts: list[str] = []
    for child in element:
        if child.tag in (f"{_W}t", _MATH):
            parts.append(child.text or "")
        elif child.tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif child.tag == f"{_W}tab":
            parts.append("\t")
        elif child.tag == f"{_W}noBreakHyphen":
            parts.append("-")
        elif child.tag not in _SKIPPED:
            parts.append(_text(child))
    return "".join(parts)


def _tight(blocks: list[str]) -> list[str]:
    """The blocks, those of one list joined by newlines."""
    joined: list[str] = []
    was_item = False
    for block in filter(None, blocks):
        head = block.lstrip().partition(" ")[0]
        is_item = head == "-" or (head[:-1].isdigit() and head.endswith("."))
        if is_item and was_item:
            joined[-1] += "\n" + block
        else:
            joined.append(block)
        was_item = is_item
    return joined


def _value(parent: ET.Element, tag: str) -> str:
    found = parent.find(_W + tag)
    return found.get(f"{_W}val", "") if found is not None else ""


def _font(parent: ET.Element) -> str:
    """The font that a run, or a part of a style, asks for; "" for none."""
    about = parent.find(f"{_W}rPr") if parent.tag == f"{_W}r" else parent
    fonts = about.find(f"{_W}rFonts") if about is not None else None
    return fonts.get(f"{_W}ascii", "") if fonts is not None else ""


def _is_code_font(font: str) -> bool:
    return any(name in font.lower() for name in _CODE_FONTS)

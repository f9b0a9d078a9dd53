"""PPTX as Markdown: one page a slide, with its title, bullets, tables and speaker notes."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from ingest.formats.content import Content, join_blocks, one_line, table
from ingest.formats.package import Package

_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_TITLES = ("title", "ctrTitle")
_FURNITURE = ("dt", "ftr", "sldNum", "hdr", "sldImg")  # date, footer, number: the same on every slide


def read_pptx(data: bytes) -> Content:
    """Every slide under its title; one without a title is called by its number, so that no slide's text stands under
    another's heading.

    Read here and not by kreuzberg (4.10), which gives no speaker notes and doesn't say on which slide a paragraph is.

    Raises `InputError` for a file that is broken, encrypted or too large.
    """
    package = Package(data, "PPTX")
    main = next((part for kind, part in package.relations("").values() if kind == "officeDocument"), "")
    main = main or "ppt/presentation.xml"
    relations = package.relations(main)
    targets = [relations.get(slide.get(f"{_R}id", "")) for slide in package.parse(main).iter(f"{_P}sldId")]
    slides = [_Slide(package, target[1], i) for i, target in enumerate(filter(None, targets), start=1)]
    text, starts = join_blocks(slide.blocks for slide in slides)
    title, metadata = package.core_properties()
    title = title or next((slide.title for slide in slides if slide.title), "")
    is_blank = not any(len(slide.blocks) > 1 or slide.title for slide in slides)
    names = tuple(f"slide {number}" for number in range(1, len(slides) + 1))
    return Content("" if is_blank else text, "markdown", title, starts, names, metadata)


class _Slide:
    """One slide's title and blocks, its heading first."""

    def __init__(self, package: Package, name: str, number: int):
        self.title = ""
        body = [block for block in self._read(package.parse(name)) if block]
        notes = next((part for kind, part in package.relations(name).values() if kind == "notesSlide"), "")
        if notes in package.names:
            said = "\n\n".join(block for block in self._read(package.parse(notes), is_notes=True) if block)
            body += [f"Notes: {said}"] if said else []
        self.blocks = [f"# {self.title or f'Slide {number}'}", *body]

    def _read(self, parent: ET.Element, is_notes: bool = False) -> Iterator[str]:
        for element in parent:
            if element.tag == f"{_P}sp":
                yield self._shape(element, is_notes)
            elif element.tag == f"{_A}tbl":
                rows = ([_cell(cell) for cell in row.iter(f"{_A}tc")] for row in element.iter(f"{_A}tr"))
                yield table(rows)
            else:
                yield from self._read(element, is_notes)

    def _shape(self, shape: ET.Element, is_notes: bool) -> str:
        place = shape.find(f"{_P}nvSpPr/{_P}nvPr/{_P}ph")
        kind = place.get("type", "body") if place is not None else ""
        if kind in _FURNITURE:
            return ""
        lines = [(_level(paragraph), _text(paragraph).strip()) for paragraph in shape.iter(f"{_A}p")]
        lines = [(level, text) for level, text in lines if text]
        if kind in _TITLES and not is_notes and lines and not self.title:
            self.title = one_line(" ".join(text for _, text in lines))
            return ""
        if kind != "body" or is_notes or len(lines) < 2:
            return "\n\n".join(text for _, text in lines)
        return "\n".join("  " * level + "- " + text.replace("\n", "\n" + "  " * (level + 1)) for level, text in lines)


def _level(paragraph: ET.Element) -> int:
    about = paragraph.find(f"{_A}pPr")
    level = about.get("lvl", "0") if about is not None else "0"
    return min(int(level), 9) if level.isdigit() else 0


def _text(paragraph: ET.Element) -> str:
    parts = []
    for element in paragraph.iter():
        if element.tag == f"{_A}t":
            parts.append(element.text or "")
        elif element.tag == f"{_A}br":
            parts.append("\n")
    return "".join(parts)


def _cell(cell: ET.Element) -> str:
    return " ".join(_text(paragraph) for paragraph in cell.iter(f"{_A}p"))

"""An e-book as Markdown: its chapters in reading order, without its own table of contents."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from core.errors import InputError
from ingest.formats.content import Content
from ingest.formats.described import describe
from ingest.formats.html import render
from ingest.formats.package import Package, resolve
from ingest.formats.text import decode_html

_DC = "{http://purl.org/dc/elements/1.1/}"
_OPF = "{http://www.idpf.org/2007/opf}"
_MARKUP = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml", "text/x-oeb1-document")


def read_epub(data: bytes) -> Content:
    """The text of every chapter in the spine; navigation documents are left out.

    Read here and not by kreuzberg (4.10), which writes every link's address into the text and takes the table of
    contents for a chapter.

    Raises `InputError` for a file that is broken, too large or protected by digital rights management.
    """
    package = Package(data, "EPUB")
    if "META-INF/rights.xml" in package.names or "META-INF/license.lcpl" in package.names:
        raise InputError("is protected by digital rights management; its text can't be read.")
    container = package.parse("META-INF/container.xml")
    opf = next((file.get("full-path", "") for file in container.iter() if file.tag.endswith("}rootfile")), "")
    if not opf:
        raise InputError("isn't valid EPUB: it names no package document. Convert it anew.")
    root = package.parse(opf)
    chapters = [render(decode_html(package.read(name))).text for name in _spine(root, opf, package)]
    fields = {name: [_text(element) for element in root.iter(_DC + name)] for name in ("title", "creator", "language")}
    changed = next((meta for meta in root.iter(f"{_OPF}meta") if meta.get("property") == "dcterms:modified"), None)
    metadata = describe(
        author=fields["creator"],
        created=_text(root.find(f".//{_DC}date")),
        modified=_text(changed),
        language=next(iter(fields["language"]), ""),
        publisher=_text(root.find(f".//{_DC}publisher")),
        subject=[_text(element) for element in root.iter(f"{_DC}subject")],
    )
    text = "\n\n".join(filter(None, chapters))
    return Content(text, "markdown", next(filter(None, fields["title"]), ""), metadata=metadata)


def _spine(root: ET.Element, opf: str, package: Package) -> Iterator[str]:
    """The names of the chapters' parts in reading order, navigation left out."""
    items = {item.get("id", ""): item for item in root.iter(f"{_OPF}item")}
    guided = {
        resolve(opf, reference.get("href", ""))
        for reference in root.iter(f"{_OPF}reference")
        if reference.get("type") in ("toc", "cover", "index")
    }
    for reference in root.iter(f"{_OPF}itemref"):
        item = items.get(reference.get("idref", ""))
        if item is None or item.get("media-type") not in _MARKUP or "nav" in item.get("properties", "").split():
            continue
        name = resolve(opf, item.get("href", ""))
        if name in package.names and name not in guided:
            yield name


def _text(element: ET.Element | None) -> str:
    return " ".join("".join(element.itertext()).split()) if element is not None else ""

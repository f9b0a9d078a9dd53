"""One page in each of the common file formats, written with the standard library alone."""

from __future__ import annotations

import csv
import io
import json
import textwrap
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from email.message import EmailMessage
from html import escape

from benchmarks.pages import Page, Part

PDF_LINES, PDF_COLUMNS = 54, 92
CSS = "body{margin:0;font:16px/1.5 sans-serif}nav{float:left;width:14em}footer{clear:both;color:#777}"
MENU = [("Home", "/"), ("Tutorial", "/tutorial"), ("Library reference", "/library"), ("Index", "/genindex")]
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"


def as_text(page: Page) -> bytes:
    """Plain text with underlined headings and indented code."""
    return _underlined(page, "   ").encode()


def as_rst(page: Page) -> bytes:
    """reStructuredText with literal blocks."""
    return _underlined(page, "   ", "::\n\n").encode()


def as_markdown(page: Page) -> bytes:
    """Markdown with front matter, headings and fenced code."""
    marks = {"heading": "## {}", "text": "{}", "code": "```\n{}\n```"}
    body = "\n\n".join(marks[kind].format(text) for kind, text in page.parts)
    return f"---\ntitle: {json.dumps(page.title)}\n---\n\n# {page.title}\n\n{body}\n".encode()


def as_html(page: Page) -> bytes:
    """A site's page: its text among a menu, scripts and a footer."""
    menu = "".join(f'<li><a href="{target}">{name}</a></li>' for name, target in MENU)
    head = f"<title>{escape(page.title)}</title><style>{CSS}</style><script>window.loaded = true;</script>"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{head}</head>\n<body>'
        f"<nav><ul>{menu}</ul></nav>\n<main><article>\n<h1>{escape(page.title)}</h1>\n{_tags(page)}\n</article></main>\n"
        "<footer>Made from the documentation that comes with Python.</footer></body></html>\n"
    ).encode()


def as_notebook(page: Page) -> bytes:
    """A notebook: text in Markdown cells, code in code cells with no output."""
    cells = []
    for kind, text in (Part("heading", page.title), *page.parts):
        source = (f"## {text}" if kind == "heading" else text).splitlines(keepends=True)
        cell = {"cell_type": "code" if kind == "code" else "markdown", "metadata": {}, "source": source}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1).encode()


def as_mail(page: Page) -> bytes:
    """An e-mail with a plain text and the same as HTML."""
    mail = EmailMessage()
    mail["Subject"] = page.title.replace("\n", " ")
    mail["From"], mail["To"] = "Ada Example <ada@example.org>", "readers@example.org"
    mail["Date"] = "Mon, 03 Feb 2025 09:00:00 +0000"
    mail.set_content(_underlined(page, "    "))
    mail.add_alternative(f"<html><body>{_tags(page)}</body></html>", subtype="html")
    mail.set_boundary("=-page-=")
    return bytes(mail)


def as_source(page: Page) -> bytes:
    """Source code: the parts, one after another."""
    return "\n\n".join(part.text for part in page.parts).encode()


def as_json(page: Page) -> bytes:
    """An object with a list of sections."""
    sections = [{"kind": kind, "text": text} for kind, text in page.parts]
    return json.dumps({"name": page.name, "title": page.title, "sections": sections}, indent=1).encode()


def as_csv(page: Page) -> bytes:
    """A table: each part with its number, kind and the heading that it stands under."""
    out = io.StringIO()
    table = csv.writer(out)
    table.writerow(("number", "section", "kind", "text"))
    section = page.title
    for number, (kind, text) in enumerate(page.parts, 1):
        section = text if kind == "heading" else section
        table.writerow((number, section, kind, " ".join(text.split())))
    return out.getvalue().encode()


def as_docx(page: Page) -> bytes:
    """A Word document with heading styles."""
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{level}"><w:name w:val="heading {level}"/>'
        f'<w:pPr><w:outlineLvl w:val="{level - 1}"/></w:pPr></w:style>'
        for level in (1, 2)
    )
    paragraphs = [_paragraph("Heading1", page.title)]
    for kind, text in page.parts:
        lines = text.splitlines() if kind == "code" else [" ".join(text.split())]
        paragraphs += [_paragraph("Heading2" if kind == "heading" else "", line) for line in lines]
    relation = f'<Relationship Id="r1" Type="{OFFICE}/{{}}" Target="{{}}"/>'
    relations = f'<Relationships xmlns="{PACKAGE}/relationships">{relation}</Relationships>'
    types = "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="{WORD}.{kind}+xml"/>'
        for name, kind in (("document", "document.main"), ("styles", "styles"))
    )
    xml = 'ContentType="application/xml"/><Default Extension="rels" ContentType="application/vnd.openxmlformats-package'
    return _zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" {xml}'
            f'.relationships+xml"/>{types}</Types>',
            "_rels/.rels": relations.format("officeDocument", "word/document.xml"),
            "word/_rels/document.xml.rels": relations.format("styles", "styles.xml"),
            "word/styles.xml": f"<w:styles {W}>{styles}</w:styles>",
            "word/document.xml": f"<w:document {W}><w:body>{''.join(paragraphs)}</w:body></w:document>",
        }
    )


def as_epub(page: Page) -> bytes:
    """An e-book of one chapter."""
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    book = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        f'<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{escape(page.title)}</dc:title>'
        f'<dc:identifier id="id">{escape(page.name)}</dc:identifier><dc:language>en</dc:language></metadata><manifest>'
        '<item id="c1" href="c1.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="c1"/></spine></package>'
    )
    chapter = (
        f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{escape(page.title)}</title></head>'
        f"<body><h1>{escape(page.title)}</h1>{_tags(page)}</body></html>"
    )
    parts = {"META-INF/container.xml": container, "book.opf": book, "c1.xhtml": chapter}
    return _zipped({"mimetype": "application/epub+zip", **parts})


def as_pdf(page: Page) -> bytes:
    """A PDF of A4 pages in the fonts that every reader has; characters beyond Latin-1 become question marks."""
    lines = list(_pdf_lines(page))
    sheets = [lines[first : first + PDF_LINES] for first in range(0, len(lines), PDF_LINES)]
    fonts = "".join(f"/F{n} <</Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding>> "
                    for n, name in enumerate(("Helvetica", "Helvetica-Bold", "Courier")))  # fmt: skip
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(len(sheets)))
    objects = [b"<</Type /Catalog /Pages 2 0 R>>", f"<</Type /Pages /Kids [{kids}] /Count {len(sheets)}>>".encode()]
    for n, sheet in enumerate(sheets):
        objects.append(
            f"<</Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {4 + 2 * n} 0 R "
            f"/Resources <</Font <<{fonts}>>>>>>".encode()
        )
        stream = zlib.compress(b"BT 14 TL 50 790 Td\n" + b"".join(_pdf_line(*line) for line in sheet) + b"ET")
        objects.append(b"<</Length %d /Filter /FlateDecode>> stream\n%b\nendstream" % (len(stream), stream))
    return _pdf_file(objects)


WRITERS = {
    ".md": as_markdown,
    ".html": as_html,
    ".pdf": as_pdf,
    ".docx": as_docx,
    ".rst": as_rst,
    ".txt": as_text,
    ".eml": as_mail,
    ".ipynb": as_notebook,
    ".epub": as_epub,
    ".csv": as_csv,
    ".json": as_json,
    ".py": as_source,
}


def _underlined(page: Page, indent: str, before_code: str = "") -> str:
    parts = [f"{page.title}\n{'*' * len(page.title)}"]
    for kind, text in page.parts:
        match kind:
            case "heading":
                parts.append(f"{text}\n{'=' * len(text)}")
            case "code":
                parts.append(before_code + textwrap.indent(text, indent))
            case _:
                parts.append(text)
    return "\n\n".join(parts) + "\n"


def _tags(page: Page) -> str:
    tags = {"heading": "<h2>{}</h2>", "text": "<p>{}</p>", "code": "<pre>{}</pre>"}
    return "\n".join(tags[kind].format(escape(text)) for kind, text in page.parts)


def _paragraph(style: str, text: str) -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'


def _zipped(members: dict[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            how = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            archive.writestr(zipfile.ZipInfo(name), text, how)
    return out.getvalue()


def _pdf_lines(page: Page) -> Iterator[tuple[int, int, str]]:
    """Font, size and text of each line."""
    yield 1, 18, page.title
    for kind, text in page.parts:
        yield 0, 10, ""
        font, size = {"heading": (1, 14), "code": (2, 9), "text": (0, 10)}[kind]
        for line in text.splitlines() if kind == "code" else textwrap.wrap(text, PDF_COLUMNS):
            yield font, size, line


def _pdf_line(font: int, size: int, text: str) -> bytes:
    escaped = text.translate({ord(character): f"\\{character}" for character in "\\()"})
    return f"/F{font} {size} Tf ({escaped}) Tj T*\n".encode("cp1252", "replace")


def _pdf_file(objects: Sequence[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    trailer = f"trailer <</Size {len(objects) + 1} /Root 1 0 R>>\nstartxref\n{len(out)}\n%%EOF\n"
    return bytes(out) + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()

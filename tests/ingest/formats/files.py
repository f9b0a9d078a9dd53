"""Small files of every format, made with the standard library alone."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from html import escape

_TYPE = "application/vnd.openxmlformats-officedocument"
_CONTENT = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_CORE = "http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_DRAWING = "http://schemas.openxmlformats.org/drawingml/2006/main"
_SLIDE = "http://schemas.openxmlformats.org/presentationml/2006/main"


def packed(parts: Mapping[str, str | bytes]) -> bytes:
    """A zip file of the given members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return buffer.getvalue()


def relations(*targets: tuple[str, str]) -> str:
    """A relationships part with the ids r1, r2 … for (type, target)."""
    entries = "".join(
        f'<Relationship Id="r{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'<Relationships xmlns="{_RELATIONS}">{entries}</Relationships>'


CORE_PROPERTIES = f"""<c:coreProperties xmlns:c="{_CORE}" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:t="http://purl.org/dc/terms/"><dc:title>On stones</dc:title><dc:creator>Ann; Bob</dc:creator>
 <dc:language>en-GB</dc:language><t:created>2021-03-04T05:06:07Z</t:created><t:modified>2022-01-02T00:30:00+01:00</t:modified>
 <c:keywords>granite, basalt</c:keywords></c:coreProperties>"""
DESCRIBED = {
    **{"author": ["Ann", "Bob"], "language": "en", "keywords": ["granite", "basalt"]},
    **{"created": "2021-03-04T05:06:07Z", "created_day": 20210304},
    **{"modified": "2022-01-01T23:30:00Z", "modified_day": 20220101},
}


def office(main: str, content: str, rels: str, parts: Mapping[str, str], kind: str) -> bytes:
    """An Office package whose main part has the given content and relationships."""
    folder, _, name = main.rpartition("/")
    types = f'<Types xmlns="{_CONTENT}"><Default Extension="xml" ContentType="application/xml"/>' + (
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/{main}" ContentType="{_TYPE}.{kind}.main+xml"/></Types>'
    )
    return packed(
        {
            "[Content_Types].xml": types,
            "_rels/.rels": relations(("officeDocument", main), ("metadata/core-properties", "docProps/core.xml")),
            "docProps/core.xml": CORE_PROPERTIES,
            main: content,
            f"{folder}/_rels/{name}.rels": rels,
            **{f"{folder}/{part}": text for part, text in parts.items()},
        }
    )


def docx(body: str, styles: str = "", numbering: str = "", footnotes: str = "") -> bytes:
    """A DOCX of WordprocessingML; its elements are written without their prefix's declaration."""
    xmlns = f'xmlns:w="{_WORD}"'
    return office(
        "word/document.xml",
        f"<w:document {xmlns}><w:body>{body}</w:body></w:document>",
        relations(("styles", "styles.xml"), ("numbering", "numbering.xml"), ("footnotes", "footnotes.xml")),
        {
            "styles.xml": f"<w:styles {xmlns}>{styles}</w:styles>",
            "numbering.xml": f"<w:numbering {xmlns}>{numbering}</w:numbering>",
            "footnotes.xml": f"<w:footnotes {xmlns}>{footnotes}</w:footnotes>",
        },
        "wordprocessingml.document",
    )


def paragraph(text: str, properties: str = "", run: str = "") -> str:
    """A paragraph of one run; `properties` are the paragraph's, `run` the run's."""
    return (
        f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:rPr>{run}</w:rPr>"
        f'<w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'
    )


def pptx(slides: Sequence[str], notes: Mapping[int, str] | None = None) -> bytes:
    """A PPTX whose slides (and the notes of slides by number, from 1) hold the given shapes."""
    xmlns = f'xmlns:p="{_SLIDE}" xmlns:a="{_DRAWING}" xmlns:r="{_OFFICE}"'
    parts = {}
    for number, shapes in enumerate(slides, start=1):
        parts[f"slides/s{number}.xml"] = f"<p:sld {xmlns}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>"
    for number, shapes in (notes or {}).items():
        parts[f"notes/n{number}.xml"] = f"<p:notes {xmlns}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:notes>"
        parts[f"slides/_rels/s{number}.xml.rels"] = relations(("notesSlide", f"../notes/n{number}.xml"))
    # In the order of presentation, which isn't that of the parts' names.
    order = "".join(f'<p:sldId id="{255 + i}" r:id="r{i}"/>' for i in range(1, len(slides) + 1))
    rels = relations(*(("slide", f"slides/s{number}.xml") for number in range(1, len(slides) + 1)))
    content = f"<p:presentation {xmlns}><p:sldIdLst>{order}</p:sldIdLst></p:presentation>"
    return office("ppt/presentation.xml", content, rels, parts, "presentationml.presentation")


def shape(*paragraphs: str, kind: str = "", levels: Sequence[int] = ()) -> str:
    """A shape of a slide; `kind` is its placeholder's."""
    place = f'<p:ph type="{kind}"/>' if kind else ""
    body = "".join(
        f'<a:p><a:pPr lvl="{levels[i] if levels else 0}"/><a:r><a:t>{escape(text)}</a:t></a:r></a:p>'
        for i, text in enumerate(paragraphs)
    )
    return f"<p:sp><p:nvSpPr><p:nvPr>{place}</p:nvPr></p:nvSpPr><p:txBody>{body}</p:txBody></p:sp>"


def xlsx(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    """An XLSX of sheets by name; a cell is a string, a number or None."""
    parts = {}
    for number, rows in enumerate(sheets.values(), start=1):
        lines = []
        for i, row in enumerate(rows, start=1):
            cells = [
                f'<c r="{chr(65 + j)}{i}"><v>{cell}</v></c>'
                if isinstance(cell, int | float)
                else f'<c r="{chr(65 + j)}{i}" t="inlineStr"><is><t>{escape(str(cell))}</t></is></c>'
                for j, cell in enumerate(row)
                if cell is not None
            ]
            lines.append(f'<row r="{i}">{"".join(cells)}</row>')
        data = f"<sheetData>{''.join(lines)}</sheetData>"
        parts[f"worksheets/sheet{number}.xml"] = f'<worksheet xmlns="{_SHEET}">{data}</worksheet>'
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" r:id="r{number}"/>'
        for number, name in enumerate(sheets, start=1)
    )
    rels = relations(*(("worksheet", f"worksheets/sheet{number}.xml") for number in range(1, len(sheets) + 1)))
    content = f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets>{names}</sheets></workbook>'
    return office("xl/workbook.xml", content, rels, parts, "spreadsheetml.sheet")


def epub(chapters: Mapping[str, str], metadata: str = "", navigation: str = "") -> bytes:
    """An EPUB 3 of XHTML bodies by file name, in reading order."""
    items = "".join(f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in chapters)
    items += '<item id="nav" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/>'
    spine = "".join(f'<itemref idref="{name}"/>' for name in ("nav", *chapters))
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/" version="3.0">'
        f"<metadata>{metadata}</metadata><manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="text/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    page = '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><body>{}</body></html>'
    return packed(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "text/book.opf": opf,
            "text/nav.xhtml": page.format(f'<nav epub:type="toc">{navigation}</nav>'),
            **{f"text/{name}": page.format(body) for name, body in chapters.items()},
        }
    )


Line = tuple[int, str] | tuple[int, str, str]  # size and text, and the font: "mono" or "bold"


def pdf(
    pages: Sequence[Sequence[Line]], title: str = "", trailer: str = "", bookmarks: Sequence[tuple[str, int]] = ()
) -> bytes:
    """A PDF of the given pages; bookmarks are titles and pages from 0. A line `(0, "")` is a gap."""
    contents = []
    for lines in pages:
        drawn, y = [], 760
        for size, line, *font in lines:
            y -= 2 * (size or 11) if not font or font[0] != "mono" else size + 1
            escaped = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            name = {"mono": "F2", "bold": "F3"}.get(font[0] if font else "", "F1")
            drawn.append(f"BT /{name} {size or 11} Tf 72 {y} Td ({escaped}) Tj ET")
        contents.append("\n".join(drawn))
    n_pages = len(pages)
    first_mark = 6 + 2 * n_pages
    kids = " ".join(f"{6 + 2 * i} 0 R" for i in range(n_pages))
    outlines = f"/Outlines {first_mark} 0 R" if bookmarks else ""
    fonts = ("Helvetica", "Courier", "Helvetica-Bold")
    objects = [f"<< /Type /Catalog /Pages 2 0 R /Lang (en-US) {outlines} >>"]
    objects += [f"<< /Type /Pages /Kids [{kids}] /Count {n_pages} >>"]
    objects += [f"<< /Type /Font /Subtype /Type1 /BaseFont /{font} /Encoding /WinAnsiEncoding >>" for font in fonts]
    for i, content in enumerate(contents):
        used = "/MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R /F2 4 0 R /F3 5 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {used} /Contents {7 + 2 * i} 0 R >>")
        objects.append(f"<< /Length {len(content.encode('cp1252'))} >>\nstream\n{content}\nendstream")
    if bookmarks:
        last = first_mark + len(bookmarks)
        objects.append(f"<< /Type /Outlines /First {first_mark + 1} 0 R /Last {last} 0 R /Count {len(bookmarks)} >>")
    for i, (name, page) in enumerate(bookmarks):
        chain = (f"/Prev {first_mark + i} 0 R " if i else "") + (
            f"/Next {first_mark + i + 2} 0 R" if i + 1 < len(bookmarks) else ""
        )
        target = f"[{6 + 2 * page} 0 R /XYZ 72 760 0]"
        objects.append(f"<< /Title ({name}) /Parent {first_mark} 0 R /Dest {target} {chain} >>")
    objects.append(f"<< /Title ({title}) /Author (Ann) /CreationDate (D:20210304050607+02'00') >>")
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("cp1252")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R {trailer} >>"
    tail = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}\nstartxref\n{len(out)}\n%%EOF"
    return bytes(out) + tail.encode()

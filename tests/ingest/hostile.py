"""Files made to harm whoever reads them, small themselves and written by hand."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable

XML = '<?xml version="1.0" encoding="UTF-8"?>'
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_DOCUMENT = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def pdf(pages: Iterable[str], encrypted: bool = False) -> bytes:
    """A PDF with one line of text on each page; `encrypted` by a key that nobody has."""
    objects = {1: b"<< /Type /Catalog /Pages 2 0 R >>", 3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}
    kids = []
    for page in pages:
        at, content = len(objects) + 2, f"BT /F1 12 Tf 72 720 Td ({page}) Tj ET".encode()
        kids.append(b"%d 0 R" % at)
        objects[at] = (
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % (at + 1)
        )
        objects[at + 1] = b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content)
    objects[2] = b"<< /Type /Pages /Kids [%b] /Count %d >>" % (b" ".join(kids), len(kids))
    trailer = b"<< /Size %d /Root 1 0 R" % (len(objects) + 2)
    if encrypted:
        key = b"<" + b"5a" * 32 + b">"
        objects[len(objects) + 1] = b"<< /Filter /Standard /V 1 /R 2 /O %b /U %b /P -4 >>" % (key, key)
        trailer += b" /Encrypt %d 0 R /ID [<00> <00>]" % len(objects)
    out, offsets = bytearray(b"%PDF-1.4\n"), []
    for number in range(1, len(objects) + 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, objects[number])
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(out + b"trailer\n%b >>\nstartxref\n%d\n%%%%EOF\n" % (trailer, start))


def zipped(members: dict[str, bytes | str]) -> bytes:
    """A zip archive; names are taken as they are."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def tarred(members: dict[str, bytes], links: dict[str, str]) -> bytes:
    """A gzipped tar archive with files and symbolic links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, target in links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def nested(depth: int) -> bytes:
    """A zip in a zip in a zip …"""
    data = b"the innermost secret"
    for level in range(depth):
        data = zipped({f"level{level}.zip" if level else "inner.txt": data})
    return data


def docx(document: str) -> bytes:
    """A Word file around the XML of its main part."""
    return zipped(
        {
            "[Content_Types].xml": f'{XML}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
            f'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
            'PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-officedocument.'
            'wordprocessingml.document.main+xml"/></Types>',
            "_rels/.rels": f'{XML}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
            f'Type="{_DOCUMENT}/officeDocument" Target="word/document.xml"/></Relationships>',
            "word/document.xml": document,
        }
    )


def paragraphs(text: str, doctype: str = "") -> str:
    """A Word document's XML with one paragraph."""
    body = f"<w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body>"
    return f'{XML}{doctype}<w:document xmlns:w="{WORD}">{body}</w:document>'


def laughs() -> str:
    """Entities that expand to 10^9 words, each made of ten of the former."""
    entities = ['<!ENTITY e0 "laugh ">', *(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))]
    return f"<!DOCTYPE d [{''.join(entities)}]>"


def xlsx(rows: str) -> bytes:
    """A workbook with one sheet around the XML of its rows."""
    return zipped(
        {
            "[Content_Types].xml": f'{XML}<Types xmlns="{_PACKAGE}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override '
            'PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.'
            'spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/'
            'vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/></Types>',
            "_rels/.rels": f'{XML}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r1" '
            f'Type="{_DOCUMENT}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'{XML}<workbook xmlns="{SHEET}" xmlns:r="{_DOCUMENT}"><sheets><sheet name="One" '
            'sheetId="1" r:id="r1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'{XML}<Relationships xmlns="{_PACKAGE}/relationships"><Relationship '
            f'Id="r1" Type="{_DOCUMENT}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/worksheets/sheet1.xml": f'{XML}<worksheet xmlns="{SHEET}"><sheetData>{rows}</sheetData></worksheet>',
        }
    )

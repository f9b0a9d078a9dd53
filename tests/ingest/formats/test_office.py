"""Word, PowerPoint and Excel files become Markdown with slides or sheets as pages, or a reason why not."""

import struct

import pytest

from core.errors import InputError
from ingest.formats import package
from ingest.formats.sheets import read_xlsx
from ingest.formats.slides import read_pptx
from ingest.formats.word import read_docx
from tests.ingest.formats.files import DESCRIBED, docx, packed, paragraph, pptx, shape, xlsx

STYLES = """<w:style w:styleId="T"><w:name w:val="Title"/></w:style>
<w:style w:styleId="H"><w:name w:val="heading 1"/><w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style>
<w:style w:styleId="Sub"><w:name w:val="My heading"/><w:basedOn w:val="H"/>
<w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>
<w:style w:styleId="L"><w:name w:val="List"/><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>
<w:style w:styleId="Code"><w:name w:val="Source"/><w:rPr><w:rFonts w:ascii="Courier New"/></w:rPr></w:style>"""
NUMBERING = """<w:abstractNum w:abstractNumId="7"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>
<w:lvl w:ilvl="1"><w:numFmt w:val="decimal"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>"""


def style(name: str) -> str:
    return f'<w:pStyle w:val="{name}"/>'


def item(level: int) -> str:
    return f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="1"/></w:numPr>'


def cell(text: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{paragraph(text)}</w:tc>"


def test_word_structure():
    body = (
        paragraph("Stones", style("T"))
        + paragraph("Granite", style("H"))
        + paragraph("if a < b && c > d: List<String> & more_than *this*")
        + paragraph("by style", style("L"))
        + paragraph("deeper", item(1))
        + paragraph("deeper still", item(1))
        + paragraph("back", item(0))
        + "<w:tbl><w:tr>"
        + cell("Name")
        + cell("a|b")
        + "</w:tr><w:tr>"
        + cell("both", '<w:gridSpan w:val="2"/>')
        + "</w:tr><w:tr>"
        + cell("Quartz")
        + cell("7")
        + "</w:tr></w:tbl>"
        + paragraph("Basalt", style("Sub"))
        + paragraph("for x in y:", style("Code"))
        + paragraph("    print(x)", style("Code"))
        + "<w:p><w:del><w:r><w:delText>gone</w:delText><w:t>gone</w:t></w:r></w:del>"
        + "<w:ins><w:r><w:t>kept</w:t><w:br/><w:t>below</w:t></w:r></w:ins></w:p>"
    )
    content = read_docx(
        docx(body, STYLES, NUMBERING, f'<w:footnote w:id="2">{paragraph("A note below.")}</w:footnote>')
    )
    assert content.text == (
        "# Stones\n\n# Granite\n\nif a < b && c > d: List<String> & more_than *this*\n\n"
        "- by style\n  1. deeper\n  2. deeper still\n- back\n\n"
        "| Name | a\\|b |\n| --- | --- |\n| both |  |\n| Quartz | 7 |\n\n"
        "## Basalt\n\n```\nfor x in y:\n    print(x)\n```\n\nkept\nbelow\n\nA note below."
    )
    assert content.title == "On stones"
    assert content.metadata == DESCRIBED
    assert content.page_starts == ()  # known to a printer only


def test_slides_are_pages():
    table = "<p:graphicFrame><a:graphic><a:graphicData><a:tbl>{}</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    row = "<a:tr>{}</a:tr>"
    cells = "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>" for text in ("H", "7"))
    slides = [
        shape("The Stones", kind="ctrTitle") + shape("Ann", kind="subTitle"),
        shape("12", kind="sldNum")
        + shape("Granite < basalt", kind="title")
        + shape("hard", "very", kind="body", levels=[0, 1]),
        shape("Only a text box"),
        "",
        f"<p:grpSp>{shape('in a group')}</p:grpSp>" + table.format(row.format(cells)),
    ]
    content = read_pptx(pptx(slides, {2: shape("Granite", kind="sldImg") + shape("Show the sample.", kind="body")}))
    pages = [
        content.text[start:end].strip()
        for start, end in zip(content.page_starts, [*content.page_starts[1:], None], strict=True)
    ]
    assert pages == [
        "# The Stones\n\nAnn",
        "# Granite < basalt\n\n- hard\n  - very\n\nNotes: Show the sample.",
        "# Slide 3\n\nOnly a text box",
        "# Slide 4",
        "# Slide 5\n\nin a group\n\n| H | 7 |\n| --- | --- |",
    ]
    assert content.page_names == ("slide 1", "slide 2", "slide 3", "slide 4", "slide 5")
    assert (content.title, content.metadata) == ("On stones", DESCRIBED)
    assert read_pptx(pptx(["", ""])).text == ""


def test_sheets_are_pages():
    sheets = {
        "Budget": [
            ["Item", "Cost"],
            ["Ink | <blue>", 3],
            [None, None],
            ["A note below."],
            [],
            ["x", None, "y"],
            [1, None, 2.5],
        ],
        "Empty": [],
        "Staff & co": [["Name"], ["Ann\nStone"]],
    }
    content = read_xlsx(xlsx(sheets))
    assert content.page_names == ("sheet Budget", "sheet Staff & co")
    first, second = (content.text[start:] for start in content.page_starts)
    assert first.startswith(
        "# Budget\n\n| Item | Cost |\n| --- | --- |\n| Ink \\| <blue> | 3 |\n\nA note below.\n\n"
        "| x | y |\n| --- | --- |\n| 1 | 2.5 |"
    )
    assert second == "# Staff & co\n\nName\nAnn Stone"
    assert (content.title, content.metadata) == ("On stones", DESCRIBED)


def reason(read, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(data)
    return str(caught.value)


READERS = pytest.mark.parametrize("read", [read_docx, read_pptx, read_xlsx])
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)


@READERS
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (OLE + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
        (OLE, "older binary file"),
        (b"just text", "no intact zip package"),
        (docx(paragraph("x"))[:-30], "no intact zip package"),
    ],
)
def test_packages_that_cannot_be_used(read, data, expected):
    assert expected in reason(read, data)


@pytest.mark.parametrize(
    ("read", "data"),
    [(read_docx, packed({"a.txt": "x"})), (read_pptx, packed({"a.txt": "x"})), (read_docx, docx("<w:p>unclosed"))],
)
def test_packages_without_their_parts_are_broken(read, data):
    assert "Open and save it anew" in reason(read, data)


def test_a_damaged_or_encrypted_member_is_named():
    data = bytearray(docx(paragraph("word " * 2000)))
    at = data.index(b"word/document.xml") + 40
    data[at : at + 20] = bytes(20)
    assert "word/document.xml can't be unpacked" in reason(read_docx, bytes(data))
    locked = bytearray(docx(paragraph("x")))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flags of a member's two headers
        at = -1
        while (at := locked.find(mark, at + 1)) >= 0:
            struct.pack_into("<H", locked, at + offset, 1)
    assert "is encrypted" in reason(read_docx, bytes(locked))


@READERS
def test_zip_bombs_are_refused_before_they_are_unpacked(read, monkeypatch):
    monkeypatch.setattr(package, "MAX_UNPACKED_BYTES", 2**20)
    bomb = packed({"word/document.xml": bytes(2**21), "ppt/presentation.xml": "", "xl/workbook.xml": ""})
    assert len(bomb) < 10_000
    assert "would unpack to 2 MiB; the limit" in reason(read, bomb)


def test_a_huge_part_is_refused(monkeypatch):
    monkeypatch.setattr(package, "MAX_PART_BYTES", 10_000)
    assert "the limit for one part is" in reason(read_docx, docx(paragraph("x" * 20_000)))


def test_entities_are_refused():
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><x>&b;</x>'
    assert "defines entities" in reason(read_docx, packed({"word/document.xml": bomb}))

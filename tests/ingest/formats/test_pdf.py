"""PDFs become Markdown with pages: headings, paragraphs, lists, code and tables, without running heads."""

import pytest

from core.errors import InputError
from ingest.formats.content import Content
from ingest.formats.pdf import read_pdf
from ingest.formats.pdf_layout import Line, read_layout
from tests.ingest.formats.files import pdf

PARAGRAPH = [
    (11, "Granite is a coarse rock that cools slowly, deep below the surface."),
    (11, "Its grains can be seen with the naked eye; feldspar gives"),
    (11, "it the colour that café tables and kitchen tops are known for."),
    (11, "Where it weathers, sand and clay remain."),
]


def pages_of(content: Content) -> list[str]:
    ends = [*content.page_starts[1:], len(content.text)]
    return [content.text[start:end].strip() for start, end in zip(content.page_starts, ends, strict=True)]


def headings(content: Content) -> list[str]:
    return [line for line in content.text.split("\n") if line.startswith("#")]


def test_pages_headings_and_metadata():
    pages = [
        [(24, "The Stones"), *PARAGRAPH],
        [],
        [(18, "Granite"), *PARAGRAPH, (11, "Naïve only here.")],
        [(18, "Basalt"), *PARAGRAPH],
    ]
    content = read_pdf(pdf(pages, title="On stones"))
    first, empty, third, fourth = pages_of(content)
    assert first.startswith("# The Stones\n\nGranite is a coarse rock")
    assert empty == ""
    assert third.startswith("## Granite\n\n")
    assert third.endswith("Naïve only here.")
    assert fourth.startswith("## Basalt\n\n")
    assert content.text.count("café tables") == 3
    assert (content.title, content.page_names) == ("On stones", ())
    assert content.metadata == {
        **{"author": "Ann", "language": "en"},
        **{"created": "2021-03-04T03:06:07Z", "created_day": 20210304},
    }


def test_bookmarks_make_the_headings():
    pages = [
        [(11, "CHAPTER ONE"), (11, "The Stones of the Coast"), *PARAGRAPH],
        [(11, "1.1 Granite"), *PARAGRAPH, (11, "required", "bold"), *PARAGRAPH],
    ]
    content = read_pdf(pdf(pages, bookmarks=[("The stones of the coast", 0), ("Granite", 1), ("Not there", 1)]))
    assert headings(content) == ["# The Stones of the Coast", "# 1.1 Granite"]


def test_short_bold_lines_are_headings_where_nothing_else_says():
    content = read_pdf(pdf([[(16, "Stones"), *PARAGRAPH, (11, "Granite", "bold"), *PARAGRAPH]]))
    assert headings(content) == ["# Stones", "## Granite"]


def test_running_heads_and_page_numbers_are_left_out():
    pages = [
        [(9, f"Handbook of stones {i + 7}"), *PARAGRAPH, (11, f"Body {i}."), (9, f"- {i + 7} -"), (9, f"{i + 7}")]
        for i in range(5)
    ]
    text = read_pdf(pdf(pages)).text
    assert "Handbook" not in text
    assert "Body 3." in text
    assert "10" not in text


def test_a_table_of_contents_is_left_out():
    entries = [(11, f"{i} Chapter of stones . . . . . . . . . . . . {i * 10}") for i in range(1, 9)]
    content = read_pdf(pdf([[(18, "Contents"), *entries], [(18, "Granite"), *PARAGRAPH]]))
    assert pages_of(content)[0] == ""
    assert headings(content) == ["# Granite"]
    assert "Chapter of stones" in read_pdf(pdf([entries])).text  # a document that is nothing else


def test_code_keeps_its_lines():
    code = [(10, "for x in y:", "mono"), (10, "if x < 2:", "mono"), (10, "# say so", "mono"), (10, "print(x)", "mono")]
    content = read_pdf(pdf([[*PARAGRAPH, *code, *PARAGRAPH]]))
    assert "remain.\n\n```\nfor x in y:\nif x < 2:\n# say so\nprint(x)\n```\n\nGranite" in content.text
    assert headings(content) == ["# say so"]  # which is code


def line(text: str, left: float, bottom: float, cells: tuple = (), **font) -> Line:
    return Line(text, left, left + 5 * len(text), bottom, font.pop("size", 10.0), cells=cells, **font)


def test_indentation_and_blank_lines_of_code():
    lines = [
        line("def f(x):", 72, 700, is_mono=True),
        line("return 1", 92, 690, is_mono=True),
        line("f(2)", 72, 670, is_mono=True),
    ]
    assert list(read_layout([lines], [])) == [["```\ndef f(x):\n    return 1\n\nf(2)\n```"]]


def test_paragraphs_lists_and_divided_words():
    lines = [
        line("A line that is as long as the page is wide and goes on with a long hy\x02phen", 72, 700),
        line("and a second line, which ends the paragraph of the ﬁrst.", 72, 688),
        line("A second paragraph stands apart.", 72, 664),
        line("• one", 80, 640),
        line("• two", 80, 628),
    ]
    assert list(read_layout([lines], [])) == [
        [
            "A line that is as long as the page is wide and goes on with a long hyphen "
            "and a second line, which ends the paragraph of the first.",
            "A second paragraph stands apart.",
            "- one",
            "- two",
        ]
    ]


def row(bottom: float, *cells: str) -> Line:
    placed = tuple((72 + 150 * i, 72 + 150 * i + 5 * len(cell), cell) for i, cell in enumerate(cells))
    return line(" ".join(cells), 72, bottom, placed)


def test_aligned_cells_make_a_table():
    rows = [row(700, "Stone", "H|"), row(688, "Quartz", "7"), row(676, "Talc", "1")]
    expected = "| Stone | H\\| |\n| --- | --- |\n| Quartz | 7 |\n| Talc | 1 |"
    assert list(read_layout([[*rows, line("Text below.", 72, 640)]], [])) == [[expected, "Text below."]]
    columns = [row(700 - 12 * i, "a column of running text " * 2, "and another one beside it " * 2) for i in range(5)]
    assert "|" not in "".join(next(read_layout([columns], [])))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pdf([PARAGRAPH])[:400], "broken PDF"),
        (b"just text", "isn't a PDF"),
        (pdf([PARAGRAPH], trailer="/Encrypt << /Filter /Standard /V 1 /R 2 /O (x) /U (x) /P -4 >>"), "encrypted"),
        (pdf([[], []]), "holds no text on its 2 pages"),
    ],
)
def test_pdf_that_cannot_be_used(content, expected):
    with pytest.raises(InputError, match=expected) as caught:
        read_pdf(content)
    assert "Pdfium" not in str(caught.value)


def test_thousands_of_pages():
    content = read_pdf(pdf([[(11, f"Page {i} of a very long book.")] for i in range(3000)]))
    assert len(content.page_starts) == 3000
    assert content.text[content.page_starts[2998] :].startswith("Page 2998 of a very long book.")

"""Real files of every kind become documents, or a reason why not."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.types import Document
from ingest.extract import load
from ingest.formats.html import render
from ingest.sources import discover


def load_bytes(tmp_path: Path, name: str, content: str | bytes) -> Document:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    [source] = discover([str(path)])
    return load(source).document


def reason(tmp_path: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        load_bytes(tmp_path, name, content)
    return str(caught.value)


def pdf(pages: list[list[tuple[int, str]]], title: str = "", trailer: str = "") -> bytes:
    """A PDF of the given pages, each a list of (font size, line)."""
    contents = []
    for lines in pages:
        drawn, y = [], 760
        for size, line in lines:
            y -= 2 * size
            escaped = line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
            drawn.append(f"BT /F1 {size} Tf 60 {y} Td ({escaped}) Tj ET")
        contents.append("\n".join(drawn))
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for i, content in enumerate(contents):
        resources = "/MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R {resources} /Contents {5 + 2 * i} 0 R >>")
        objects.append(f"<< /Length {len(content.encode('cp1252'))} >>\nstream\n{content}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    out, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("cp1252")
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R {trailer} >>"
    return out + f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}\nstartxref\n{len(out)}\n%%EOF".encode()


PARAGRAPH = [
    (11, "Granite is a coarse rock that cools slowly, deep below the surface."),
    (11, "Its grains can be seen with the naked eye; feldspar gives"),
    (11, "it the colour that café tables and kitchen tops are known for."),
    (11, "Where it weathers, sand and clay remain."),
]


def test_plain_text(tmp_path):
    document = load_bytes(tmp_path, "notes.txt", "Stones\r\n======\r\n\r\nGranite is hard.\rSo is basalt.\r\n")
    assert document.text == "Stones\n======\n\nGranite is hard.\nSo is basalt.\n"
    assert (document.title, document.markup, document.page_starts) == ("Stones", "text", ())
    assert document.metadata == {"format": "text", "source": "notes.txt"}
    assert load_bytes(tmp_path, "my notes.log", "no heading").title == "my notes"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path, encoding):
    assert load_bytes(tmp_path, "a.txt", "Gruß 字\n".encode(encoding)).text == "Gruß 字\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Gr\xfc\xdfe aus M\xfcnchen", "isn't valid UTF-8: byte 2 is 0xfc"),
        (b"some\x00text", "looks binary"),
        (b"\x7fELF\x02\x01\x01\x00\x00\x00\xff\xfe", "looks binary"),
        (bytes(range(256)) * 50, "looks binary"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "looks binary"),
        (b"\x01\x02\x03\x04" * 20, "looks binary"),
        (b"\xff\xfea\x00\x00\xd8", "isn't valid UTF-16-LE: byte 4"),
    ],
)
def test_what_is_not_text(tmp_path, content, expected):
    assert expected in reason(tmp_path, "a.txt", content)


def test_markdown_front_matter_becomes_metadata(tmp_path):
    text = '---\ntitle: "My title"\nTags: [a, "b c"]\nauthor: Ann\nempty:\n---\n# Heading\n\nText.\n'
    document = load_bytes(tmp_path, "a.md", text)
    assert (document.title, document.text, document.markup) == ("My title", "# Heading\n\nText.\n", "markdown")
    assert document.metadata == {"tags": ["a", "b c"], "author": "Ann", "format": "markdown", "source": "a.md"}


def test_markdown_title_is_its_first_main_heading(tmp_path):
    assert load_bytes(tmp_path, "a.md", "## Sub\n\n# Main\n").title == "Main"
    assert load_bytes(tmp_path, "b.md", "---\n\nrule, not front matter\n\n---\n").title == "b"


PAGE = """<!DOCTYPE html><html><head><title>Stones &mdash; The Site</title><style>p {}</style></head><body>
<header><h1>The Site</h1></header><nav><a>Home</a></nav><div class="sphinxsidebar">side</div>
<div role="main"><h1>Stones<a class="headerlink" href="#x">¶</a></h1>
<p>Granite is <b>hard</b>,<br>basalt is
too &amp; more.<p>Unclosed.
<ul><li>one<ul><li>inner</ul><li><p>two</p><p>more</p></ul><ol><li>first<li>second</ol>
<h2>Code</h2><div class="highlight"><pre><code class="language-python">if a:
    b = "```"
</code></pre></div>
<table><caption>Hardness</caption><tr><th>a<th>b|c</tr><tr><td>1<td>2<br>3</table>
<dl><dt>term</dt><dd>meaning</dd></dl>
<table><tr><td><pre>layout</pre></td></tr></table></div>
<footer>© someone</footer><script>var x = "<p>no</p>";</script></body></html>"""


def test_html_keeps_the_pages_own_text(tmp_path):
    document = load_bytes(tmp_path, "a.html", PAGE)
    assert document.title == "Stones"
    assert document.markup == "markdown"
    assert document.text == (
        "# Stones\n\nGranite is hard,\nbasalt is too & more.\n\nUnclosed.\n\n"
        "- one\n  - inner\n- two\n\n  more\n\n1. first\n2. second\n\n"
        '## Code\n\n````python\nif a:\n    b = "```"\n````\n\n'
        "Hardness\n\n| a | b\\|c |\n| --- | --- |\n| 1 | 2 3 |\n\nterm\n\nmeaning\n\n```\nlayout\n```"
    )


def test_html_without_marked_content_loses_its_furniture(tmp_path):
    page = '<title>T</title><header>h</header><nav>n</nav><aside>a</aside><p hidden>x</p><p role="search">s</p>Body'
    document = load_bytes(tmp_path, "a.htm", page)
    assert (document.title, document.text) == ("T", "Body")
    assert "besides navigation" in reason(tmp_path, "b.html", "<nav>only</nav><script>1</script>")


TAGS = (
    "p",
    "div",
    "ul",
    "ol",
    "li",
    "table",
    "tr",
    "td",
    "th",
    "pre",
    "h2",
    "b",
    "br",
    "caption",
    "dl",
    "dd",
    "section",
)


@given(st.lists(st.one_of(st.sampled_from(TAGS), st.sampled_from(TAGS).map("/".__add__), st.just("")), max_size=40))
def test_html_loses_no_text_however_its_tags_are_mixed_up(tags):
    words = [f"w{i}x" for i in range(len(tags) + 1)]
    page = words[0] + "".join((f"<{tag}>" if tag else " ") + word for tag, word in zip(tags, words[1:], strict=True))
    _, text = render(page)
    assert sorted(re.findall(r"w\d+x", text)) == sorted(words)


def test_html_declares_its_encoding(tmp_path):
    page = '<meta charset="windows-1252"><p>Gr\xfc\xdfe</p>'.encode("cp1252")
    assert load_bytes(tmp_path, "a.html", page).text == "Grüße"
    assert "isn't valid UTF-8" in reason(tmp_path, "b.html", b"<p>Gr\xfc\xdfe</p>")


def test_hostile_html_takes_linear_time(tmp_path):
    assert load_bytes(tmp_path, "a.html", "<div>" * 100_000 + "deep" + "</p></div>" * 50_000).text == "deep"
    assert len(load_bytes(tmp_path, "b.html", "<ul>" + "<li>x" * 50_000).text.split("\n")) == 50_000


def test_pdf_pages_and_headings(tmp_path):
    pages = [
        [(24, "The Stones"), *PARAGRAPH],
        [],
        [(18, "Granite"), *PARAGRAPH, (11, "Naïve only here.")],
        [(18, "Basalt"), *PARAGRAPH],
    ]
    document = load_bytes(tmp_path, "a.pdf", pdf(pages, title="On stones"))
    assert (document.title, document.markup) == ("On stones", "markdown")
    starts = document.page_starts
    assert len(starts) == 4
    assert starts[0] == 0 < starts[1] == starts[2] < starts[3]
    assert document.text[starts[2] :].lstrip("# ").startswith("Granite")
    assert document.text[starts[3] :].lstrip("# ").startswith("Basalt")
    assert starts[2] < document.text.index("Naïve only here.") < starts[3]
    assert "# The Stones" in document.text
    assert document.text.count("café tables") == 3
    assert document.metadata == {"format": "pdf", "source": "a.pdf"}


def test_pdf_running_heads_are_left_out(tmp_path):
    pages = [[(9, f"Handbook of stones {i + 7}"), *PARAGRAPH, (11, f"Body {i}.")] for i in range(5)]
    text = load_bytes(tmp_path, "a.pdf", pdf(pages)).text
    assert "Handbook" not in text
    assert "Body 3." in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pdf([PARAGRAPH])[:400], "broken PDF"),
        (b"just text", "isn't a PDF"),
        (pdf([PARAGRAPH], trailer="/Encrypt << /Filter /Standard /V 1 /R 2 /O (x) /U (x) /P -4 >>"), "encrypted"),
        (pdf([[], []]), "holds no text on its 2 pages"),
    ],
)
def test_pdf_that_cannot_be_used(tmp_path, content, expected):
    message = reason(tmp_path, "a.pdf", content)
    assert expected in message
    assert "Pdfium" not in message


def beir(tmp_path: Path, **record) -> Document:
    return load_bytes(tmp_path, "corpus.jsonl", json.dumps({"_id": "d1", "text": "Text.", **record}))


def test_beir_line(tmp_path):
    document = beir(tmp_path, title=" A \n title", metadata={"year": 1986, "tags": ["a"], "ok": True, "none": None})
    assert (document.id, document.title, document.text) == ("d1", "A title", "Text.")
    assert document.metadata == {
        **{"year": 1986, "tags": ["a"], "ok": True},
        **{"format": "beir", "source": "corpus.jsonl"},
    }
    assert beir(tmp_path).title == "d1"
    assert beir(tmp_path, text="", title="Only title").text == "Only title"


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], [["a"]], 2**70])
def test_beir_metadata_that_cannot_be_filtered_by(tmp_path, value):
    with pytest.raises(InputError, match="metadata 'bad'"):
        beir(tmp_path, metadata={"bad": value})

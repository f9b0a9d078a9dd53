"""Real files of every kind become documents, or a reason why not."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.types import Document
from ingest.extract import load
from ingest.formats.html import render
from ingest.sources import discover
from tests.ingest.formats.files import docx, epub, paragraph, pdf, pptx, shape, xlsx


def load_bytes(tmp_path: Path, name: str, content: str | bytes) -> Document:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    [source] = discover([str(path)])
    return load(source).document


def reason(tmp_path: Path, name: str, content: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        load_bytes(tmp_path, name, content)
    return str(caught.value)


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
    text = render(page).text
    assert sorted(re.findall(r"w\d+x", text)) == sorted(words)


def test_html_declares_its_encoding(tmp_path):
    page = '<meta charset="windows-1252"><p>Gr\xfc\xdfe</p>'.encode("cp1252")
    assert load_bytes(tmp_path, "a.html", page).text == "Grüße"
    assert "isn't valid UTF-8" in reason(tmp_path, "b.html", b"<p>Gr\xfc\xdfe</p>")


def test_hostile_html_takes_linear_time(tmp_path):
    assert load_bytes(tmp_path, "a.html", "<div>" * 100_000 + "deep" + "</p></div>" * 50_000).text == "deep"
    assert len(load_bytes(tmp_path, "b.html", "<ul>" + "<li>x" * 50_000).text.split("\n")) == 50_000


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


def test_every_format_of_file_is_read(tmp_path):
    page = "<title>T</title><p>Text.</p>"
    notebook = {"cells": [{"cell_type": "markdown", "source": "# N"}], "metadata": {}}
    files = {
        "a.docx": (docx(paragraph("Word.")), "Word.", "markdown", "docx"),
        "a.pptx": (pptx([shape("Slide.", kind="title")]), "# Slide.", "markdown", "pptx"),
        "a.xlsx": (xlsx({"S": [["a", "b"]]}), "# S\n\n| a | b |\n| --- | --- |", "markdown", "xlsx"),
        "a.epub": (epub({"a.xhtml": "<p>Book.</p>"}), "Book.", "markdown", "epub"),
        "a.pdf": (pdf([[(11, "Paper.")]]), "Paper.", "markdown", "pdf"),
        "a.eml": (b"Subject: s\n\nMail.", "Subject: s\n\nMail.", "text", "eml"),
        "a.ipynb": (json.dumps(notebook).encode(), "# N", "markdown", "notebook"),
        "a.csv": (b"a;b\n1;2\n", "| a | b |\n| --- | --- |\n| 1 | 2 |", "markdown", "csv"),
        "a.tsv": (b"a\tb, c\n1\t2\n", "| a | b, c |\n| --- | --- |\n| 1 | 2 |", "markdown", "tsv"),
        "a.json": (b'{"k": 1}', "- k: 1", "markdown", "json"),
        "a.xhtml": (page.encode(), "Text.", "markdown", "html"),
        "a.rst": (b"T\n=\n", "T\n=\n", "text", "rst"),
        "a.rs": (b"fn f() {}\n", "fn f() {}\n", "code:rust", "code"),
        "a.sh": (b"exit 0\n", "exit 0\n", "code:shell", "code"),
    }
    for name, (data, text, markup, form) in files.items():
        document = load_bytes(tmp_path, name, data)
        assert (document.text, document.markup) == (text, markup)
        assert (document.metadata["format"], document.metadata["source"]) == (form, name)


def test_pages_of_a_document_have_names(tmp_path):
    document = load_bytes(tmp_path, "a.pptx", pptx([shape("One", kind="title"), shape("Two", kind="title")]))
    assert document.page_names == ("slide 1", "slide 2")
    assert document.text[document.page_starts[1] :] == "# Two"


def test_titles_are_the_sources_own_or_the_files_name(tmp_path):
    own = load_bytes(tmp_path, "a.md", "# Own\n")
    named = load_bytes(tmp_path, "notes.md", "No heading.\n")
    code = load_bytes(tmp_path, "notes.py", "x = 1\n")
    assert [(each.title, each.has_own_title) for each in (own, named, code)] == [
        *(("Own", True), ("notes", False), ("notes.py", False))
    ]


def test_too_much_text_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("é" * 2000)
    [source] = discover([str(path)])
    assert load(source, max_text_chars=2000).document.text == "é" * 2000
    with pytest.raises(
        InputError, match="holds 2,000 characters of text, more than the limit of 1,999; raise max_text_mb"
    ):
        load(source, max_text_chars=1999)


def test_what_the_user_says_of_a_document_outweighs_what_it_says_itself(tmp_path):
    path = tmp_path / "a.md"
    path.write_text("---\nauthor: Ann\nformat: own\n---\nText.\n")
    [source] = discover([str(path)])
    metadata = load(replace(source, metadata={"author": "Bob"})).document.metadata
    assert metadata == {"author": "Bob", "format": "markdown", "source": "a.md"}

"""Text, Markdown and reStructuredText: front matter and docinfo become metadata."""

import pytest

from ingest.formats.html import read_html
from ingest.formats.text import read_code, read_markdown, read_rst


def test_nested_front_matter():
    content = read_markdown(
        b"---\ntitle: Stones\nauthors:\n  - name: Ann\n  - name: Bob\ndate: 2021-03-04\nlang: en\ndraft: false\n"
        b"weight: 2\nseo:\n  words: [a, b]\n---\n\n# Heading\n"
    )
    assert (content.title, content.text) == ("Stones", "\n# Heading\n")
    assert content.metadata == {
        **{"authors.name": ["Ann", "Bob"], "author": ["Ann", "Bob"], "date": "2021-03-04", "lang": "en"},
        **{"created": "2021-03-04", "created_day": 20210304, "language": "en"},
        **{"draft": False, "weight": 2, "seo.words": ["a", "b"]},
    }


def test_toml_front_matter():
    content = read_markdown(b'+++\ntitle = "Stones"\ndate = 2021-03-04\n[params]\nn = 1\n+++\nText.\n')
    assert (content.title, content.text) == ("Stones", "Text.\n")
    assert content.metadata == {
        **{"date": "2021-03-04", "created": "2021-03-04", "created_day": 20210304, "params.n": 1}
    }


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("title: One: two\nn: 3", {"n": "3"}),  # not quite YAML
        ("a: &a [x, *b]", {"a": "&a [x, *b]"}),
        ("x: !!python/object/apply:os.system [true]", {"x": "!!python/object/apply:os.system [true]"}),
    ],
)
def test_broken_front_matter_is_read_line_by_line(front, expected):
    content = read_markdown(f"---\n{front}\n---\nText.\n".encode())
    assert content.text == "Text.\n"
    assert content.metadata == expected


@pytest.mark.parametrize(
    "text", ["---\n\njust text\n\n---\n", "---\n- a\n- b\n---\n", "+++\nno toml\n+++\n", "---\nopen: 1\n"]
)
def test_what_is_no_front_matter_stays(text):
    content = read_markdown(text.encode())
    assert (content.text, content.metadata) == (text, {})


def test_docinfo():
    text = "Stones\n======\n\n:Author: Ann\n:Date: 2021-03-04\n:Abstract: Two\n   lines\n\n:no: Field list\n\nText.\n"
    content = read_rst(text.encode())
    assert (content.title, content.text, content.markup) == ("Stones", text, "text")
    assert content.metadata == {
        **{"author": "Ann", "date": "2021-03-04", "abstract": "Two lines"},
        **{"created": "2021-03-04", "created_day": 20210304},
    }
    assert read_rst(b"Text first.\n\n:Author: Ann\n").metadata == {}


def test_source_code_in_its_own_encoding():
    content = read_code("# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"), "python")
    assert (content.text, content.markup) == ("# -*- coding: latin-1 -*-\nx = 'é'\n", "code:python")
    assert content.metadata == {"programming_language": "python"}


def test_html_metadata():
    page = """<html lang="en-US"><head><title>T</title><meta name="author" content="Ann"><meta name=author content=Bob>
<meta property="article:published_time" content="2021-03-04T05:06:07+00:00"><meta name="Last-Modified" content="2022">
<meta name="keywords" content="a, b"><meta name="description" content="About  stones."></head><body>Text.</body>"""
    assert read_html(page.encode()).metadata == {
        **{"author": ["Ann", "Bob"], "language": "en", "description": "About stones.", "keywords": ["a", "b"]},
        **{"created": "2021-03-04T05:06:07Z", "created_day": 20210304, "modified": "2022", "modified_day": 20220000},
    }

"""CSV, JSON and notebooks become Markdown that a reader, a chunker and a citation can use."""

import json

import pytest

from core.errors import InputError
from ingest.formats.json_text import read_json
from ingest.formats.notebook import read_notebook
from ingest.formats.tabular import MAX_COLUMNS, read_csv


def reason(read, data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(data)
    return str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_finds_its_delimiter(delimiter):
    rows = [["Stone", "Found, in 1,5 km", "H"], ["Quartz", "a | b; c", "7"], ["Talc", "two\nlines", "1"]]
    quoted = "\r\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    assert read_csv(quoted.encode()).text == (
        "| Stone | Found, in 1,5 km | H |\n| --- | --- | --- |\n| Quartz | a \\| b; c | 7 |\n| Talc | two lines | 1 |"
    )


def test_csv_with_ragged_and_empty_rows():
    assert read_csv(b"a,b\n1\n\n2,3,4\n").text == "| a | b |  |\n| --- | --- | --- |\n| 1 |  |  |\n| 2 | 3 | 4 |"
    assert read_csv(b"one\ntwo\n").text == "| one |\n| --- |\n| two |"


def test_csv_that_cannot_be_used():
    assert f"has 1000001 columns in row 1; the limit is {MAX_COLUMNS}" in reason(read_csv, b"," * 1_000_000)
    assert "isn't valid CSV" in reason(read_csv, b'a,b\n"open,1\n')
    assert "looks binary" in reason(read_csv, b"a\0b")


def test_a_long_csv_cell_is_kept():
    assert "x" * 300_000 in read_csv(b"a,b\n1," + b"x" * 300_000).text


def test_json_keys_become_headings_labels_and_tables():
    tree = {
        **{"title": "On  stones", "author": "Ann", "date": "2021-03-04", "lang": "en-GB", "n": 1.50, "ok": True},
        **{"nothing": None, "empty": [], "long": "First sentence.\nSecond sentence.", "tags": ["a", "b"]},
        "stones": [{"name": "Quartz", "h": 7}, {"name": "Talc|x", "h": 1}],
        "parts": [{"name": "Core", "about": {"depth": {"km": {"from": 1}}}, "more": [[1, 2], [3]]}],
    }
    content = read_json(json.dumps(tree).encode())
    assert content.title == "On stones"
    assert content.metadata == {"author": "Ann", "created": "2021-03-04", "created_day": 20210304, "language": "en"}
    assert content.text == (
        "- title: On  stones\n- author: Ann\n- date: 2021-03-04\n- lang: en-GB\n- n: 1.5\n- ok: true\n\n"
        "# long\n\nFirst sentence.\nSecond sentence.\n\n# tags\n\n- a\n- b\n\n"
        "# stones\n\n| name | h |\n| --- | --- |\n| Quartz | 7 |\n| Talc\\|x | 1 |\n\n"
        "# parts\n\n## Core\n\n- name: Core\n\n### about\n\ndepth:\n\nkm:\n\n- from: 1\n\n"
        "### more\n\n1:\n\n- 1\n- 2\n\n2:\n\n- 3"
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a": ]', "Expecting value at line 1, column 7"),
        (b"[" * 200_000, "nested too deeply"),
        (b"[" * 3000 + b"]" * 3000, "nested too deeply"),
        (b'{"n": ' + b"1" * 5000 + b"}", "too many digits"),
    ],
)
def test_json_that_cannot_be_used(data, expected):
    assert expected in reason(read_json, data)


def notebook(cells: list, **metadata) -> bytes:
    about = {"language_info": {"name": "python"}, "authors": [{"name": "Ann"}], **metadata}
    return json.dumps({"nbformat": 4, "cells": cells, "metadata": about}).encode()


def test_notebook_cells_are_pages():
    outputs = [
        {"output_type": "stream", "text": ["hello\n", "\x1b[31mred\x1b[0m\n"]},
        {
            "output_type": "execute_result",
            "data": {"text/plain": "   a\n0  1", "text/html": "<table><tr><th>a</th></tr><tr><td>1</td></tr></table>"},
        },
        {"output_type": "display_data", "data": {"text/plain": "   x\n0  1", "image/png": "iVBOR"}},
        {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["…"]},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Stones\n", "if $a<b$\n"]},
        {"cell_type": "code", "source": "for x in y:\n    print(x)", "outputs": outputs},
        {"cell_type": "code", "source": "", "outputs": []},
    ]
    content = read_notebook(notebook(cells))
    assert content.text == (
        "# Stones\nif $a<b$\n\n```python\nfor x in y:\n    print(x)\n```\n\n```\nhello\nred\n```\n\n"
        "| a |\n| --- |\n| 1 |\n\n```\n   x\n0  1\n```\n\n```\nValueError: bad\n```"
    )
    assert content.page_names == ("cell 1", "cell 2", "cell 3")
    assert content.text[content.page_starts[1] :].startswith("```python")
    assert (content.title, content.metadata) == ("Stones", {"author": "Ann", "programming_language": "python"})


@pytest.mark.parametrize(
    "data", [b"{}", b"[1]", b'{"cells": 3}', b"not json", b'{"cells": [{"cell_type": "code", "outputs": [1]}]}']
)
def test_what_is_no_notebook(data):
    assert "isn't a notebook in format 4" in reason(read_notebook, data)

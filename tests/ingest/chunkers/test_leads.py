"""Parts of a divided table repeat its header, parts of divided code the lines that open their scopes."""

import pytest

from core.types import Span
from ingest.chunkers.leads import NO_LEAD, Scopes, header_rows, write_lead
from ingest.chunkers.measure import TokenRuler
from tests.ingest.chunkers.cutting import check, document


@pytest.mark.parametrize("chunker", ["structure", "topic"])
def test_each_part_of_a_divided_table_repeats_the_header(chunker, cut):
    header = "| Country | Capital | Inhabitants |"
    rows = [f"| Country number {i} | Town number {i} | {i * 1000} |" for i in range(60)]
    text = "\n".join(["Towns of the world.", "", header, "|---|---|---|", *rows, "", "The table ends here."])
    doc = document(text)
    chunks = cut(doc, chunker=chunker)
    check(doc, chunks)
    assert len(chunks) > 3
    first, *others = chunks
    assert header in first.text
    assert first.lead == ""
    assert {chunk.lead for chunk in others} == {header}
    for chunk in others:
        assert chunk.embedding_text == f"Title\n{header}\n{chunk.text}"
        assert chunk.lexical_text == f"Title\n{header}\n{chunk.text}"
        assert chunk.text.startswith("| Country number")
        assert chunk.encoder_tokens == cut.tokenizer.count([chunk.embedding_text])[0]
        assert cut.tokenizer.count([f"{header}\n{chunk.text}"])[0] <= 202


@pytest.mark.parametrize("chunker", ["structure", "topic"])
def test_a_table_that_fits_needs_no_lead(chunker, cut):
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {i} | {i} |" for i in range(10))
    assert [chunk.lead for chunk in cut(document(table), chunker=chunker)] == [""]


@pytest.mark.parametrize(
    ("table", "rows", "body"),
    [
        ("| a | b |\n|---|:-:|\n| 1 | 2 |", ["| a | b |"], "| 1 | 2 |"),
        ("+---+---+\n| a | b |\n| c | d |\n+===+===+\n| 1 | 2 |", ["| a | b |", "| c | d |"], "| 1 | 2 |"),
        ("=== ===\na   b\n=== ===\n1   2\n=== ===", ["a   b"], "1   2\n=== ==="),
        ("name,age\nBob,3\nEve,4", ["name,age"], "Bob,3\nEve,4"),
        ("+---+\n", [], "+---+\n"),
        ("+-+\n| a |\n| b |\n| c |\n| d |\n| e |\n| f |", ["| a |"], "| b |\n| c |\n| d |\n| e |\n| f |"),
    ],
)
def test_header_rows(table, rows, body):
    spans, start = header_rows(table, 0, len(table))
    assert [table[span.start : span.end] for span in spans] == rows
    assert table[start:] == body


@pytest.mark.parametrize("chunker", ["structure", "topic"])
def test_a_header_of_a_million_columns_is_cut(chunker, cut):
    header = ",".join(f"column{i}" for i in range(100_000))
    text = f"| {header} |\n|---|\n| {','.join(['1'] * 10_000)} |\n| 2 | 3 |"
    doc = document(text)
    chunks = cut(doc, chunker=chunker)
    check(doc, chunks)
    assert chunks[0].lead == ""
    assert chunks[-1].lead.startswith("| column0,")
    assert max(cut.tokenizer.count([chunk.lead for chunk in chunks])) <= 52


PYTHON = """class Store:
    @property
    def rows(
        self,
        limit,
    ):
        '''All of them.'''
        for row in range(limit):
            if row:
                yield row
    def other(self):
        pass
"""


@pytest.mark.parametrize(
    ("line", "scopes"),
    [
        ("yield row", ["class Store:", "    def rows(", "        for row in range(limit):", "            if row:"]),
        ("'''All", ["class Store:", "    def rows("]),
        ("pass", ["class Store:", "    def other(self):"]),
        ("class", []),
    ],
)
def test_scopes_are_the_less_indented_lines_above(line, scopes):
    at = PYTHON.index(line)
    assert [PYTHON[span.start : span.end] for span in Scopes(PYTHON, 0).around(at, len(PYTHON))] == scopes


def test_scopes_of_rising_offsets_agree_with_those_of_each_alone():
    offsets = [at for at, character in enumerate(PYTHON) if not character.isspace()]
    scopes = Scopes(PYTHON, 0)
    for at in offsets:
        assert scopes.around(at, len(PYTHON)) == Scopes(PYTHON, 0).around(at, len(PYTHON))


@pytest.mark.parametrize("chunker", ["structure", "topic"])
@pytest.mark.parametrize("markup", ["markdown", "code:python"])
def test_parts_of_a_divided_function_carry_its_signature(chunker, markup, cut):
    body = "\n".join(f"    total_{i} = compute(argument={i}, scale={i})" for i in range(60))
    source = f"def add_everything(values, scale):\n{body}\n    return total_59"
    doc = document(f"```python\n{source}\n```" if markup == "markdown" else source, markup)
    chunks = cut(doc, chunker=chunker)
    check(doc, chunks)
    assert len(chunks) > 3
    assert chunks[0].lead == ""
    inner = [chunk for chunk in chunks[1:] if chunk.text.startswith("total")]
    assert len(inner) >= len(chunks) - 2
    assert {chunk.lead for chunk in inner} == {"def add_everything(values, scale):"}


def test_a_lead_keeps_whole_lines_while_they_fit(tokenizer):
    text = "one two three\nfour five six\nseven eight"
    ruler = TokenRuler(text, tokenizer)
    lines = [Span(0, 13), Span(14, 27), Span(28, 39)]
    assert write_lead(text, lines, ruler, 6).text == "one two three\nfour five six"
    assert write_lead(text, lines, ruler, 6).n_tokens == 6
    assert write_lead(text, lines, ruler, 2).text == "one two"
    assert write_lead(text, [], ruler, 6) == NO_LEAD

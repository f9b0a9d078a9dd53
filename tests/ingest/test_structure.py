"""Blocks of Markdown and plain text: kinds, exact offsets, heading paths, linear time."""

from pydoc_data.topics import topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.structure import parse
from tests.growth import growth


def kinds(text: str, markup: str = "markdown") -> list[tuple[str, str]]:
    return [(block.kind, text[block.start : block.end]) for block in parse(text, markup).blocks]


def headings(text: str, markup: str = "markdown") -> list[tuple[int, str]]:
    return [(block.level, block.title) for block in parse(text, markup).blocks if block.kind == "heading"]


def test_atx_and_setext_headings():
    text = "# One #\n\nTwo\n===\n\n### `Three` of [links](http://x)\n\nFour\n----\ntext\n\n#no heading\n\n#\n"
    assert headings(text) == [(1, "One"), (1, "Two"), (3, "Three of links"), (2, "Four")]


def test_underlined_titles_of_plain_text_get_levels_in_order_of_appearance():
    text = "======\n Book\n======\n\nPart\n****\n\nChapter\n-------\n\nPart 2\n******\n\nwide text\n---\n"
    assert headings(text, "text") == [(1, "Book"), (2, "Part"), (3, "Chapter"), (2, "Part 2")]


def test_dashes_under_a_list_or_table_make_no_heading():
    assert headings("- item\n---\n") == []
    assert headings("| a | b |\n| - | - |\n| 1 | 2 |\n") == []


def test_blocks_of_markdown():
    text = (
        "Para one\nstill one\n\n- item\n  continued\n\n  more\n- item\n\nPara\n```python\n# no heading\n\ncode\n```\n"
        "after\n\n    indented\n\n    code\n\n| a | b |\n|---|---|\n| 1 | 2 |\nend\n"
    )
    assert kinds(text) == [
        ("paragraph", "Para one\nstill one"),
        ("list", "- item\n  continued\n\n  more\n- item"),
        ("paragraph", "Para"),
        ("code", "```python\n# no heading\n\ncode\n```"),
        ("paragraph", "after"),
        ("code", "indented\n\n    code"),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("paragraph", "end"),
    ]


def test_blocks_of_plain_text():
    text = (
        "Example::\n\n   literal\n\n   block\n\nText\n\n+---+---+\n| a | b |\n+---+---+\n\n"
        "=====  =====\nA      B\n=====  =====\n\n.. code-block:: python\n\n   x = 1\n\n>>> 1 + 1\n2\n"
    )
    assert kinds(text, "text") == [
        ("paragraph", "Example::"),
        ("code", "literal\n\n   block"),
        ("paragraph", "Text"),
        ("table", "+---+---+\n| a | b |\n+---+---+"),
        ("table", "=====  =====\nA      B\n=====  ====="),
        ("code", ".. code-block:: python\n\n   x = 1"),
        ("code", ">>> 1 + 1\n2"),
    ]


def test_tilde_fences_hold_backticks_and_an_open_fence_reaches_the_end():
    assert kinds("~~~\n```\n~~~\n\ntext") == [("code", "~~~\n```\n~~~"), ("paragraph", "text")]
    assert kinds("```\na\n\n# b") == [("code", "```\na\n\n# b")]


def test_a_wrapped_year_opens_no_list():
    assert [kind for kind, _ in kinds("It began in\n1986. Then it went on.")] == ["paragraph"]


def test_heading_path_at_offsets():
    text = "intro\n\n# A\n\na\n\n## B\n\nb\n\n### C\n\nc\n\n## D\n\nd\n\n# E\n"
    blocks = parse(text, "markdown")
    assert blocks.headings_at(0) == ()
    assert blocks.headings_at(text.index("# A")) == ("A",)
    assert blocks.headings_at(text.index("c\n")) == ("A", "B", "C")
    assert blocks.headings_at(text.index("d\n")) == ("A", "D")
    assert blocks.headings_at(len(text)) == ("E",)


def test_real_reference_text_has_titles():
    assert headings(topics["for"], "text")[0] == (1, 'The "for" statement')


LINES = (
    *(
        "",
        "text",
        "# H",
        "Title",
        "=====",
        "---",
        "- item",
        "  more",
        "```",
        "~~~",
        "    code",
        "| a | b |",
        "|---|---|",
    ),
    *("a::", "+--+", "1. x", ">>> x", "== ==", "#", "\t", "é字", "\x0c"),
)
lines = st.sampled_from(LINES)


@given(st.one_of(st.text(), st.lists(lines, max_size=30).map("\n".join)), st.sampled_from(["text", "markdown"]))
def test_every_visible_character_lies_in_exactly_one_block(text, markup):
    at = 0
    for block in parse(text, markup).blocks:
        assert at <= block.start < block.end <= len(text)
        assert not text[at : block.start].strip()
        assert text[block.start : block.end].strip() == text[block.start : block.end]
        at = block.end
    assert not text[at:].strip()


@pytest.mark.parametrize("markup", ["text", "markdown"])
@pytest.mark.parametrize("unit", ["#", "`", "|-", "a\n", "- a\n\n", "===\n", " a::\n\n", "```x\n", "| a |\n", "[("])
def test_hostile_text_takes_linear_time(unit, markup):
    assert growth(lambda n: parse(unit * n, markup), 25_000) < 9  # linear is four, quadratic sixteen


def test_one_line_of_fifty_megabytes():
    assert len(parse("a" * 50_000_000, "markdown").blocks) == 1
    assert growth(lambda n: parse("a" * n, "markdown"), 10_000_000) < 9

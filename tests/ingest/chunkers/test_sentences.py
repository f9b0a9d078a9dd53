"""Sentences: where they end, that they cover the range exactly, and that none is too long."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.types import Span
from ingest.chunkers.sentences import MAX_UNSPACED_CHARS, MAX_WORDS, MIN_CHARS, merge_short, split_sentences
from tests.growth import growth


def texts(text: str, by_line: bool = False) -> list[str]:
    return [text[span.start : span.end] for span in split_sentences(text, 0, len(text), by_line)]


LONG = "It goes on for long enough to stand alone."


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. J. R. Smith of the U.S. Army paid 3.14 dollars for it.",
        "Some marks, e.g. the full stop in Fig. 3 and Eq. 12, end nothing.",
        "Wait... there is more to come after these dots.",
        '"Was this really true all along?" he asked her.',
        "The function returned (in vol. 3, pp. 12 ff.) the wrong answer.",
        "Version 3.11.2 fixed it, i.e. nobody needs the patch.",
    ],
)
def test_marks_inside_a_sentence_do_not_end_it(sentence):
    assert texts(f"{LONG} {sentence} {LONG}") == [LONG, sentence, LONG]


@pytest.mark.parametrize(
    "sentence",
    [
        "That was the end of it all, wasn't it?",
        'He said to all of us: "Now it is over."',
        "It happened (and nobody can deny it!)",
        "It was over in the long summer of 1986.",
        "Nobody could do it better than you and I.",
    ],
)
def test_a_sentence_ends_behind_its_closing_marks(sentence):
    assert texts(f"{sentence} {LONG}") == [sentence, LONG]


def test_east_asian_sentences_need_no_spaces():
    one = "这是一个相当长的中文句子，里面没有任何空格，但是它有三十个以上的字符。"
    other = "「真的是这样吗，我觉得这个问题非常值得我们大家一起好好讨论一下。」"
    assert texts(one + other) == [one, other]


def test_list_items_and_table_rows_end_sentences_but_wrapped_lines_do_not():
    text = (
        "A paragraph that is wrapped over\ntwo lines of the text file.\n"
        "- the first item, which has no full stop\n- the second item, which has none either\n"
        "12. a numbered item that is long enough\n| a table row | that is long enough |"
    )
    assert texts(text) == [
        "A paragraph that is wrapped over\ntwo lines of the text file.",
        "- the first item, which has no full stop",
        "- the second item, which has none either",
        "12. a numbered item that is long enough",
        "| a table row | that is long enough |",
    ]


def test_code_is_divided_by_line():
    text = "    first_result = compute(argument=1)\n    second_result = compute(argument=2)"
    assert texts(text, by_line=True) == ["first_result = compute(argument=1)", "second_result = compute(argument=2)"]


def test_short_sentences_join_a_neighbour():
    assert texts(f"No. {LONG}") == [f"No. {LONG}"]
    assert texts(f"{LONG} Yes!") == [f"{LONG} Yes!"]
    assert merge_short("a b", [Span(0, 1), Span(2, 3)]) == (Span(0, 3),)


def test_a_long_sentence_is_cut_at_clauses_into_even_parts():
    clause = "one two three four five six seven eight nine ten,"
    parts = texts(" ".join([clause] * 8))
    assert parts == [" ".join([clause] * 4)] * 2


def test_an_endless_word_and_unspaced_text_are_cut_by_characters():
    assert max(map(len, texts("字" * 1000))) <= MAX_UNSPACED_CHARS
    assert len(texts("x" * 10_000)) >= 5


alphabets = st.one_of(st.text(), st.text(alphabet=" \n\t.!?,;。！？，abAB1字é\u0301’”)(-*|#`"))


@given(text=alphabets, by_line=st.booleans(), data=st.data())
def test_sentences_cover_the_range_exactly(text, by_line, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    at = start
    for span in split_sentences(text, start, end, by_line):
        assert at <= span.start < span.end <= end
        assert not text[at : span.start].strip()
        assert text[span.start : span.end].strip() == text[span.start : span.end]
        at = span.end
    assert not text[at:end].strip()


@given(st.lists(st.sampled_from(["word", "Yes.", "字字字字", "a,", "x" * 50, "\n", "- item"]), max_size=300))
def test_no_sentence_is_too_long(words):
    text = " ".join(words)
    for sentence in texts(text):
        assert len(sentence.split()) <= MAX_WORDS
        assert len(re.findall("字", sentence)) <= MAX_UNSPACED_CHARS


@given(st.lists(st.sampled_from(["Yes.", "No!", LONG]), min_size=2, max_size=20))
def test_no_sentence_stays_short_beside_one_with_room(sentences):
    assert all(len(sentence) >= MIN_CHARS for sentence in texts(" ".join(sentences))) or len(sentences) < 8


@pytest.mark.parametrize("unit", [".", "。", ".)", "a. ", "- a\n", "字", "J. ", "'", " \n"])
def test_hostile_text_takes_linear_time(unit):
    assert growth(lambda n: split_sentences(unit * n, 0, n * len(unit)), 50_000) < 9

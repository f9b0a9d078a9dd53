"""The filter language: what it means, and what it says when it isn't understood."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.filters import All, Comparison, Not, OneOf, Some, parse_filter

FIELDS = ["lang", "year", "draft", "a/b", "not so plain", "back\\slash"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ('lang = "en"', Comparison("meta.lang", "=", "en")),
        ("lang = en", Comparison("meta.lang", "=", "en")),
        (r"lang = 'it\'s'", Comparison("meta.lang", "=", "it's")),
        ("year >= -3.5", Comparison("meta.year", ">=", -3.5)),
        ("lang != 'en'", Not(Comparison("meta.lang", "=", "en"))),
        ("draft = TRUE", Comparison("yes", "=", "draft")),
        ("draft != true", Not(Comparison("yes", "=", "draft"))),
        ("draft = false", Comparison("no", "=", "draft")),
        ('document_id in ("a", "b")', OneOf("document_id", ("a", "b"))),
        ("year not in (1, 2)", Not(OneOf("meta.year", (1, 2)))),
        (
            'lang = "en" and year >= 2020 and lang in ("a", "b")',
            All(
                (
                    Comparison("meta.lang", "=", "en"),
                    Comparison("meta.year", ">=", 2020),
                    OneOf("meta.lang", ("a", "b")),
                )
            ),
        ),
        ("lang = '=='", Comparison("meta.lang", "=", "==")),
        ("a/b = x", Comparison('meta."a/b"', "=", "x")),
        ("a/b = true", Comparison("yes", "=", "a/b")),
        ("'not so plain' in (1, 2)", OneOf('meta."not so plain"', (1, 2))),
        ('not "lang" = en', Not(Comparison("meta.lang", "=", "en"))),
        (
            "lang = a or lang = b and not year < 3",
            Some(
                (
                    Comparison("meta.lang", "=", "a"),
                    All((Comparison("meta.lang", "=", "b"), Not(Comparison("meta.year", "<", 3)))),
                )
            ),
        ),
        (
            "(lang = a or lang = b) and page = 2",
            All(
                (
                    Some((Comparison("meta.lang", "=", "a"), Comparison("meta.lang", "=", "b"))),
                    Comparison("page", "=", 2),
                )
            ),
        ),
    ],
)
def test_meaning(expression: str, expected: object) -> None:
    assert parse_filter(expression, FIELDS) == expected


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("langg = 'en'", "unknown field 'langg'. Did you mean 'lang'"),
        (
            "nothing = 1",
            "This index knows: 'a/b', 'back\\\\slash', document_id, draft, headings, lang, 'not so plain',",
        ),
        ("'langg' = en", "unknown field 'langg'. Did you mean 'lang'"),
        ("back\\slash = 1", "no condition can name the field 'back\\\\slash'"),
        ("lang =", "expected a value, but the filter ends at character 7"),
        ("lang 'en'", "expected =, !=, <, <=, >, >= or in, but found \"'en'\" at character 6"),
        ("lang = 'en' year = 3", "expected 'and', 'or' or the end, but found 'year' at character 13"),
        ("(lang = 'en'", "expected ')'"),
        ("year > 'soon'", "> compares numbers, not 'soon'"),
        ("lang = 'en", "the quote at character 8 isn't closed"),
        ("year >= '2020'", ">= compares numbers, not '2020'. Leave out the quotes"),
        ("LANG = 'en'", "unknown field 'LANG'. Did you mean 'lang'?"),
        ("lang == 'en'", "write '=' for '==' at character 6"),
        ("lang <> 'en'", "write '!=' for '<>' at character 6"),
        ("year => 3", "write '>=' for '=>' at character 6"),
        ("year > 3 && lang = en", "write 'and' for '&&' at character 10"),
        ("lang = 'en' or !", "can't read '!' at character 16"),
        ("= 3", "expected a field name"),
        ("lang in ()", "expected a value"),
        ("not " * 900 + "year = 1", "more than 32 nested"),
        ("(" * 1900, "more than 32 nested"),
        ("year = 99999999999999999999999", "is out of range"),
    ],
)
def test_errors_say_where_and_what(expression: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_filter(expression, FIELDS)
    assert message in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_parses_or_is_refused(expression: str) -> None:
    with contextlib.suppress(InputError):
        assert parse_filter(expression, FIELDS)


def test_a_message_names_so_many_fields_and_no_more() -> None:
    with pytest.raises(InputError) as caught:
        parse_filter("nothing = 1", [f"field{number}" for number in range(1000)] + ["x" * 41])
    assert str(caught.value).endswith(" and 966 more.")
    assert len(str(caught.value)) < 600

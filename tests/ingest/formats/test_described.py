"""Dates, languages, authors and nested fields come out in one form."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.formats.described import MAX_FIELDS, describe, described_by, flatten, iso_date


@pytest.mark.parametrize(
    ("given_date", "expected"),
    [
        ("2021", "2021"),
        ("2021-03", "2021-03"),
        ("2021-03-04", "2021-03-04"),
        ("2021/03/04", "2021-03-04"),
        ("2021-03-04T05:06:07Z", "2021-03-04T05:06:07Z"),
        ("2021-03-04T00:06:07.123+02:00", "2021-03-03T22:06:07Z"),
        ("2021-03-04 05:06", "2021-03-04T05:06:00"),
        ("D:20210304050607+02'00'", "2021-03-04T03:06:07Z"),
        ("D:20210304050607Z", "2021-03-04T05:06:07Z"),
        ("D:20210304", "2021-03-04T00:00:00Z"),
        ("Tue, 02 Jan 2024 03:04:05 +0200", "2024-01-02T01:04:05Z"),
        ("4 March 2021", "2021-03-04"),
        ("March 4, 2021", "2021-03-04"),
        ("Mar 2021", "2021-03"),
        (datetime.date(2021, 3, 4), "2021-03-04"),
        (datetime.datetime(2021, 3, 4, 5, tzinfo=datetime.UTC), "2021-03-04T05:00:00Z"),
        *((nonsense, "") for nonsense in ("", None, "soon", "2021-13", "2021-02-30", "31 Foo 2021", "D:20219999", 5)),
    ],
)
def test_dates(given_date, expected):
    assert iso_date(given_date) == expected


@given(st.text(max_size=30))
def test_no_text_stops_the_reading_of_dates(text):
    assert describe(created=text).keys() <= {"created", "created_day"}


def test_days_can_be_compared_as_numbers():
    days = [describe(created=date)["created_day"] for date in ("2021", "2021-03", "2021-03-04", "2021-03-05T23:00:00Z")]
    assert days == [20210000, 20210300, 20210304, 20210305]


def test_authors_and_languages():
    assert describe(author=" Ann ", language="pt_BR") == {"author": "Ann", "language": "pt"}
    assert describe(author=["Ann", "Bob", "Ann", ""], language="deu") == {"author": ["Ann", "Bob"], "language": "deu"}
    assert describe(language="unknown", keywords=["", ""], subject="") == {}


def test_nested_fields_are_flattened():
    tree = {
        **{"A": {"b": {"c": 1}, "d": [1, "x", None]}, "people": [{"name": "Ann"}, {"name": "Bob"}], "none": None},
        **{"when": datetime.date(2021, 3, 4), "big": 2**70, "yes": True, 5: "five", "empty": {}},
    }
    assert flatten(tree) == {
        **{"a.b.c": 1, "a.d": ["1", "x"], "people.name": ["Ann", "Bob"], "when": "2021-03-04"},
        **{"big": str(2**70), "yes": True, "5": "five"},
    }


def test_references_that_stand_for_billions_of_values_are_cut_short():
    tree: object = "x"
    for _ in range(60):
        tree = [tree] * 9
    assert len(flatten({"bomb": tree}).get("bomb", [])) <= 5 * MAX_FIELDS
    assert len(flatten({str(i): i for i in range(10_000)})) == MAX_FIELDS


def test_common_names():
    fields = {"authors.name": ["Ann", "Bob"], "date": "4 March 2021", "lastmod": "2022", "lang": "de-AT"}
    assert described_by(fields) == {
        **{"author": ["Ann", "Bob"], "created": "2021-03-04", "created_day": 20210304},
        **{"modified": "2022", "modified_day": 20220000, "language": "de"},
    }

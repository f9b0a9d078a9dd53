"""What a search says of itself."""

from __future__ import annotations

import pytest

from core.index import Index
from search.retriever import Retriever

ANSWERED = ("how do I raise an exception with a cause", "what does the del statement do", "leave a loop early")
UNANSWERED = ("which mushrooms can be eaten raw", "opening hours of the town library", "how to treat a burn")


@pytest.fixture
def retriever(index: Index) -> Retriever:
    return Retriever(index)


def test_confidence_tells_answered_from_unanswered(retriever: Retriever):
    answered = [retriever.search(query).signals.confidence for query in ANSWERED]
    unanswered = [retriever.search(query).signals.confidence for query in UNANSWERED]
    assert min(answered) > max(unanswered)
    assert all(0 <= value <= 1 for value in answered + unanswered)


def test_a_query_about_something_else_is_far(retriever: Retriever):
    assert not any(retriever.search(query).signals.is_far for query in ANSWERED)
    far = retriever.search("which mushrooms can be eaten raw")
    assert far.signals.is_far
    assert any("far from everything" in note for note in far.notes)


def test_unknown_words_are_named_as_they_were_written(retriever: Retriever):
    found = retriever.search("raise a Xyzzyplugh exception")
    assert found.signals.unknown_terms == ("Xyzzyplugh",)
    assert any("Xyzzyplugh" in note for note in found.notes)
    assert retriever.search("raise an exception").signals.unknown_terms == ()
    assert retriever.search("日本語 exception").signals.unknown_terms == ("日本語",)  # one word, several terms


def test_one_leg_has_no_confidence(retriever: Retriever):
    for mode in ("dense", "sparse"):
        assert retriever.search("raise an exception", mode=mode).signals.confidence is None
    assert retriever.search("which mushrooms can be eaten raw", mode="dense").signals.is_far


def test_nothing_found_says_so_without_failing(retriever: Retriever):
    found = retriever.search("xyzzyplugh", mode="sparse")
    assert found.hits == ()
    assert found.signals.unknown_terms == ("xyzzyplugh",)


def test_pages_agree(retriever: Retriever):
    first, second = (retriever.search("raise an exception", 3, offset=offset).signals for offset in (0, 3))
    assert first == second

"""How the search page cuts passages into pieces and excerpts."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from api.pages.hits import EXCERPT_CHARACTERS, excerpt, source_of, stretches


def is_term(word: str) -> bool:
    return word.lower().startswith("loop")


def joined(parts) -> str:
    return "".join(text for part in parts for text, _ in part.pieces)


@given(st.text(alphabet="ab loop.,\n<&é日", max_size=80), st.data())
def test_pieces_are_the_text(text: str, data: st.DataObject):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    parts = stretches(text, (start, end), is_term)
    assert joined(parts) == text
    assert "".join(joined([part]) for part in parts if part.is_best) == text[start:end]
    assert all(part.pieces and all(piece for piece, _ in part.pieces) for part in parts)


def test_whole_words_are_marked_in_any_case():
    (part,) = stretches("A loop, Loops; unlooped <loop>.", None, is_term)
    assert [text for text, marked in part.pieces if marked] == ["loop", "Loops", "loop"]


TEXT = " ".join(f"Sentence {number} is filler that says nothing of note." for number in range(30))
SENTENCES = [found.span() for found in re.finditer(r"\S.*?\.", TEXT)]


@given(st.integers(0, len(SENTENCES) - 1))
def test_an_excerpt_surrounds_the_best_sentence(place: int):
    best = SENTENCES[place]
    found = excerpt(TEXT, SENTENCES, best, is_term)
    shown = joined(found.stretches)
    assert "".join(joined([part]) for part in found.stretches if part.is_best) == TEXT[slice(*best)]
    assert shown in TEXT
    assert len(shown) <= EXCERPT_CHARACTERS
    assert found.cut_before == (not TEXT.startswith(shown))
    assert found.cut_after == (not TEXT.endswith(shown))


def test_without_a_best_sentence_the_terms_decide():
    text = TEXT.replace("Sentence 20 is", "Loop 20 is")
    spans = [found.span() for found in re.finditer(r"\S.*?\.", text)]
    assert joined(excerpt(text, spans, None, is_term).stretches).startswith("Loop 20")


def test_short_texts_and_long_sentences():
    assert excerpt("Short.", [(0, 6)], (0, 6), is_term) is None
    assert excerpt("x" * 1000, [], None, is_term) is None
    assert joined(excerpt("x" * 1000, [(0, 1000)], (0, 1000), is_term).stretches) == "x" * 1000


def test_sources():
    assert source_of("HTTPS://example.org/ü", "id").link == "HTTPS://example.org/ü"
    assert source_of("file:///a/b.md", "id").label == "file:///a/b.md"
    for uri in ("javascript:alert(1)", " javascript:alert(1)", "data:text/html,x", "http://[", "", "file:///a"):
        assert source_of(uri, "id").link == ""
    assert source_of("javascript:alert(1)", "id").label == "id"

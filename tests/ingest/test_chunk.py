"""Chunks: exact offsets, full coverage, capacity measured by the real tokenizer, structure kept."""

import dataclasses
from pydoc_data.topics import topics

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.types import Chunk, Document
from ingest.chunk import chunk_document
from ingest.context import ContextWriter
from ingest.measure import TokenRuler


def document(text: str, markup: str = "markdown", title: str = "Title", **more) -> Document:
    return Document("doc", "file:///doc", title, text, "hash", markup, **more)


def check(doc: Document, chunks: list[Chunk], max_tokens: int = 256) -> None:
    """What holds for every document."""
    at = 0
    for position, chunk in enumerate(chunks):
        assert chunk.position == position
        assert doc.text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        assert chunk.start >= at
        assert not doc.text[at : chunk.start].strip()
        assert chunk.encoder_tokens <= max_tokens
        inner = chunk.start
        for span in chunk.sentences:
            assert inner <= span.start < span.end <= chunk.end
            assert not doc.text[inner : span.start].strip()
            inner = span.end
        assert inner == chunk.end
        at = chunk.end
    assert not doc.text[at:].strip()


def paragraph(n_words: int, word: str = "word") -> str:
    return " ".join([word] * n_words) + "."


def test_sections_become_chunks_with_their_heading_path(tokenizer, llm_tokenizer):
    text = f"# Book\n\n{paragraph(100)}\n\n## One\n\n{paragraph(150)}\n\n## Two\n\n{paragraph(120)}\n"
    chunks = chunked(document(text, title="Book"), tokenizer, llm_tokenizer)
    assert [chunk.headings for chunk in chunks] == [("Book",), ("Book", "One"), ("Book", "Two")]
    assert [chunk.context for chunk in chunks] == ["Book", "Book\nOne", "Book\nTwo"]
    assert chunks[1].text.startswith("## One\n\nword")
    assert chunks[1].embedding_text == f"Book\nOne\n{chunks[1].text}"


def test_small_sections_share_a_chunk_under_their_common_path(tokenizer, llm_tokenizer):
    text = f"# A\n\n{paragraph(190)}\n\n## B\n\n{paragraph(20)}\n\n## C\n\n{paragraph(20)}\n\n# D\n\n{paragraph(190)}\n"
    chunks = chunked(document(text), tokenizer, llm_tokenizer)
    assert [chunk.headings for chunk in chunks] == [("A",), ("A",), ("D",)]
    assert "## B" in chunks[1].text
    assert "## C" in chunks[1].text


def test_a_heading_is_never_left_alone_in_front_of_its_section(tokenizer, llm_tokenizer):
    text = f"# A\n\n## B\n\n{paragraph(900)}\n"
    chunks = chunked(document(text), tokenizer, llm_tokenizer)
    assert chunks[0].headings == ("A", "B")
    assert chunks[0].text.startswith("# A\n\n## B\n\nword")


def test_code_lists_and_tables_stay_whole_where_they_fit(tokenizer, llm_tokenizer):
    code = "```python\n" + "\n".join(f"x{i} = {i}" for i in range(25)) + "\n```"
    items = "\n".join(f"- the item number {i}" for i in range(20))
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {i} | {i} |" for i in range(15))
    text = "\n\n".join([paragraph(60), code, paragraph(60), items, paragraph(60), table, paragraph(60)])
    chunks = chunked(document(text), tokenizer, llm_tokenizer)
    assert len(chunks) > 2
    for block in (code, items, table):
        assert sum(block in chunk.text for chunk in chunks) == 1


def test_a_long_paragraph_is_divided_evenly_at_sentences(tokenizer, llm_tokenizer):
    sentence = "The quick brown fox jumps over the lazy dog near the river bank."
    chunks = chunk_document(document(" ".join([sentence] * 33)), tokenizer, llm_tokenizer)
    counts = [chunk.text.count("fox") for chunk in chunks]
    assert len(chunks) == 3
    assert max(counts) - min(counts) <= 1
    assert all(chunk.text.endswith("bank.") for chunk in chunks)


def test_counts_are_those_of_the_tokenizers(tokenizer, llm_tokenizer):
    chunks = chunked(document(topics["class"], "text"), tokenizer, llm_tokenizer)
    assert [chunk.encoder_tokens for chunk in chunks] == tokenizer.count([chunk.embedding_text for chunk in chunks])
    assert [chunk.llm_tokens for chunk in chunks] == llm_tokenizer.count([chunk.text for chunk in chunks])
    assert max(tokenizer.count([chunk.text for chunk in chunks])) <= 200 + tokenizer.n_special_tokens


def test_pages_follow_the_chunks_beginning(tokenizer, llm_tokenizer):
    first, last = paragraph(190), paragraph(190, "page")
    doc = document(f"{first}\n\n{last}", page_starts=(0, len(first) + 2, len(first) + 2))
    assert [chunk.page for chunk in chunk_document(doc, tokenizer, llm_tokenizer)] == [1, 3]
    assert chunked(document("text"), tokenizer, llm_tokenizer)[0].page is None


def test_ids_depend_on_document_place_and_text_only(tokenizer, llm_tokenizer):
    doc = document(topics["for"], "text")
    chunks = chunk_document(doc, tokenizer, llm_tokenizer)
    again = chunk_document(dataclasses.replace(doc, title="Other", content_hash="other"), tokenizer, llm_tokenizer)
    assert [chunk.id for chunk in chunks] == [chunk.id for chunk in again]
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    other = chunk_document(dataclasses.replace(doc, id="other"), tokenizer, llm_tokenizer)
    assert {chunk.id for chunk in chunks}.isdisjoint(chunk.id for chunk in other)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("字" * 5000, id="unspaced script"),
        pytest.param("👩‍👩‍👧‍👦" * 2000, id="emoji"),
        pytest.param("x" * 10_000, id="endless word"),
        pytest.param("a" + " " * 20_000 + "b", id="a gulf of spaces"),
        pytest.param("e\u0301" * 5000, id="combining marks"),
        pytest.param(bytes(range(256)).decode("latin-1") * 40, id="bytes as text"),
        pytest.param("ﷺ" * 600, id="ligatures"),
        pytest.param("# " + "heading " * 20 + "\n\n" + "text " * 400, id="long heading"),
        pytest.param("\n".join(f"{'#' * (i % 6 + 1)} heading {i}" for i in range(500)), id="only headings"),
        pytest.param("- " + "\n- ".join(["item"] * 2000), id="long list"),
        pytest.param("!?,;:-" * 3000, id="punctuation"),
    ],
)
@pytest.mark.parametrize("title", ["Title", "a long title of many words " * 40, "T" * 5000, ""])
def test_no_text_exceeds_the_encoder(text, title, tokenizer, llm_tokenizer):
    doc = document(text, title=title)
    chunks = chunk_document(doc, tokenizer, llm_tokenizer)
    check(doc, chunks)
    assert tokenizer.count([chunk.embedding_text for chunk in chunks]) == [chunk.encoder_tokens for chunk in chunks]
    assert max(len(chunk.text) for chunk in chunks) <= 2000


def test_the_context_gives_way_from_the_outermost_heading_on(tokenizer):
    path = ("the first long heading", "the second long heading", "the third long heading")
    writer = ContextWriter("Title", tokenizer)
    room = tokenizer.max_tokens - tokenizer.n_special_tokens
    assert writer.write(path, room - 40) == "Title\n" + " > ".join(path)
    assert writer.write(path, room - 14) == "Title\n… > the second long heading > the third long heading"
    assert writer.write(path, room - 7) == "Title\n… > the third long heading"
    assert writer.write(path, room - 3) == "Title"
    assert writer.write(path, room) == ""
    assert ContextWriter("one two three four five six", tokenizer).write((), room - 5) == "one two three four…"


@pytest.mark.parametrize("chunk_tokens", [1, 20, 100, 256, 5000])
def test_any_budget(chunk_tokens, tokenizer, llm_tokenizer):
    doc = document(topics["for"], "text")
    chunks = chunk_document(doc, tokenizer, llm_tokenizer, chunk_tokens)
    check(doc, chunks)
    assert all(len(a) > 0 for a in (chunk.context for chunk in chunks))


def test_the_language_reference(tokenizer, llm_tokenizer):
    n_chunks = n_small = 0
    for name in sorted(topics)[::4]:
        doc = document(topics[name], "text", name)
        chunks = chunk_document(doc, tokenizer, llm_tokenizer)
        check(doc, chunks)
        n_chunks += len(chunks)
        n_small += sum(chunk.encoder_tokens < 50 for chunk in chunks if len(chunks) > 1)
    assert n_chunks > 100
    assert n_small < 0.05 * n_chunks


def test_an_empty_document_has_no_chunks(tokenizer, llm_tokenizer):
    assert chunked(document(" \n"), tokenizer, llm_tokenizer) == []


words = st.sampled_from(
    ["word", "Sentence end. ", "字字", "é\u0301", "👍🏽", "\n", "\n\n", "\n# H\n\n", "- ", "```\n", "x" * 300]
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(st.text(max_size=3000), st.lists(words, max_size=400).map(" ".join)),
    markup=st.sampled_from(["text", "markdown"]),
    chunk_tokens=st.sampled_from([10, 60, 200]),
)
def test_chunks_of_arbitrary_text(text, markup, chunk_tokens, tokenizer, llm_tokenizer):
    doc = document(text, markup)
    chunks = chunk_document(doc, tokenizer, llm_tokenizer, chunk_tokens)
    check(doc, chunks)
    assert chunks == chunk_document(doc, tokenizer, llm_tokenizer, chunk_tokens)


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=500), data=st.data())
def test_the_ruler_counts_the_tokens_between_words(text, data, tokenizer):
    text = " ".join(text.split())
    at = data.draw(st.sampled_from([0, *(i for i, character in enumerate(text) if character == " ")]))
    counted = TokenRuler(text, tokenizer).count(0, at)
    assert counted == tokenizer.count([text[:at]])[0] - tokenizer.n_special_tokens

"""Every chunker: exact offsets, full coverage, capacity by the real tokenizer, groups apart, pages, ids."""

import dataclasses
from pydoc_data.topics import topics

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from ingest.chunkers import CHUNKERS, open_chunker
from ingest.chunkers.context import ContextWriter
from ingest.chunkers.measure import TokenRuler
from ingest.structure import Blocks, parse
from tests.growth import growth
from tests.ingest.chunkers.cutting import check, document, hashed, paragraph

each_chunker = pytest.mark.parametrize("chunker", CHUNKERS)


def test_an_unknown_chunker_is_refused(tokenizer, llm_tokenizer):
    with pytest.raises(ConfigError, match="'magic'; use one of structure, topic, fixed"):
        open_chunker("magic", 200, tokenizer, llm_tokenizer)


def test_fixed_windows_are_even_and_end_between_words(cut):
    doc = document(f"# A\n\n{paragraph(250)}\n\n# B\n\n{paragraph(410)}")
    chunks = cut(doc, chunker="fixed")
    check(doc, chunks)
    assert len(chunks) == 4
    lengths = [chunk.encoder_tokens for chunk in chunks]
    assert max(lengths) - min(lengths) < 10
    assert all(not doc.text[chunk.end : chunk.end + 1].strip() for chunk in chunks)
    assert [chunk.headings for chunk in chunks] == [("A",), ("A",), ("B",), ("B",)]


@each_chunker
def test_counts_are_those_of_the_tokenizers(chunker, cut):
    chunks = cut(document(topics["class"], "text"), chunker=chunker)
    assert [chunk.encoder_tokens for chunk in chunks] == cut.tokenizer.count([chunk.embedding_text for chunk in chunks])
    assert [chunk.llm_tokens for chunk in chunks] == cut.llm_tokenizer.count([chunk.text for chunk in chunks])
    longest = max(cut.tokenizer.count([f"{chunk.lead}\n{chunk.text}" for chunk in chunks]))
    assert longest <= 200 + cut.tokenizer.n_special_tokens


@each_chunker
def test_pages_are_those_of_the_first_and_last_character(chunker, cut):
    first, last = paragraph(150), paragraph(150, "page")
    doc = document(f"{first}\n\n{last}", page_starts=(0, len(first) + 2, len(first) + 2))
    for chunk in cut(doc, chunker=chunker):
        pages = [1 if "word" in chunk.text else 3, 3 if "page" in chunk.text else 1]
        assert [chunk.page, chunk.last_page] == pages
        assert chunk.place == ("pages 1–3" if pages == [1, 3] else f"page {pages[0]}")
    assert [(chunk.page, chunk.last_page, chunk.place) for chunk in cut(document("text"), chunker=chunker)] == [
        (None, None, "")
    ]


@pytest.mark.parametrize(
    ("names", "place"), [(("slide 2", "slide 3"), "slide 2 – slide 3"), (("sheet Budget",) * 2, "sheet Budget")]
)
def test_places_have_the_names_that_readers_use(names, place, cut):
    doc = document("One line.\n\nAnother line.", page_starts=(0, 11), page_names=names)
    assert [chunk.place for chunk in cut(doc)] == [place]


@each_chunker
def test_blocks_of_different_groups_never_share_a_chunk(chunker, cut):
    text = f"# A\n\nShort.\n\n## B\n\nLicence.\n\nMore.\n\n{paragraph(300)}\n\nLicence.\n\nEnd."
    groups = {"Licence.": "x", "## B": "x"}
    blocks = tuple(
        dataclasses.replace(block, group=groups.get(text[block.start : block.end], "")) for block in parse(text).blocks
    )
    doc = document(text, "markdown")
    chunks = cut(doc, chunker=chunker, blocks=Blocks(blocks))
    check(doc, chunks)
    for chunk in chunks:
        assert len({block.group for block in blocks if chunk.start < block.end and block.start < chunk.end}) == 1
    assert "## B\n\nLicence." in [chunk.text for chunk in chunks]


@each_chunker
def test_no_vector_depends_on_a_files_name(chunker, cut):
    doc = document(f"# A\n\n{paragraph(300)}", title="draft-7", has_own_title=False)
    chunks = cut(doc, chunker=chunker)
    assert all("draft-7" not in chunk.embedding_text for chunk in chunks)
    assert all(chunk.title == "draft-7" and chunk.lexical_text.startswith("draft-7\n") for chunk in chunks)
    assert {chunk.context for chunk in chunks} == {"A"}
    renamed = cut(dataclasses.replace(doc, title="final"), chunker=chunker)
    assert [chunk.embedding_text for chunk in chunks] == [chunk.embedding_text for chunk in renamed]


@each_chunker
def test_ids_depend_on_document_place_and_text_only(chunker, cut):
    doc = document(topics["for"], "text")
    chunks = cut(doc, chunker=chunker)
    again = cut(dataclasses.replace(doc, title="Other", content_hash="other"), chunker=chunker)
    assert [chunk.id for chunk in chunks] == [chunk.id for chunk in again]
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    other = cut(dataclasses.replace(doc, id="other"), chunker=chunker)
    assert {chunk.id for chunk in chunks}.isdisjoint(chunk.id for chunk in other)


@each_chunker
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("字" * 5000, id="unspaced script"),
        pytest.param("👩‍👩‍👧‍👦" * 2000, id="emoji"),
        pytest.param("x" * 10_000, id="endless word"),
        pytest.param("a" + " " * 20_000 + "b", id="a gulf of spaces"),
        pytest.param("e\u0301" * 5000, id="combining marks"),
        pytest.param("e" + "\u0301" * 5000, id="one letter with all the marks"),
        pytest.param("שלום עולם, מה שלומך היום? " * 200, id="right to left"),
        pytest.param("a\0b " * 2000 + "\0" * 2000, id="NUL"),
        pytest.param(bytes(range(256)).decode("latin-1") * 40, id="bytes as text"),
        pytest.param("ﷺ" * 600, id="ligatures"),
        pytest.param("# " + "heading " * 20 + "\n\n" + "text " * 400, id="long heading"),
        pytest.param("\n".join(f"{'#' * (i % 6 + 1)} heading {i}" for i in range(500)), id="only headings"),
        pytest.param("- " + "\n- ".join(["item"] * 2000), id="long list"),
        pytest.param("```\n" + " " * 300 + "x = 1\n" * 300 + "\n```", id="deep code"),
        pytest.param("!?,;:-" * 3000, id="punctuation"),
    ],
)
@pytest.mark.parametrize("title", ["Title", "a long title of many words " * 40, ""])
def test_no_text_exceeds_the_encoder(chunker, text, title, cut):
    doc = document(text, title=title)
    chunks = cut(doc, chunker=chunker)
    check(doc, chunks)
    assert cut.tokenizer.count([chunk.embedding_text for chunk in chunks]) == [chunk.encoder_tokens for chunk in chunks]
    assert max(len(chunk.text) for chunk in chunks) <= 2000


@each_chunker
@pytest.mark.parametrize("text", ["e\u0301" * 5000, "👩‍👩‍👧‍👦" * 1000, "🇩🇪🇫🇷" * 1000, "각" * 3000, "ที่นี่" * 1000])
def test_characters_are_not_torn_apart(chunker, text, cut):
    """Neither by a chunk's end nor by a sentence's."""
    import regex

    boundaries = {0, *(cluster.end() for cluster in regex.finditer(r"\X", text))}
    chunks = cut(document(text), chunker=chunker)
    assert len(chunks) > 1
    assert {chunk.end for chunk in chunks} <= boundaries
    assert {span.end for chunk in chunks for span in chunk.sentences} <= boundaries


@pytest.mark.parametrize(
    ("chunker", "unit"),
    [("structure", "字"), ("structure", "| a "), ("topic", "a. "), ("topic", "x"), ("fixed", "👍🏽")],
)
def test_one_line_of_megabytes_takes_linear_time(chunker, unit, cut):
    assert growth(lambda n_chars: cut(document(unit * (n_chars // len(unit))), chunker=chunker), 50_000) < 9


@each_chunker
@pytest.mark.parametrize("chunk_tokens", [1, 20, 100, 256, 5000])
def test_any_budget(chunker, chunk_tokens, cut):
    doc = document(topics["for"], "text")
    chunks = cut(doc, chunk_tokens, chunker)
    check(doc, chunks)
    assert all(chunk.context for chunk in chunks)


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


def test_texts_don_t_leak_from_one_document_into_another(tokenizer, llm_tokenizer):
    """A chunker that remembers a document between `texts` and `chunk` gives what a fresh one gives."""
    docs = [document(topics[name], "text", name) for name in ("for", "class", "if")]
    parsed = [parse(doc.text, "text") for doc in docs]
    chunker = open_chunker("topic", 200, tokenizer, llm_tokenizer)
    texts = [text for doc, blocks in zip(docs, parsed, strict=True) for text in chunker.texts(doc, blocks)]
    vectors = dict(zip(texts, hashed(texts), strict=True))
    for doc, blocks in reversed(list(zip(docs, parsed, strict=True))):
        fresh = open_chunker("topic", 200, tokenizer, llm_tokenizer)
        assert chunker.chunk(doc, blocks, vectors) == fresh.chunk(doc, blocks, vectors)
        renamed = dataclasses.replace(doc, id="other")
        assert {chunk.document_id for chunk in chunker.chunk(renamed, blocks, vectors)} == {"other"}


pieces = st.sampled_from(
    [
        *("word", "Sentence end. ", "字字", "é\u0301", "👍🏽", "\n", "\n\n", "\n# H\n\n", "- ", "```\n", "x" * 300),
        *("\n| a | b |\n|---|---|\n| c | d |\n", "\ndef f(x):\n    return x\n", "class A:\n", "    ", "שלום ", "\0"),
    ]
)
texts = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=2000),
    st.lists(pieces, max_size=300).map("".join),
    st.lists(pieces, max_size=300).map(" ".join),
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=texts,
    chunker=st.sampled_from(CHUNKERS),
    markup=st.sampled_from(["text", "markdown", "code:python"]),
    chunk_tokens=st.sampled_from([10, 60, 200]),
    data=st.data(),
)
def test_chunks_of_arbitrary_text(text, chunker, markup, chunk_tokens, data, cut):
    pages = tuple(sorted({0, *data.draw(st.lists(st.integers(0, len(text)), max_size=3))}))
    doc = document(text, markup, page_starts=pages)
    parsed = parse(text, markup)
    every = data.draw(st.integers(1, 8))
    blocks = dataclasses.replace(
        parsed,
        blocks=tuple(dataclasses.replace(b, group=str(i // every % 2)) for i, b in enumerate(parsed.blocks)),
    )
    chunks = cut(doc, chunk_tokens, chunker, blocks=blocks)
    check(doc, chunks)
    assert chunks == cut(doc, chunk_tokens, chunker, blocks=blocks)
    assert [chunk.encoder_tokens for chunk in chunks] == cut.tokenizer.count([chunk.embedding_text for chunk in chunks])
    for chunk in chunks:
        assert pages[chunk.page - 1] <= chunk.start
        assert chunk.last_page == len(pages) or chunk.end <= pages[chunk.last_page]
        assert len({b.group for b in blocks.blocks if chunk.start < b.end and b.start < chunk.end}) == 1


@settings(deadline=None, max_examples=50)
@given(text=st.text(max_size=500), data=st.data())
def test_the_ruler_counts_the_tokens_between_words(text, data, tokenizer):
    text = " ".join(text.split())
    at = data.draw(st.sampled_from([0, *(i for i, character in enumerate(text) if character == " ")]))
    counted = TokenRuler(text, tokenizer).count(0, at)
    assert counted == tokenizer.count([text[:at]])[0] - tokenizer.n_special_tokens

"""The structure chunker: sections, blocks and sentences are kept together where they fit."""

from pydoc_data.topics import topics

from core.types import Document
from ingest.structure import Block, Blocks
from tests.ingest.chunkers.cutting import check, document, paragraph


def test_sections_become_chunks_with_their_heading_path(cut):
    text = f"# Book\n\n{paragraph(100)}\n\n## One\n\n{paragraph(150)}\n\n## Two\n\n{paragraph(120)}\n"
    chunks = cut(document(text, title="Book"))
    assert [chunk.headings for chunk in chunks] == [("Book",), ("Book", "One"), ("Book", "Two")]
    assert [chunk.context for chunk in chunks] == ["Book", "Book\nOne", "Book\nTwo"]
    assert chunks[1].text.startswith("## One\n\nword")
    assert chunks[1].embedding_text == f"Book\nOne\n{chunks[1].text}"


def test_small_sections_share_a_chunk_under_their_common_path(cut):
    text = f"# A\n\n{paragraph(190)}\n\n## B\n\n{paragraph(20)}\n\n## C\n\n{paragraph(20)}\n\n# D\n\n{paragraph(190)}\n"
    chunks = cut(document(text))
    assert [chunk.headings for chunk in chunks] == [("A",), ("A",), ("D",)]
    assert "## B" in chunks[1].text
    assert "## C" in chunks[1].text


def test_a_heading_is_never_left_alone_in_front_of_its_section(cut):
    text = f"# A\n\n## B\n\n{paragraph(900)}\n"
    chunks = cut(document(text))
    assert chunks[0].headings == ("A", "B")
    assert chunks[0].text.startswith("# A\n\n## B\n\nword")


def test_paths_that_change_without_a_heading_make_sections(cut):
    """As in source code, where classes and functions are the sections."""
    one, other = paragraph(150, "one"), paragraph(150, "other")
    text = f"{one}\n\n{other}"
    at = text.index("other")
    blocks = Blocks(
        (Block("code", 0, len(one)), Block("code", at, len(text))),
        sections=((0, ("class A",)), (at, ("class A", "method b"))),
    )
    chunks = cut(document(text), blocks=blocks)
    assert [chunk.headings for chunk in chunks] == [("class A",), ("class A", "method b")]
    assert [chunk.text for chunk in chunks] == [one, other]


def test_code_lists_and_tables_stay_whole_where_they_fit(cut):
    code = "```python\n" + "\n".join(f"x{i} = {i}" for i in range(25)) + "\n```"
    items = "\n".join(f"- the item number {i}" for i in range(20))
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {i} | {i} |" for i in range(15))
    text = "\n\n".join([paragraph(60), code, paragraph(60), items, paragraph(60), table, paragraph(60)])
    chunks = cut(document(text))
    assert len(chunks) > 2
    for block in (code, items, table):
        assert sum(block in chunk.text for chunk in chunks) == 1


def test_a_long_paragraph_is_divided_evenly_at_sentences(cut):
    sentence = "The quick brown fox jumps over the lazy dog near the river bank."
    chunks = cut(document(" ".join([sentence] * 33)))
    counts = [chunk.text.count("fox") for chunk in chunks]
    assert len(chunks) == 3
    assert max(counts) - min(counts) <= 1
    assert all(chunk.text.endswith("bank.") for chunk in chunks)


def test_a_grid_table_is_divided_between_its_rows(cut):
    rule = "+--------+--------------------------+"
    row = "| cell   | some words of a cell     |\n|        | that is two lines high   |"
    table = "\n".join([rule, "| Name   | Meaning                  |", rule, *[f"{row}\n{rule}"] * 12])
    chunks = cut(document(table, "text"))
    assert len(chunks) > 2
    assert all(chunk.text.startswith("+") for chunk in chunks)
    assert all(chunk.text.count("that is") == chunk.text.count("| cell") for chunk in chunks)


def test_the_language_reference(cut):
    n_chunks = n_small = 0
    for name in sorted(topics)[::4]:
        doc = document(topics[name], "text", name)
        chunks = cut(doc)
        check(doc, chunks)
        n_chunks += len(chunks)
        n_small += sum(chunk.encoder_tokens < 50 for chunk in chunks if len(chunks) > 1)
    assert n_chunks > 100
    assert n_small < 0.05 * n_chunks


def test_an_empty_document_has_no_chunks(cut):
    assert cut(Document("doc", "u", "t", " \n", "hash")) == []

"""The topic chunker: cuts where texts on different things were joined, each sentence encoded once."""

from pydoc_data.topics import topics

import pytest

from benchmarks.seams import count, joined_sections
from ingest.chunkers import open_chunker
from tests.ingest.chunkers.cutting import check, document, hashed, paragraph


def test_cuts_stand_where_the_topic_turns(tokenizer, llm_tokenizer, embedder):
    """Nearly every seam between joined sections has a cut within one sentence; structure alone can't know them."""
    texts = joined_sections(4)
    found = {}
    for name in ("topic", "structure"):
        total = count(open_chunker(name, 200, tokenizer, llm_tokenizer), texts, embedder)
        found[name] = total.n_found / total.n_seams
    assert found["topic"] >= 0.95
    assert found["structure"] < 0.9


def test_the_texts_asked_for_are_the_chunks_sentences(cut):
    """So that the encoder sees each once."""
    asked: list[str] = []

    def encode(texts: list[str]):
        asked.extend(texts)
        return hashed(texts)

    n_kept = n_texts = 0
    for name in sorted(topics)[::8]:
        doc = document(topics[name], "text", name)
        asked.clear()
        chunks = cut(doc, chunker="topic", encode=encode)
        sentences = {doc.text[span.start : span.end] for chunk in chunks for span in chunk.sentences}
        n_kept += len(sentences & set(asked))
        n_texts += len(set(asked))
    assert n_texts > 300
    assert n_kept > 0.98 * n_texts


@pytest.mark.parametrize("n_words", [5, 95])
def test_a_short_section_is_left_whole(n_words, cut):
    assert len(cut(document(paragraph(n_words)), chunker="topic")) == 1


def test_code_and_tables_that_fit_stay_whole(cut):
    code = "```python\n" + "\n".join(f"x{i} = {i}" for i in range(25)) + "\n```"
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {i} | {i} |" for i in range(15))
    text = "\n\n".join([paragraph(60), code, paragraph(60), table, paragraph(60)])
    chunks = cut(document(text), chunker="topic")
    assert len(chunks) > 1
    for block in (code, table):
        assert sum(block in chunk.text for chunk in chunks) == 1


def test_no_chunk_crosses_a_section(cut):
    text = f"# A\n\n{paragraph(150)}\n\n# B\n\n{paragraph(150)}\n"
    chunks = cut(document(text), chunker="topic")
    assert [chunk.text[:3] for chunk in chunks if "#" in chunk.text] == ["# A", "# B"]
    assert {chunk.headings for chunk in chunks} == {("A",), ("B",)}


def test_a_long_section_is_cut_in_stretches(cut, monkeypatch):
    monkeypatch.setattr("ingest.chunkers.topic.MAX_UNITS", 10)
    doc = document(" ".join(f"This is the sentence number {i} of the text." for i in range(200)))
    check(doc, cut(doc, chunker="topic"))

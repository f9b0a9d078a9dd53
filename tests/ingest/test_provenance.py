"""Every chunk of a corpus of many formats is found where it says: at its offsets, and on its page, slide or sheet.

What stands on a page is read here once more, by other means than the ingest's.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pypdfium2
import pytest

from benchmarks.corpus import write_mixed
from core.index import Index, open_index
from core.settings import Settings
from core.types import Chunk
from ingest.pipeline import ingest
from ingest.sources import discover
from tests.ingest.formats.files import pptx, shape, xlsx

DEBIAN_POLICY = Path("/usr/share/doc/debian-policy")  # one manual as PDF, EPUB and HTML; Debian's package of that name
SLIDES = [
    ["Harbour dues", "Ferries pay by length.", "Tugs pay nothing at all."],
    ["Opening hours", "The counter opens at seven."],
    ["Contact", "Ask for the harbour master."],
]
SHEETS = {
    "Budget": [["boat", "crowns"], *([f"boat number {n}", n] for n in range(120))],
    "Crew": [["name", "rank"], ["Ada", "captain"], ["Bo", "mate"]],
}


def words(text: str) -> list[str]:
    """Letters and digits only: spacing, hyphens and markup are the extraction's."""
    return re.findall(r"\w+", text)


def squeezed(text: str) -> str:
    return "".join(words(text))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_mixed(tmp_path_factory.mktemp("mixed") / "corpus", 40)
    slides = [shape(title, kind="title") + shape(*lines) for title, *lines in SLIDES]
    (folder / "dues.pptx").write_bytes(pptx(slides))
    (folder / "budget.xlsx").write_bytes(xlsx(SHEETS))
    return folder


@pytest.fixture(scope="module")
def index(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    settings = Settings(index=str(tmp_path_factory.mktemp("provenance") / "index"), offline=True)
    with open_index(settings, create=True) as opened:
        assert not ingest(opened, discover([str(corpus)]), settings).failures
        yield opened


def chunks_of(index: Index, suffix: str) -> list[Chunk]:
    found = [stored.chunk for batch in index.store.scan() for stored in batch]
    return [chunk for chunk in found if chunk.uri.endswith(suffix)]


def check_offsets(index: Index) -> int:
    """Every chunk's text and sentences stand at their offsets in the stored text; returns the number of chunks."""
    texts: dict[str, str] = {}
    n_chunks = 0
    for batch in index.store.scan():
        for stored in batch:
            chunk = stored.chunk
            if chunk.document_id not in texts:
                texts[chunk.document_id] = index.store.record(chunk.document_id).text
            assert texts[chunk.document_id][chunk.start : chunk.end] == chunk.text
            for span in chunk.sentences:
                assert chunk.start <= span.start < span.end <= chunk.end
            assert chunk.uri
            assert chunk.title
            n_chunks += 1
    return n_chunks


def check_pdf_pages(data: bytes, chunks: list[Chunk], share: float = 1.0) -> None:
    """At least `share` of the chunks stand, letter for letter, on the pages that they name."""
    with pypdfium2.PdfDocument(data) as document:
        pages = [squeezed(page.get_textpage().get_text_range()) for page in document]
    n_found = 0
    for chunk in chunks:
        assert chunk.page is not None
        stated = "".join(pages[chunk.page - 1 : chunk.last_page])
        # A word that a line end divides may be joined or not, a running head is left out: compare word by word.
        missing = [word for word in words(chunk.text) if word not in stated]
        n_found += len(missing) <= 0.02 * len(words(chunk.text))
        expected = f"page {chunk.page}" if chunk.page == chunk.last_page else f"pages {chunk.page}–{chunk.last_page}"
        assert chunk.place == expected
    assert n_found >= share * len(chunks)


def test_every_chunk_stands_at_its_offsets(index: Index):
    assert check_offsets(index) > 200
    formats = {record.metadata["format"] for record in index.store.records()}
    assert formats >= {"pdf", "html", "markdown", "docx", "pptx", "xlsx", "epub", "notebook", "csv", "json", "code"}


def test_every_chunk_of_a_pdf_stands_on_its_pages(index: Index, corpus: Path):
    files = [path for path in corpus.glob("*.pdf") if chunks_of(index, path.name)]
    assert files
    for path in files:
        check_pdf_pages(path.read_bytes(), chunks_of(index, path.name))
    assert max(chunk.page for chunk in chunks_of(index, ".pdf")) > 1


@pytest.mark.parametrize(
    ("name", "pages", "label"),
    [
        ("dues.pptx", [" ".join(slide) for slide in SLIDES], lambda n: f"slide {n + 1}"),
        (
            "budget.xlsx",
            [f"{name} " + " ".join(str(cell) for row in rows for cell in row) for name, rows in SHEETS.items()],
            lambda n: f"sheet {list(SHEETS)[n]}",
        ),
    ],
)
def test_every_chunk_stands_on_its_slide_or_sheet(
    index: Index, name: str, pages: list[str], label: Callable[[int], str]
):
    chunks = chunks_of(index, name)
    assert chunks
    for chunk in chunks:
        stated = set(words(" ".join(pages[chunk.page - 1 : chunk.last_page])))
        assert set(words(chunk.text)) - stated <= {"Slide", "slide"}
        first, last = label(chunk.page - 1), label(chunk.last_page - 1)
        assert chunk.place == (first if first == last else f"{first} – {last}")
    assert {page for chunk in chunks for page in range(chunk.page, chunk.last_page + 1)} == set(
        range(1, len(pages) + 1)
    )


def test_the_parts_of_a_divided_table_repeat_its_header(index: Index):
    chunks = [chunk for chunk in chunks_of(index, "budget.xlsx") if "sheet Budget" in chunk.place]
    assert len(chunks) > 1
    for chunk in chunks:
        assert ("boat" in chunk.lead and "crowns" in chunk.lead) or "| boat | crowns |" in chunk.text


def test_a_real_manual_in_three_formats(tmp_path: Path):
    if not (DEBIAN_POLICY / "policy.pdf.gz").exists():
        pytest.skip(f"{DEBIAN_POLICY} isn't there: no real manual to walk through")
    pdf = gzip.decompress((DEBIAN_POLICY / "policy.pdf.gz").read_bytes())
    (tmp_path / "policy.pdf").write_bytes(pdf)
    (tmp_path / "policy.epub").write_bytes((DEBIAN_POLICY / "policy.epub").read_bytes())
    for path in (DEBIAN_POLICY / "policy.html").glob("ch-*.html"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = Settings(index=str(tmp_path / "index"), offline=True)
    with open_index(settings, create=True) as opened:
        opened.embedder = Blind(opened.embedder)  # where a text stands is no matter of its vector
        assert not ingest(
            opened, discover([str(tmp_path / "*.*")]), settings.model_copy(update={"vector_cache_mb": 0})
        ).failures
        assert check_offsets(opened) > 1000
        check_pdf_pages(pdf, chunks_of(opened, "policy.pdf"), share=0.99)


class Blind:
    """The real encoder's tokens and limits, with vectors that tell nothing: the quick way to index a large manual."""

    def __init__(self, embedder):
        self._embedder = embedder

    def __getattr__(self, name: str):
        return getattr(self._embedder, name)

    def encode_documents(self, texts, on_progress=None):
        import numpy as np

        if on_progress:
            on_progress(len(texts))
        vectors = np.random.default_rng(len(texts)).standard_normal((len(texts), self.dimension), dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

"""Searches while documents are ingested anew: of each the old version or the new one, never both, never none."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.index import Index, open_index
from core.settings import Settings
from ingest.pipeline import ingest
from ingest.sources import discover
from search.retriever import Retriever

N_DOCUMENTS, N_PARTS, N_UPDATES = 6, 5, 6
K = 4 * N_DOCUMENTS * N_PARTS  # more than there are chunks


def write(folder: Path, version: str) -> None:
    """Every document with another text, cut into as many chunks."""
    folder.mkdir(exist_ok=True)
    for n in range(N_DOCUMENTS):
        parts = (
            f"# Part {part}\n\nIn version {version} the keeper of lighthouse {n} lights lamp {part} at dusk."
            for part in range(N_PARTS)
        )
        (folder / f"{n}.md").write_text("\n\n".join(parts))


@pytest.fixture
def index(settings: Settings, tmp_path: Path) -> Iterator[Index]:
    """The first version of all documents."""
    write(tmp_path / "docs", "v0")
    settings = settings.model_copy(update={"chunk_tokens": 32})
    with open_index(settings, create=True) as opened:
        ingest(opened, discover([str(tmp_path / "docs")]), settings)
        assert opened.store.count_chunks() >= N_DOCUMENTS * 3
        yield opened


@pytest.mark.parametrize("mode", ["hybrid", "sparse"])
def test_each_answer_has_one_version_of_each_document(
    index: Index, settings: Settings, tmp_path: Path, mode: str
) -> None:
    retriever = Retriever(index)
    is_over = threading.Event()
    faults: list[str] = []
    n_answers = 0

    def ask() -> None:
        nonlocal n_answers
        while not is_over.is_set():
            hits = retriever.search("the keeper of a lighthouse lights a lamp", k=K, mode=mode).hits
            texts = defaultdict(list)
            for hit in hits:
                texts[hit.chunk.document_id].append(hit.chunk.text)
            n_answers += 1
            if len(texts) != N_DOCUMENTS:
                faults.append(f"{N_DOCUMENTS - len(texts)} documents are missing")
            for document_id, found in texts.items():
                versions = {word for text in found for word in text.split() if word[0] == "v" and word[1:].isdecimal()}
                n_lamps = len({lamp for text in found for lamp in re.findall(r"lamp (\d)", text)})
                if len(versions) != 1 or n_lamps != N_PARTS:
                    faults.append(f"{document_id}: {sorted(versions)}, {n_lamps} of {N_PARTS} parts")

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for number in range(1, N_UPDATES + 1):
            write(tmp_path / "docs", f"v{number}")
            summary = ingest(index, discover([str(tmp_path / "docs")]), settings)
            assert summary.updated == N_DOCUMENTS
    finally:
        is_over.set()
        thread.join()
    assert not faults, f"{len(faults)} of {n_answers} answers: {faults[:5]}"
    assert n_answers > N_UPDATES

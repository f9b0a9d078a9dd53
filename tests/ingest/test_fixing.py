"""Fixes: what they change, what they leave alone, and what becomes of them when the corpus changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from core import index as opening
from core.embed import Embedder
from core.index import Index, open_index
from core.settings import Settings
from ingest import fixing
from ingest.fixes import Repeated, carried, refined
from ingest.fixing import repeat, split, unsplit
from ingest.pipeline import Summary, ingest, reingest, remove
from ingest.sources import discover
from ingest.structure import parse
from tests.ingest.snapshot import assert_same, chunks, documents
from tests.ingest.test_vectors import Counting

Write = Callable[[str, str], Path]

BOATS = (
    "A sloop has one mast and two sails, and sails well against the wind. The keel keeps the hull from drifting "
    "sideways in a gust. Reefing the mainsail early saves both rigging and nerves on a windy day."
)
BREAD = (
    "Sourdough rises slowly because wild yeast works at its own pace. A wet dough bakes into an open crumb with large "
    "holes. Steam in the first ten minutes lets the crust stretch before it sets."
)
STARS = (
    "A red giant is a dying star that has swollen and cooled. White dwarfs shine for billions of years on leftover "
    "heat. A supernova outshines its whole galaxy for a few weeks."
)
COMETS = (
    "A comet is a lump of ice and dust that grows a tail when it comes near the sun. Most of them return once in "
    "thousands of years, a few within a lifetime."
)
NOTICE = "This page is provided by the harbour office without any warranty of any kind."
PAGES = {
    "mixed.md": f"# Notes\n\n{BOATS} {BREAD}\n\n## Sky\n\n{STARS}\n\n{COMETS}\n",
    "boats.md": f"# Boats\n\n{BOATS}\n\n## Rigging\n\nA halyard hoists a sail, and a sheet trims it once it is up.\n",
    "bread.md": f"# Bread\n\n{BREAD}\n",
    "table.md": "# Fees\n\n| Boat | Fee in crowns |\n|---|---|\n"
    + "\n".join(f"| The {name} in the outer harbour | {fee} crowns a day |" for fee, name in enumerate("abcdef", 3)),
    **{
        f"page{n}.txt": f"The ferry number {n} leaves the northern quay at {n} o'clock. {NOTICE} It carries {n} cars."
        for n in range(5)
    },
}
QUERIES = ("how many masts has a sloop", "why does sourdough rise slowly", "which fee does a boat pay")


@pytest.fixture(autouse=True)
def opened_once(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every index of a test has the same encoder."""
    monkeypatch.setattr(opening, "open_embedder", lambda *_, **__: embedder)


@pytest.fixture
def folder(write: Write) -> Path:
    for name, text in PAGES.items():
        write(f"pages/{name}", text)
    return write("pages/stars.txt", STARS).parent


@pytest.fixture
def index(settings: Settings, folder: Path) -> Iterator[Index]:
    with open_index(settings, create=True) as opened:
        ingested(opened, folder, settings)
        yield opened


def ingested(index: Index, folder: Path, settings: Settings, **how: bool) -> Summary:
    summary = ingest(index, discover([str(folder)]), settings, **how)
    assert not summary.failures
    return summary


def seam(index: Index, name: str = "mixed.md", before: str = "Sourdough rises") -> tuple[str, int]:
    """A document's id, and where a sentence begins in it."""
    found = next(record for record in documents(index).values() if record.uri.endswith(name))
    return found.id, found.text.index(before)


def texts(index: Index, document_id: str) -> list[str]:
    found = [chunk for chunk in chunks(index).values() if chunk.document_id == document_id]
    assert sorted(chunk.position for chunk in found) == list(range(len(found)))
    return [chunk.text for chunk in sorted(found, key=lambda chunk: chunk.position)]


class TestSplit:
    def test_parts_hold_the_text_and_the_sentences_between_them(self, index: Index, settings: Settings) -> None:
        document_id, place = seam(index)
        before = chunks(index)
        assert split(index, {document_id: [place], "unknown": [3]}, settings) == 2
        after = chunks(index)
        old = next(chunk for chunk in before.values() if chunk.document_id == document_id and BREAD in chunk.text)
        new = sorted((after[key] for key in after.keys() - before.keys()), key=lambda chunk: chunk.start)
        assert before.keys() - after.keys() == {old.id}
        assert len(new) == 2
        for chunk in after.values():
            whole = documents(index)[chunk.document_id].text
            assert whole[chunk.start : chunk.end] == chunk.text
        assert (new[0].start, new[1].start, new[1].end) == (old.start, place, old.end)
        assert not documents(index)[document_id].text[new[0].end : new[1].start].strip()
        assert new[0].sentences + new[1].sentences == old.sentences
        for chunk in new:
            assert chunk.headings == ("Notes",)
            assert index.embedder.tokenizer.count([chunk.embedding_text]) == [chunk.encoder_tokens]
        assert texts(index, document_id)[-1].startswith("## Sky")

    def test_only_the_parts_are_encoded_and_the_rest_keeps_its_vectors(self, index: Index, settings: Settings) -> None:
        document_id, place = seam(index)
        rows = {stored.chunk.id: stored for stored in index.scan()}
        index.embedder = Counting(index.embedder)
        split(index, {document_id: [place]}, settings.model_copy(update={"vector_cache_mb": 0.0}))
        new = [stored for stored in index.scan() if stored.chunk.id not in rows]
        assert sorted(index.embedder.texts) == sorted(stored.chunk.embedding_text for stored in new)
        for stored in index.scan():
            if stored.chunk.id in rows:
                np.testing.assert_array_equal(stored.dense, rows[stored.chunk.id].dense)
        sentences = {
            span.start: row
            for stored in rows.values()
            if stored.chunk.document_id == document_id
            for span, row in zip(stored.chunk.sentences, stored.sentences, strict=True)
        }
        for stored in new:
            expected = [sentences[span.start] for span in stored.chunk.sentences]
            np.testing.assert_array_equal(stored.sentences, expected)

    def test_it_equals_an_index_that_was_cut_so(self, index: Index, settings: Settings, folder: Path) -> None:
        """Vectors, counts and BM25 scores are those of chunks that were never anything else."""
        document_id, place = seam(index)
        split(index, {document_id: [place]}, settings)
        other = settings.model_copy(update={"index": settings.index + "-fresh"})
        with open_index(other, create=True) as fresh:
            documents_now = [record.document for record in documents(index).values()]
            assert {document.splits for document in documents_now} == {(), (place,)}
            reingest(fresh, documents_now, other)
            assert_same(fresh, index, QUERIES)

    def test_a_second_time_it_does_nothing(self, index: Index, settings: Settings) -> None:
        document_id, place = seam(index)
        split(index, {document_id: [place]}, settings)
        before = documents(index)
        assert split(index, {document_id: [place]}, settings) == 0
        assert documents(index) == before

    def test_a_place_that_leaves_nothing_on_one_side_divides_nothing(self, index: Index, settings: Settings) -> None:
        before = documents(index)
        for document_id, record in before.items():
            assert split(index, {document_id: [0, len(record.text) - 1, len(record.text) + 7]}, settings) == 0
        assert documents(index) == before

    def test_rows_of_a_table_keep_their_header(self, index: Index, settings: Settings) -> None:
        document_id, place = seam(index, "table.md", "| The d in")
        split(index, {document_id: [place]}, settings)
        parts = [chunk for chunk in chunks(index).values() if chunk.document_id == document_id]
        later = next(chunk for chunk in parts if chunk.start == place)
        assert (len(parts), later.lead) == (2, "| Boat | Fee in crowns |")

    def test_parts_of_joined_sections_have_their_own_headings(self, index: Index, settings: Settings) -> None:
        document_id, place = seam(index, "boats.md", "## Rigging")
        assert len(texts(index, document_id)) == 1
        split(index, {document_id: [place]}, settings)
        parts = sorted((c for c in chunks(index).values() if c.document_id == document_id), key=lambda c: c.start)
        assert [chunk.headings for chunk in parts] == [("Boats",), ("Boats", "Rigging")]

    def test_taken_back_nothing_is_left_of_it(self, index: Index, settings: Settings, folder: Path) -> None:
        document_id, place = seam(index)
        split(index, {document_id: [place]}, settings)
        assert unsplit(index, settings) == 1
        with open_index(settings.model_copy(update={"index": settings.index + "-fresh"}), create=True) as fresh:
            ingested(fresh, folder, settings)
            assert_same(fresh, index, QUERIES)
        assert unsplit(index, settings) == 0


class TestLater:
    def test_an_ingest_of_the_same_files_keeps_it(self, index: Index, settings: Settings, folder: Path) -> None:
        document_id, place = seam(index)
        split(index, {document_id: [place]}, settings)
        before, held = documents(index), chunks(index)
        summary = ingested(index, folder, settings)
        assert (summary.unchanged, summary.updated, summary.n_chunks) == (len(before), 0, 0)
        assert (documents(index), chunks(index)) == (before, held)

    def test_a_changed_document_keeps_what_its_text_still_has(
        self, index: Index, settings: Settings, folder: Path
    ) -> None:
        document_id, place = seam(index)
        split(index, {document_id: [place]}, settings)
        page = folder / "mixed.md"
        page.write_text("# Notes of today\n\nAn opening that nobody had written before.\n\n" + page.read_text()[9:])
        summary = ingested(index, folder, settings)
        assert str(summary).endswith("0 failed. Splits of `limpid fix` in changed documents: 1 kept, 0 dropped")
        assert documents(index)[document_id].splits == (seam(index)[1],)
        assert any(text.startswith("Sourdough rises") for text in texts(index, document_id))
        page.write_text(page.read_text().replace("Sourdough rises", "Any good bread rises"))
        summary = ingested(index, folder, settings)
        assert (summary.n_splits_kept, summary.n_splits_lost) == (0, 1)
        assert documents(index)[document_id].splits == ()
        with open_index(settings.model_copy(update={"index": settings.index + "-fresh"}), create=True) as fresh:
            ingested(fresh, folder, settings)
            assert_same(fresh, index, QUERIES)

    def test_a_renamed_document_keeps_it(self, index: Index, settings: Settings, folder: Path) -> None:
        document_id, place = seam(index)
        split(index, {document_id: [place]}, settings)
        (folder / "mixed.md").rename(folder / "other.md")
        assert ingested(index, folder, settings).renamed == 1
        new_id, _ = seam(index, "other.md")
        assert new_id != document_id
        assert documents(index)[new_id].splits == (place,)

    def test_a_removed_document_takes_it_along(self, index: Index, settings: Settings) -> None:
        document_id, place = seam(index)
        split(index, {document_id: [place]}, settings)
        remove(index, [document_id], settings)
        assert not any(record.splits for record in documents(index).values())


class TestRepeated:
    def test_marked_text_is_stored_once_and_names_all_who_hold_it(
        self, index: Index, settings: Settings, folder: Path
    ) -> None:
        before = documents(index)
        repeat(index, settings, texts={NOTICE: "mark"})
        holders = sorted(key for key in before if "/pages/page" in key)
        held = [chunk for chunk in chunks(index).values() if NOTICE in chunk.text]
        assert [(chunk.text, chunk.document_id, list(chunk.also_in)) for chunk in held] == [
            (NOTICE, holders[0], holders[1:])
        ]
        assert {key: record.text for key, record in documents(index).items()} == {k: r.text for k, r in before.items()}
        (folder / "page9.txt").write_text(f"The last page of all says what the others say. {NOTICE}")
        ingested(index, folder, settings)
        held = [chunk for chunk in chunks(index).values() if NOTICE in chunk.text]
        assert len(held[0].also_in) == 5
        (folder / "page0.txt").unlink()
        ingested(index, folder, settings, prune=True)
        held = [chunk for chunk in chunks(index).values() if NOTICE in chunk.text]
        assert [chunk.document_id for chunk in held] == [holders[1]]

    def test_dropped_text_is_left_out_and_comes_back(self, index: Index, settings: Settings, folder: Path) -> None:
        repeat(index, settings, texts={NOTICE: "drop"})
        assert not any("warranty" in chunk.text for chunk in chunks(index).values())
        assert any("It carries 3 cars." in chunk.text for chunk in chunks(index).values())
        repeat(index, settings)
        with open_index(settings.model_copy(update={"index": settings.index + "-fresh"}), create=True) as fresh:
            ingested(fresh, folder, settings)
            assert_same(fresh, index, QUERIES)

    def test_text_of_two_documents_is_stored_once(self, index: Index, settings: Settings) -> None:
        assert sum(STARS in chunk.text for chunk in chunks(index).values()) == 2
        repeat(index, settings, shared_by=2)
        held = [chunk for chunk in chunks(index).values() if STARS in chunk.text]
        assert [len(chunk.also_in) for chunk in held] == [1]

    def test_what_was_begun_is_finished_by_the_next_ingest(
        self, index: Index, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(fixing, "finish", killed)
            with pytest.raises(KeyboardInterrupt):
                repeat(index, settings, texts={NOTICE: "drop"})
        assert any("warranty" in chunk.text for chunk in chunks(index).values())
        ingested(index, folder, settings)
        assert not any("warranty" in chunk.text for chunk in chunks(index).values())
        assert not index.meta.fixes.pending


KILLED = """
import os, signal, sys
from core.store import edge
write, n = edge.EdgeStore._write, [0]
def counted(self, operation):
    if n[0] == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    n[0] += 1
    write(self, operation)
edge.EdgeStore._write = counted
import ingest.fixing
ingest.fixing.DOCUMENTS_AT_ONCE = 1
from core.index import open_index
from core.settings import Settings
settings = Settings(index=sys.argv[2], offline=True)
with open_index(settings) as index:
    places = {record.id: [int(sys.argv[3 + number])] for number, record in enumerate(
        sorted((r for r in index.store.records() if r.uri.endswith(("mixed.md", "boats.md"))), key=lambda r: r.id))}
    ingest.fixing.split(index, places, settings)
"""


def test_a_kill_at_any_write_leaves_every_document_whole(settings: Settings, folder: Path) -> None:
    with open_index(settings, create=True) as index:
        ingested(index, folder, settings)
        places = dict([seam(index, "boats.md", "## Rigging"), seam(index)])
        whole = {key: texts(index, key) for key in places}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    for n in (1, 3):
        at = [str(places[key]) for key in sorted(places)]
        command = [sys.executable, "-c", KILLED, str(n), settings.index, *at]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    with open_index(settings) as index:
        ingested(index, folder, settings)  # clears what the kills left over
        for key in places:
            assert len(texts(index, key)) == len(whole[key]) + bool(documents(index)[key].splits)
        split(index, {key: [place] for key, place in places.items()}, settings)
        fresh_settings = settings.model_copy(update={"index": settings.index + "-fresh"})
        with open_index(fresh_settings, create=True) as fresh:
            ingested(fresh, folder, fresh_settings)
            split(fresh, {key: [place] for key, place in places.items()}, fresh_settings)
            assert_same(fresh, index, QUERIES)


def test_carried_splits() -> None:
    before = "One sentence stands here first. Another one follows at once. A third ends the paragraph as it should."
    place = before.index("Another")
    assert carried([place], before, before) == (place,)
    assert carried([place], before, "New. " + before) == (place + 5,)
    assert carried([place], before, before + " " + before) == ()  # which of the two isn't known
    assert carried([place], before, before.replace("Another", "Some")) == ()


def test_repeated_text_is_found_whatever_its_spacing() -> None:
    text = "First words of a page.\nCome  to the\nharbour. More of it, and: Come to the harbour."
    found = Repeated({"Come to the harbour.": "mark"}).find(text)
    assert [text[start:end] for start, end, _ in found] == ["Come  to the\nharbour.", "Come to the harbour."]
    blocks = refined(text, parse(text), found).blocks
    assert [text[block.start : block.end] for block in blocks] == [
        "First words of a page.",
        "Come  to the\nharbour.",
        "More of it, and:",
        "Come to the harbour.",
    ]

"""Ingest as a whole, over the real store and encoder: in step with the source, whatever happened before."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import InputError
from core.index import Index, open_index
from core.settings import Settings, default_cache_dir
from ingest.pipeline import Summary, ingest, known_documents, plan, reingest, remove
from ingest.sources import discover
from tests.ingest.snapshot import assert_same, chunks, documents
from tests.ingest.test_vectors import Counting

FOOTER = "This page belongs to the handbook of the harbour office; ask at the counter before you copy it."
QUERIES = ("when do the ferries leave", "paying the fee", "harbour office counter copy")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(index=str(tmp_path / "index"), cache_dir=tmp_path / "cache", offline=True)


@pytest.fixture
def make(settings: Settings, embedder) -> Iterator[Callable[[str], Index]]:
    """Makes or opens an index by name, with an encoder that counts its texts."""
    opened: list[Index] = []

    def make_index(name: str) -> Index:
        at = settings.model_copy(update={"index": f"{settings.index}-{name}", "cache_dir": default_cache_dir()})
        index = open_index(at, create=True)
        index.embedder = Counting(embedder)
        opened.append(index)
        return index

    yield make_index
    for index in opened:
        index.close()


def page(name: str, *more: str) -> str:
    return "\n\n".join([f"# {name}", f"The {name} ferry leaves at dawn. Its fee is paid on board.", *more, FOOTER])


def write_pages(folder: Path, **pages: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)


def counts(summary: Summary) -> tuple[int, int, int, int, int, int]:
    s = summary
    return s.new, s.updated, s.renamed, s.unchanged, s.removed, len(s.failures)


def test_shared_text_is_stored_once_and_found(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, **{name: page(name) for name in ("north", "south", "east", "west")})
    index = make("a")
    assert counts(ingest(index, discover([str(folder)]), settings)) == (4, 0, 0, 0, 0, 0)
    footers = [chunk for chunk in chunks(index).values() if FOOTER in chunk.text]
    assert [chunk.text for chunk in footers] == [FOOTER]
    (footer,) = footers
    assert footer.document_id.endswith("/east.md")
    assert [Path(other).name for other in footer.also_in] == ["north.md", "south.md", "west.md"]
    assert sorted(footer.metadata["source"]) == ["east.md", "north.md", "south.md", "west.md"]
    for chunk in chunks(index).values():
        text = index.store.record(chunk.document_id).text
        assert text[chunk.start : chunk.end] == chunk.text
        assert text.count(FOOTER) == 1  # the document itself is whole


def test_the_index_does_not_depend_on_the_order_of_arrival(make, settings, tmp_path):
    folder = tmp_path / "pages"
    pages = {name: page(name) for name in ("north", "south", "east", "west", "ash")}
    at_once, bit_by_bit = make("at-once"), make("bit-by-bit")
    for name in random.Random(1).sample(sorted(pages), len(pages)):
        write_pages(folder, **{name: pages[name]})
        ingest(bit_by_bit, discover([str(folder)]), settings)
    ingest(at_once, discover([str(folder)]), settings)
    assert_same(at_once, bit_by_bit, QUERIES)
    # The owner of the footer goes, then so many that nothing is shared any more.
    for gone in (["ash"], ["east", "north"]):
        for name in gone:
            (folder / f"{name}.md").unlink()
        ingest(bit_by_bit, discover([str(folder)]), settings, prune=True)
        fresh = make("fresh-" + gone[0])
        ingest(fresh, discover([str(folder)]), settings)
        assert_same(fresh, bit_by_bit, QUERIES)
    assert sum(FOOTER in chunk.text for chunk in chunks(bit_by_bit).values()) == 2


def test_an_update_of_a_holder_reaches_the_shared_text(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, **{name: page(name) for name in ("north", "south", "east")})
    index = make("a")
    ingest(index, discover([str(folder)]), settings)
    write_pages(folder, south=page("south").replace(FOOTER, "Its own last line, which no other page has."))
    assert counts(ingest(index, discover([str(folder)]), settings)) == (0, 1, 0, 2, 0, 0)
    fresh = make("b")
    ingest(fresh, discover([str(folder)]), settings)
    assert_same(fresh, index, QUERIES)
    assert all(not chunk.also_in for chunk in chunks(index).values())


def test_a_renamed_file_is_not_embedded_again(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, north=page("north"), south=page("south"))
    (folder / "plain.txt").write_text("a text without any heading. its name is all the title it has.\n")
    index = make("a")
    ingest(index, discover([str(folder)]), settings)
    os.rename(folder / "north.md", folder / "arctic.md")
    os.rename(folder / "plain.txt", folder / "simple.txt")
    index.embedder.texts.clear()
    assert counts(ingest(index, discover([str(folder)]), settings)) == (0, 0, 2, 1, 0, 0)
    assert [text for text in index.embedder.texts if text != "warm"] == []
    assert sorted(Path(key).name for key in documents(index)) == ["arctic.md", "simple.txt", "south.md"]
    fresh = make("b")
    ingest(fresh, discover([str(folder)]), settings)
    assert_same(fresh, index, QUERIES)


def test_a_copy_is_no_rename_and_an_ordinary_loss_waits_for_prune(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, north=page("north"), copy=page("north"), south=page("south"))
    index = make("a")
    assert counts(ingest(index, discover([str(folder)]), settings)) == (3, 0, 0, 0, 0, 0)
    (folder / "south.md").unlink()
    assert counts(ingest(index, discover([str(folder)]), settings)) == (0, 0, 0, 2, 0, 0)
    assert len(documents(index)) == 3
    assert counts(ingest(index, discover([str(folder)]), settings, prune=True)) == (0, 0, 0, 2, 1, 0)


def test_a_lost_copy_lives_on_in_the_other_and_nothing_is_counted_below_zero(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, north=page("north"), copy=page("north"))
    index = make("a")
    ingest(index, discover([str(folder)]), settings)
    (folder / "copy.md").unlink()
    assert counts(ingest(index, discover([str(folder)]), settings)) == (0, 0, 1, 1, 0, 0)
    assert [Path(key).name for key in documents(index)] == ["north.md"]


def test_a_file_that_cannot_be_read_under_its_new_name_keeps_its_document(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, north=page("north"), south=page("south"))
    index = make("a")
    ingest(index, discover([str(folder)]), settings)
    (folder / "north.md").rename(folder / "north.pdf")
    assert counts(ingest(index, discover([str(folder)]), settings)) == (0, 0, 0, 1, 0, 1)
    assert sorted(Path(key).name for key in documents(index)) == ["north.md", "south.md"]


def test_a_corpus_file_may_be_renamed(make, settings, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"_id": "1", "title": "Tea", "text": "Tea is hot."}\n{"_id": "2", "text": "Ice is cold."}\n')
    index = make("a")
    ingest(index, discover([str(corpus)]), settings)
    moved = corpus.rename(tmp_path / "other.jsonl")
    index.embedder.texts.clear()
    assert counts(ingest(index, discover([str(moved)]), settings)) == (0, 0, 2, 0, 0, 0)
    assert [text for text in index.embedder.texts if text != "warm"] == []
    assert {record.uri.partition("#")[0] for record in documents(index).values()} == {moved.as_uri()}
    assert {chunk.uri.partition("#")[0] for chunk in chunks(index).values()} == {moved.as_uri()}


def test_the_same_id_in_two_files_that_both_exist_is_a_failure(make, settings, tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text('{"_id": "1", "text": "Tea is hot."}\n')
    index = make("a")
    ingest(index, discover([str(tmp_path / "one.jsonl")]), settings)
    summary = ingest(index, discover([str(tmp_path / "two.jsonl")]), settings)
    assert counts(summary) == (0, 0, 0, 0, 0, 1)
    assert "belongs to" in summary.failures[0].reason


def test_plan_tells_what_ingest_does(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, **{name: page(name) for name in ("north", "south", "east", "west")})
    index = make("a")
    ingest(index, discover([str(folder)]), settings)
    write_pages(folder, south="# South\n\nWas rewritten.", new="# New\n\nIs new.")
    (folder / "east.md").unlink()
    os.rename(folder / "west.md", folder / "occident.md")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 no more")
    known = known_documents(index.store.records())
    planned = plan(known, discover([str(folder)]), settings, prune=True)
    done = ingest(index, discover([str(folder)]), settings, prune=True)
    assert counts(planned) == counts(done) == (1, 1, 1, 1, 1, 1)
    assert str(planned).startswith("Would index: 1 new, 1 updated, 1 renamed, 1 unchanged, 1 removed, 1 failed")


def test_reingest_holds_exactly_the_given_documents(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, **{name: page(name) for name in ("north", "south", "east")})
    first, second = make("a"), make("b")
    ingest(first, discover([str(folder)]), settings)
    stored = [record.document for record in documents(first).values()]
    assert counts(reingest(second, stored[:2], settings)) == (2, 0, 0, 0, 0, 0)
    assert counts(reingest(second, stored[1:], settings)) == (1, 0, 0, 1, 1, 0)
    assert counts(reingest(second, stored, settings)) == (1, 0, 0, 2, 0, 0)
    assert_same(first, second, QUERIES)


def test_removed_documents_leave_no_trace(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, **{name: page(name) for name in ("north", "south", "east")})
    index, fresh = make("a"), make("b")
    ingest(index, discover([str(folder)]), settings)
    remove(index, [(folder / "east.md").as_uri(), "unknown"], settings)
    (folder / "east.md").unlink()
    ingest(fresh, discover([str(folder)]), settings)
    assert_same(fresh, index, QUERIES)


def test_a_document_too_large_for_one_write(make, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("core.store.edge.POINTS_PER_WRITE", 2)
    long = page("long", *(f"## Part {n}\n\n" + f"Berth {n} is free today. " * 30 for n in range(7)))
    (tmp_path / "long.md").write_text(long)
    index, fresh = make("a"), make("b")
    ingest(index, discover([str(tmp_path / "long.md")]), settings)
    (tmp_path / "long.md").write_text(long.replace("Berth 3 is free", "Berth 3 is taken"))

    writes = 0

    def write(operation, real=index.store._write):
        nonlocal writes
        writes += 1
        if writes == 3:
            raise RuntimeError("killed")
        real(operation)

    monkeypatch.setattr(index.store, "_write", write)
    with pytest.raises(RuntimeError, match="killed"):
        ingest(index, discover([str(tmp_path / "long.md")]), settings)
    monkeypatch.undo()
    (tmp_path / "long.md").write_text(long)  # back to what it was: what is half overwritten must be written again
    ingest(index, discover([str(tmp_path / "long.md")]), settings)
    ingest(fresh, discover([str(tmp_path / "long.md")]), settings)
    assert_same(fresh, index, QUERIES)


def test_an_error_in_a_stage_ends_the_ingest_and_keeps_what_was_written(make, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.writer.BATCH_CHARS", 100)
    folder = tmp_path / "pages"
    write_pages(folder, **{f"p{n}": page(f"p{n}", f"Berth {n}.") for n in range(6)})
    index = make("a")
    real, calls = index.store.upsert, []

    def upsert(chunks, records):
        calls.append(records)
        if len(calls) == 3:
            raise OSError("no more")
        real(chunks, records)

    monkeypatch.setattr(index.store, "upsert", upsert)
    started = time.monotonic()
    with pytest.raises(OSError, match="no more"):
        ingest(index, discover([str(folder)]), settings)
    assert time.monotonic() - started < 20
    assert index.store.count_documents() == 2
    monkeypatch.undo()
    ingest(index, discover([str(folder)]), settings)
    fresh = make("b")
    ingest(fresh, discover([str(folder)]), settings)
    assert_same(fresh, index, QUERIES)


def test_progress_reaches_its_end(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, **{f"p{n}": page(f"p{n}") for n in range(5)})
    seen = []
    sources = discover([str(folder)])
    summary = ingest(make("a"), sources, settings, on_progress=seen.append)
    last = seen[-1]
    assert (last.n_documents, last.n_chunks) == (5, summary.n_chunks)
    assert last.done_bytes == last.total_bytes == sum(path.stat().st_size for path in folder.iterdir())
    done = [progress.done_bytes for progress in seen]
    assert done == sorted(done)


def test_the_last_file_of_a_folder_may_vanish(make, settings, tmp_path):
    folder = tmp_path / "pages"
    write_pages(folder, north=page("north"))
    index = make("a")
    ingest(index, discover([str(folder)]), settings)
    (folder / "north.md").unlink()
    with pytest.raises(InputError, match="no supported file"):
        discover([str(folder)])
    sources = discover([str(folder)], may_be_empty=True)
    assert counts(ingest(index, sources, settings, prune=True)) == (0, 0, 0, 0, 1, 0)
    assert documents(index) == chunks(index) == {}
    write_pages(folder, south=page("south"))
    assert counts(ingest(index, discover([str(folder)]), settings)) == (1, 0, 0, 0, 0, 0)

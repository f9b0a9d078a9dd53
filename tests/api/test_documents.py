"""Reading documents back and deleting them: the exact text, chunks at their offsets, all or nothing."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from core.index import open_index
from core.settings import Settings
from tests.api.command import Command, answers, start
from tests.api.conftest import Write

BEIR = [
    {"_id": f"d{n}", "title": f"Topic {n}", "text": f"All about subject number {n}.\nIt ends here."} for n in (1, 2)
]


@pytest.fixture
def filled(limpid: Command, corpus: Path, write: Write) -> Path:
    """An index of the corpus and of two BEIR lines."""
    lines = write("corpus.jsonl", "\n".join(map(json.dumps, BEIR)))
    assert limpid("ingest", corpus, lines).code == 0
    return corpus


class TestList:
    def test_documents_in_the_order_of_their_ids(self, limpid: Command, filled: Path) -> None:
        listed = limpid("documents", "--json").json
        assert listed["total"] == 6
        ids = [found["id"] for found in listed["documents"]]
        assert ids == sorted(ids)
        assert {"d1", "d2", (filled / "boats.md").as_uri()} <= set(ids)
        assert all(found["n_chunks"] >= 1 for found in listed["documents"])

    def test_for_people(self, limpid: Command, filled: Path) -> None:
        said = limpid("documents").out
        assert f"Topic 1  d1  ({(filled.parent / 'corpus.jsonl').as_uri()}#d1)" in said
        assert said.endswith("6 documents\n")

    def test_an_id_with_a_line_break_stays_on_its_line(self, limpid: Command, write: Write) -> None:
        limpid("ingest", write("corpus.jsonl", json.dumps(BEIR[0] | {"_id": "two\nlines"})))
        assert "two\\nlines" in limpid("documents").out


class TestShow:
    def test_every_hit_is_found_at_its_offsets(self, limpid: Command, filled: Path) -> None:
        for hit in limpid("search", "boats, bread and subjects", "-k", 20, "--json").json["hits"]:
            text = limpid("documents", "show", hit["document_id"]).out
            assert text[hit["start"] : hit["end"]] == hit["text"]

    def test_nothing_is_added_to_the_text(self, limpid: Command, filled: Path) -> None:
        assert limpid("documents", "show", "d1").out == "All about subject number 1.\nIt ends here."

    def test_a_path_names_the_file(self, limpid: Command, filled: Path) -> None:
        by_path = limpid("documents", "show", "docs/sub/../boats.md", "--json").json
        assert by_path == limpid("documents", "show", (filled / "boats.md").as_uri(), "--json").json
        assert by_path["title"] == "Boats"
        assert by_path["markup"] == "markdown"
        assert by_path["content_hash"]

    def test_chunks_cover_the_text_in_order(self, limpid: Command, filled: Path) -> None:
        shown = limpid("documents", "show", "docs/boats.md", "--chunks", "--json").json
        chunks = shown["chunks"]
        assert len(chunks) == shown["n_chunks"]
        assert [chunk["position"] for chunk in chunks] == list(range(len(chunks)))
        assert all(shown["text"][chunk["start"] : chunk["end"]] == chunk["text"] for chunk in chunks)
        said = limpid("documents", "show", "docs/boats.md", "--chunks").out
        assert all(chunk["chunk_id"] in said for chunk in chunks)

    def test_what_is_not_there(self, limpid: Command, filled: Path) -> None:
        ran = limpid("documents", "show", "d3")
        assert (ran.code, "There is no document 'd3'" in ran.err) == (3, True)
        assert limpid("documents", "show", "nothing\0here").code == 3

    def test_no_index(self, limpid: Command) -> None:
        assert limpid("documents").code == limpid("documents", "show", "x").code == limpid("delete", "x").code == 3


class TestDelete:
    def test_what_is_deleted_is_found_no_more(self, limpid: Command, filled: Path) -> None:
        ran = limpid("delete", "d1", "docs/boats.md", "d1", "--json")
        assert ran.json == {"deleted": ["d1", (filled / "boats.md").as_uri()]}
        assert limpid("documents", "--json").json["total"] == 4
        hits = limpid("search", "sailing boats and subject 1", "-k", 50, "--json").json["hits"]
        assert not {hit["document_id"] for hit in hits} & set(ran.json["deleted"])
        assert answers(limpid)

    def test_an_unknown_id_deletes_nothing(self, limpid: Command, filled: Path) -> None:
        ran = limpid("delete", "d1", "d3", "docs/none.md")
        assert ran.code == 3
        assert "'d3', 'docs/none.md'; nothing was deleted" in ran.err
        assert limpid("documents", "--json").json["total"] == 6

    def test_the_index_is_as_if_it_had_never_been_there(self, limpid: Command, filled: Path) -> None:
        """Average length, document frequencies and so every BM25 score."""
        limpid("delete", "docs/boats.md", "docs/page.html")
        (filled / "boats.md").unlink()
        (filled / "page.html").unlink()
        limpid("ingest", filled, filled.parent / "corpus.jsonl", "--index", "fresh")
        left, fresh = (limpid("status", "--json", "--index", name).json for name in (".limpid", "fresh"))
        for name in ("documents", "chunks", "complete"):
            assert left[name] == fresh[name]
        assert left["avg_len"] == pytest.approx(fresh["avg_len"], rel=0.01)
        both = []
        for name in (".limpid", "fresh"):
            hits = limpid("search", "bread rises slowly", "--mode", "sparse", "--json", "--index", name).json["hits"]
            both.append({hit["chunk_id"]: hit["score"] for hit in hits})
        assert both[0].keys() == both[1].keys()
        assert both[0] == pytest.approx(both[1], rel=0.01)


class TestThroughTheServer:
    def test_a_served_index_is_listed_read_described_and_deleted_from(
        self, limpid: Command, filled: Path, tmp_path: Path
    ) -> None:
        calls = [
            ("documents", "--json"),
            ("documents", "show", "docs/boats.md", "--chunks", "--json"),
            ("documents", "show", "d1"),
            ("status", "--json"),
        ]
        before = [limpid(*call) for call in calls]
        server = start(tmp_path, "serve", "--port", "0", "--json")
        try:
            assert server.stdout.readline(), server.stderr.read()
            note = tmp_path / ".limpid" / "served.json"
            deadline = time.monotonic() + 30
            while not note.exists():
                assert time.monotonic() < deadline, "the server never announced itself"
                time.sleep(0.05)
            through = [limpid(*call) for call in calls]
            for ours, theirs in zip(before[:3], through[:3], strict=True):
                assert (ours.code, ours.out) == (theirs.code, theirs.out)
            ours, theirs = before[3].json, through[3].json
            del ours["size_bytes"]
            assert ours == theirs
            assert limpid("documents", "show", "d3").code == 3
            refused = limpid("delete", "d1", "d3")
            assert (refused.code, "nothing was deleted" in refused.err) == (3, True)
            deleted = limpid("delete", "d1", "docs/boats.md", "--json")
            assert deleted.json == {"deleted": ["d1", (filled / "boats.md").as_uri()]}
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
        with open_index(Settings(index=str(tmp_path / ".limpid"), offline=True)) as index:
            assert index.store.count_documents() == 4

"""`limpid reindex`: the new generation is what a fresh index would be, however often the way there is interrupted."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient

from core.index import Index, open_current_store, open_index
from core.settings import Settings
from core.store import server
from core.store.edge import EdgeStore
from ingest import reindex as module
from tests.api.command import Command, answers, start
from tests.api.conftest import Write

ROOT = Path(__file__).parents[2]
CHANGED = ("--chunk-tokens", "40", "--bm25-b", "0.5")
# The command line in a process that kills itself at the given one of all writes, switches and removals.
KILLED = """
import os, shutil, signal, sys
from core.store.edge import EdgeStore
from api.cli import app
from api.console import run

left = int(sys.argv[1])

def counted(function):
    def call(*arguments, **options):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return call

EdgeStore._write = counted(EdgeStore._write)
EdgeStore.optimize = counted(EdgeStore.optimize)
os.replace, shutil.rmtree = counted(os.replace), counted(shutil.rmtree)
run(app, sys.argv[2:])
"""


@pytest.fixture
def filled(limpid: Command, corpus: Path, write: Write) -> Path:
    """An index of a corpus with a longer document, a copied paragraph and BEIR lines with metadata."""
    write("docs/long.md", "\n\n".join(f"# Part {n}\n\nParagraph {n} is about lamp {n}. It burns." for n in range(12)))
    licence = "You may copy this text as long as you keep this notice about copying in every one of your copies."
    for name in "abc":
        write(f"docs/{name}.txt", f"{licence}\n\nThe file {name} says something of its own here.")
    lines = [{"_id": f"d{n}", "text": f"Subject number {n}.", "metadata": {"n": n, "odd": n % 2 == 1}} for n in (1, 2)]
    write("docs/corpus.jsonl", "\n".join(map(json.dumps, lines)))
    assert limpid("ingest", corpus).code == 0
    return corpus


def contents(settings: Settings) -> tuple[dict, dict, dict]:
    """All that an index holds: its meta, its records, its chunks with their vectors."""
    with open_current_store(settings) as (_, store, meta):
        records = {record.id: store.record(record.id) for record in store.records()}
        chunks = {found.chunk.id: found for batch in store.scan(vectors=True) for found in batch}
        return meta.to_json(), records, chunks


def assert_same(ours: Settings, theirs: Settings) -> None:
    """Chunk for chunk and vector for vector; the encoder's last digits depend on which texts share a batch."""
    (meta, records, chunks), (other_meta, other_records, other_chunks) = contents(ours), contents(theirs)
    assert meta == other_meta
    assert records == other_records
    assert chunks.keys() == other_chunks.keys()
    for key, found in chunks.items():
        assert found.chunk == other_chunks[key].chunk
        np.testing.assert_allclose(found.dense, other_chunks[key].dense, atol=2e-3)
        np.testing.assert_allclose(found.sentences, other_chunks[key].sentences, atol=2e-3)


def at(folder: Path, name: str = ".limpid") -> Settings:
    return Settings(index=str(folder / name), offline=True)


@pytest.fixture
def fresh(limpid: Command, filled: Path, tmp_path: Path) -> Settings:
    """An index that was made with the changed settings from the start."""
    made = limpid("ingest", filled, "--index", "fresh", "--chunk-tokens", "40")
    assert made.code == 0
    assert limpid("reindex", "--index", "fresh", "--bm25-b", "0.5").code == 0  # `ingest` has no such option
    return at(tmp_path, "fresh")


class TestResult:
    def test_it_is_what_a_fresh_index_would_be(
        self, limpid: Command, filled: Path, fresh: Settings, tmp_path: Path
    ) -> None:
        shutil.rmtree(filled)  # no source is needed
        before = limpid("status", "--json").json["chunks"]
        ran = limpid("reindex", *CHANGED)
        assert ran.code == 0, ran.err
        assert "chunk_tokens    200 → 40" in ran.out
        assert "bm25_b          0.75 → 0.5" in ran.out
        status = limpid("status", "--json").json
        assert f"Reindexed: 10 documents, {status['chunks']} chunks; generation 2 answers in the place of 1" in ran.out
        assert status["chunks"] > before
        assert (status["generation"], status["reindex"], status["complete"]) == (2, None, True)
        assert_same(at(tmp_path), fresh)
        assert sorted(path.name for path in (tmp_path / ".limpid" / "generations").iterdir()) == ["2"]
        assert answers(limpid)

    def test_another_model(self, limpid: Command, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from core import index

        other = index.open_embedder

        def open_other(*arguments: object, **options: object) -> object:
            found = other(*arguments, **options)
            found.weights_hash = "f" * 64
            return found

        monkeypatch.setattr(index, "open_embedder", open_other)
        assert limpid("search", "bread").code == 4
        ran = limpid("reindex", "--json")
        assert ran.json["changes"]["weights"][1] == "f" * 64
        assert ran.json["generation"] == 2
        assert ran.json["reindexed"]["n_documents"] == 10
        assert answers(limpid)

    def test_nothing_to_change(self, limpid: Command, filled: Path) -> None:
        assert "Nothing to change" in limpid("reindex").out
        ran = limpid("reindex", "--chunk-tokens", "200", "--json")
        assert ran.json == {"changes": {}, "generation": 1, "reindexed": None}

    def test_dry_run_writes_nothing(self, limpid: Command, filled: Path) -> None:
        ran = limpid("reindex", *CHANGED, "--dry-run", "--json")
        assert ran.json["changes"] == {"bm25_b": [0.75, 0.5], "chunk_tokens": [200, 40]}
        status = limpid("status", "--json").json
        assert (status["generation"], status["reindex"]) == (1, None)

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["--index", "elsewhere"], 3, "There is no index in elsewhere"),
            (["--language", "klingon"], 2, "klingon"),
            (["--bm25-b", "2"], 2, "bm25_b"),
            (["--chunker", "magic"], 2, "'structure', 'topic' or 'fixed'"),
            (["--model", "nobody/none"], 5, "isn't on this machine"),
        ],
    )
    def test_wrong_calls(self, limpid: Command, filled: Path, arguments: list[str], code: int, message: str) -> None:
        ran = limpid("reindex", *arguments)
        assert (ran.code, message in ran.err) == (code, True), ran.err
        assert answers(limpid)
        assert limpid("status", "--json").json["reindex"] is None

    def test_on_a_server(self, limpid: Command, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        client = QdrantClient(":memory:")
        monkeypatch.setattr(server, "connect", lambda url, key: client)
        monkeypatch.setattr(client, "close", lambda: None)
        place = ("--index", "http://qdrant.test:6333", "--collection", "corpus")
        assert limpid("ingest", filled, *place).code == 0
        before = limpid("status", "--json", *place).json
        ran = limpid("reindex", *CHANGED, "--json", *place)
        assert ran.json["generation"] == 2
        after = limpid("status", "--json", *place).json
        assert (after["documents"], after["fields"]) == (before["documents"], before["fields"])
        assert after["chunks"] > before["chunks"]
        assert [found.name for found in client.get_collections().collections] == ["corpus@2"]
        assert "bread.txt" in limpid("search", "bread", "--json", *place).json["hits"][0]["uri"]


class TestInterruption:
    def test_a_kill_at_any_write_converges(
        self, limpid: Command, filled: Path, fresh: Settings, tmp_path: Path
    ) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "LIMPID_OFFLINE": "true"}
        chance = random.Random(7)
        kills = 0
        for n in [1, 2, *(chance.randint(3, 30) for _ in range(8))]:
            command = [sys.executable, "-c", KILLED, str(n), "reindex", *CHANGED, "--quiet"]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            kills += done.returncode != 0
            assert answers(limpid)
        assert kills > 2
        assert limpid("reindex", *CHANGED).code == 0
        assert limpid("status", "--json").json["reindex"] is None
        assert_same(at(tmp_path), fresh)

    def test_what_is_built_is_not_built_again(
        self, limpid: Command, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        built = module.reingest

        def interrupted(index: Index, documents, *arguments: object, **options: object) -> None:
            built(index, list(documents)[:4], *arguments, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(module, "reingest", interrupted)
        ran = limpid("reindex", *CHANGED)
        assert (ran.code, "`limpid reindex` goes on" in ran.err) == (130, True)
        assert answers(limpid)
        unfinished = limpid("status", "--json").json["reindex"]
        assert (unfinished["state"], unfinished["generation"], unfinished["documents"]) == ("unfinished", 2, 4)
        assert unfinished["fingerprint"]["chunk_tokens"] == 40

        unchanged: list[int] = []

        def counted(*arguments: object, **options: object) -> object:
            summary = built(*arguments, **options)
            unchanged.append(summary.unchanged)
            return summary

        monkeypatch.setattr(module, "reingest", counted)
        ran = limpid("reindex")  # without options it goes on with what was begun
        assert "Going on with the generation that was begun earlier" in ran.err
        assert unchanged == [4]
        status = limpid("status", "--json").json
        assert (status["generation"], status["fingerprint"]["bm25_b"]) == (2, 0.5)

    def test_other_settings_begin_anew(self, limpid: Command, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(module, "reingest", interrupted)
            assert limpid("reindex", *CHANGED).code == 130
        assert limpid("reindex", "--chunk-tokens", "64").code == 0
        fingerprint = limpid("status", "--json").json["fingerprint"]
        assert (fingerprint["chunk_tokens"], fingerprint["bm25_b"]) == (64, 0.75)


class TestMeanwhile:
    def test_others_search_and_ingest_and_the_new_generation_catches_up(
        self, limpid: Command, filled: Path, monkeypatch: pytest.MonkeyPatch, write: Write
    ) -> None:
        built, found = module.reingest, []

        def slow(*arguments: object, **options: object) -> object:
            summary = built(*arguments, **options)
            if not found:  # the first round: something changes before the switch
                monkeypatch.chdir(filled.parent)
                write("docs/tea.txt", "Green tea turns bitter in boiling water.")
                write("docs/bread.txt", "Rye bread rises slowly, since rye has little gluten.")
                (filled / "page.html").unlink()
                with open_index(Settings(index=".limpid", offline=True)) as index:
                    found.append(index.generation)
                ran = subprocess.run(
                    [sys.executable, "-m", "api.cli", "ingest", "docs", "--prune"],
                    env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
                )  # fmt: skip
                found.append(ran.stdout)
            return summary

        monkeypatch.setattr(module, "reingest", slow)
        ran = limpid("reindex", *CHANGED)
        assert ran.code == 0, ran.err
        assert found == [1, "Indexed: 1 new, 1 updated, 8 unchanged, 1 removed, 0 failed\n"]
        assert limpid("status", "--json").json["generation"] == 2
        texts = [hit["text"] for hit in limpid("search", "tea and rye bread", "-k", "50", "--json").json["hits"]]
        assert any("bitter" in text for text in texts)
        assert any("gluten" in text for text in texts)
        assert not any("Cumulus" in text for text in texts)
        assert limpid("ingest", filled, "--prune").out.startswith("Indexed: 0 new, 0 updated, 10 unchanged")

    def test_it_waits_for_who_holds_the_index(self, limpid: Command, filled: Path, tmp_path: Path) -> None:
        held = EdgeStore(tmp_path / ".limpid" / "generations" / "1")
        threading.Timer(1.5, held.close).start()
        assert limpid("reindex", *CHANGED).code == 0

    def test_only_one_at_a_time(self, limpid: Command, filled: Path, tmp_path: Path) -> None:
        held = EdgeStore(tmp_path / ".limpid" / "generations" / "2", 384)
        ran = limpid("reindex", *CHANGED)
        assert (ran.code, "already making generation 2" in ran.err) == (4, True)
        assert limpid("status", "--json").json["reindex"]["state"] == "running"
        held.close()
        assert limpid("reindex", *CHANGED).code == 0

    def test_a_server_goes_on_answering_and_moves_over(
        self, limpid: Command, filled: Path, fresh: Settings, tmp_path: Path
    ) -> None:
        process = start(tmp_path, "serve", "--port", "0", "--json")
        statuses: list[int] = []
        is_over = threading.Event()
        try:
            first = process.stdout.readline()
            assert first, process.stderr.read()
            url = json.loads(first)["url"]
            client = httpx.Client(base_url=url, timeout=30, trust_env=False)
            _until((tmp_path / ".limpid" / "served.json").exists)

            def ask() -> None:
                while not is_over.is_set():
                    answer = client.post("/v1/search", json={"query": "why does bread rise", "k": 3})
                    statuses.append(answer.status_code if answer.json()["hits"] else 0)

            thread = threading.Thread(target=ask)
            thread.start()
            ran = limpid("reindex", *CHANGED)
            assert ran.code == 0, ran.err
            _until(lambda: client.get("/v1/status").json()["generation"] == 2)
            _until(lambda: not (tmp_path / ".limpid" / "generations" / "1").exists())
            assert client.get("/v1/status").json()["fingerprint"]["chunk_tokens"] == 40
            is_over.set()
            thread.join()
            client.close()
            assert set(statuses) == {200}
            assert answers(limpid)
        finally:
            is_over.set()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert_same(at(tmp_path), fresh)


def _until(is_so, patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not is_so():
        assert time.monotonic() < deadline, "it never came to it"
        time.sleep(0.05)

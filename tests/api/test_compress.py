"""`limpid compress`: the stored vectors projected, the rest as it was, however often the way there is interrupted."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient

from core.compress.projection import Projection
from core.index import open_current_store, open_index
from core.settings import Settings
from core.store import server
from ingest import transfer as module
from ingest.pipeline import ingest
from ingest.sources import discover
from search.retriever import Retriever
from tests.api.command import Command, answers, start
from tests.api.conftest import Write
from tests.api.test_reindex import KILLED, ROOT, _until, at, contents

NAMES = ("anchor", "lantern", "harbour", "keel", "mast", "rudder", "sextant", "tiller")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents and their index: sentences enough to fit a projection to, a paragraph that stands in many of them."""
    folder = tmp_path_factory.mktemp("compress")
    (folder / "docs").mkdir()
    texts = {"bread.txt": "Sourdough bread rises slowly because wild yeast works at its own pace."}
    texts["page.html"] = "<html><title>Clouds</title><body><h1>Clouds</h1><p>Cumulus clouds look like wool.</p>"
    licence = "You may copy this text as long as you keep this notice about copying in every one of your copies."
    for number, name in enumerate(NAMES):
        care = f"## Care\n\nClean the {name} with fresh water. Then dry the {name} in the sun."
        texts[f"{name}.md"] = f"# The {name}\n\nEvery {name} wears out in {number} years.\n\n{licence}\n\n{care}"
    lines = [{"_id": f"d{n}", "text": f"Subject number {n}.", "metadata": {"n": n, "odd": n % 2 == 1}} for n in (1, 2)]
    texts["corpus.jsonl"] = "\n".join(map(json.dumps, lines))
    for name, text in texts.items():
        (folder / "docs" / name).write_text(text, encoding="utf-8")
    settings = at(folder)
    with open_index(settings, create=True, notify=lambda line: None) as index:
        ingest(index, discover([str(folder / "docs")]), settings)
    return folder


@pytest.fixture
def filled(made: Path, limpid: Command, tmp_path: Path) -> Path:
    """A copy of that index where the command looks for it, and the folder that it was made from."""
    shutil.copytree(made / ".limpid", tmp_path / ".limpid")
    return made / "docs"


def stored_projection(settings: Settings) -> Projection:
    with open_current_store(settings) as (_, _, meta):
        return Projection.from_json(meta.projection)


def assert_compressed(before: tuple[dict, dict, dict], settings: Settings) -> None:
    """Records, chunks and average as they were; every vector is the full one, projected."""
    projection = stored_projection(settings)
    (old_meta, old_records, old_chunks), (meta, records, chunks) = before, contents(settings)
    assert records == old_records
    assert (meta["avg_len"], meta["exact"], meta["fields"]) == tuple(
        old_meta[k] for k in ("avg_len", "exact", "fields")
    )
    assert chunks.keys() == old_chunks.keys()
    for key, found in chunks.items():
        assert found.chunk == old_chunks[key].chunk
        np.testing.assert_allclose(found.dense, projection.project(old_chunks[key].dense), atol=1e-5)
        np.testing.assert_allclose(found.sentences, projection.project(old_chunks[key].sentences), atol=2e-3)


class TestApply:
    def test_stored_vectors_are_projected_and_nothing_else_changes(
        self, limpid: Command, filled: Path, tmp_path: Path
    ) -> None:
        before = contents(at(tmp_path))
        sparse = limpid("search", "anchor", "--mode", "sparse", "--json").json["hits"]
        ran = limpid("compress", "--apply", "pca:16+binary")
        assert ran.code == 0, ran.err
        assert "compression     'none' → 'pca:16'" in ran.out
        assert f"Compressed: 12 documents, {len(before[2])} chunks; generation 2 answers in the place of 1" in ran.out
        status = limpid("status", "--json").json
        assert (status["generation"], status["complete"], status["reindex"]) == (2, True, None)
        made = {name: status["fingerprint"][name] for name in ("dimension", "compression", "quantization")}
        assert made == {"dimension": 16, "compression": "pca:16", "quantization": "binary"}
        assert_compressed(before, at(tmp_path))
        assert limpid("search", "anchor", "--mode", "sparse", "--json").json["hits"] == sparse
        assert answers(limpid)
        assert sorted(path.name for path in (tmp_path / ".limpid" / "generations").iterdir()) == ["2"]

    def test_what_is_ingested_later_is_as_if_it_had_been_there(
        self, limpid: Command, filled: Path, tmp_path: Path, write: Write
    ) -> None:
        assert limpid("compress", "--apply", "pca:16").code == 0
        write("more/tea.txt", "Green tea turns bitter in boiling water. Let the kettle cool first.")
        assert limpid("ingest", "more", filled).out.startswith("Indexed: 1 new, 0 updated, 12 unchanged")
        assert limpid("ingest", "more", filled, "--index", "full").code == 0
        full, ours = contents(at(tmp_path, "full")), contents(at(tmp_path))
        projection = stored_projection(at(tmp_path))
        assert ours[2].keys() == full[2].keys()
        for key, found in ours[2].items():
            np.testing.assert_allclose(found.dense, projection.project(full[2][key].dense), atol=2e-3)
            np.testing.assert_allclose(found.sentences, projection.project(full[2][key].sentences), atol=3e-3)
        assert "tea.txt" in limpid("search", "why is green tea bitter", "--json").json["hits"][0]["uri"]

    def test_a_quantisation_alone_can_be_undone(self, limpid: Command, filled: Path, tmp_path: Path) -> None:
        before = contents(at(tmp_path))
        assert limpid("compress", "--apply", "int8", "--json").json["changes"] == {"quantization": ["none", "int8"]}
        assert "Nothing to change" in limpid("compress", "--apply", "int8").out
        ran = limpid("compress", "--apply", "none", "--json").json
        assert (ran["changes"], ran["generation"]) == ({"quantization": ["int8", "none"]}, 3)
        after = contents(at(tmp_path))
        assert after[0] == before[0]
        assert after[1] == before[1]
        for key, found in after[2].items():
            assert np.array_equal(found.dense, before[2][key].dense)

    def test_a_quantisation_joins_a_compression_and_another_compression_does_not(
        self, limpid: Command, filled: Path
    ) -> None:
        assert limpid("compress", "--apply", "truncate:24").code == 0
        assert limpid("compress", "--apply", "binary", "--json").json["changes"] == {"quantization": ["none", "binary"]}
        assert limpid("status", "--json").json["fingerprint"]["compression"] == "truncate:24"
        ran = limpid("compress", "--apply", "pca:8")
        assert (ran.code, "limpid reindex --model" in ran.err) == (2, True)
        ran = limpid("compress", "--plan", "--method", "pca:8")
        assert (ran.code, "compressed to truncate:24 already" in ran.err) == (2, True)
        shown = limpid("compress", "--plan", "--json").json
        assert [row["method"] for row in shown["methods"]] == ["none", "int8", "binary"]
        assert shown["methods"][0]["dimension"] == 24

    def test_a_reindex_keeps_it_and_a_new_model_drops_it(self, limpid: Command, filled: Path, tmp_path: Path) -> None:
        full = contents(at(tmp_path))
        assert limpid("compress", "--apply", "pca:16+binary").code == 0
        kept = stored_projection(at(tmp_path)).digest
        assert limpid("reindex", "--chunk-tokens", "40").code == 0
        assert stored_projection(at(tmp_path)).digest == kept
        assert limpid("status", "--json").json["fingerprint"]["quantization"] == "binary"
        model = limpid("status", "--json").json["fingerprint"]["model"]
        ran = limpid("reindex", "--model", model, "--chunk-tokens", "200")
        assert ran.code == 0, ran.err
        assert "compression     'pca:16' → 'none'" in ran.out
        assert "`limpid compress` can shorten them" in ran.err
        again = contents(at(tmp_path))
        assert again[0]["projection"] is None
        for key, found in again[2].items():
            np.testing.assert_allclose(found.dense, full[2][key].dense, atol=2e-3)

    def test_on_a_server(self, limpid: Command, filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        client = QdrantClient(":memory:")
        monkeypatch.setattr(server, "connect", lambda url, key: client)
        monkeypatch.setattr(client, "close", lambda: None)
        place = ("--index", "http://qdrant.test:6333", "--collection", "corpus")
        assert limpid("ingest", filled, *place).code == 0
        before = limpid("status", "--json", *place).json
        ran = limpid("compress", "--apply", "pca:16+int8", *place)
        assert ran.code == 0, ran.err
        after = limpid("status", "--json", *place).json
        assert (after["documents"], after["chunks"], after["fields"]) == tuple(
            before[name] for name in ("documents", "chunks", "fields")
        )
        assert [found.name for found in client.get_collections().collections] == ["corpus@2"]
        assert client.get_collection("corpus@2").config.params.vectors["dense"].size == 16
        assert "bread.txt" in limpid("search", "bread", "--json", *place).json["hits"][0]["uri"]


class TestRefused:
    def test_wrong_calls(self, limpid: Command, filled: Path) -> None:
        for arguments, code, message in [
            ([], 2, "either --plan"),
            (["--plan", "--apply", "int8"], 2, "either --plan"),
            (["--apply", "int8", "--method", "pca:8"], 2, "belong to --plan"),
            (["--plan", "--qrels", "q.tsv"], 2, "--qrels needs --queries"),
            (["--apply", "zip"], 2, "'zip' is no compression"),
            (["--apply", "pca:500"], 2, "asks for 500 dimensions of 384"),
            (["--apply", "pca:300"], 2, "pca:300 needs at least 300 vectors"),
            (["--plan", "--method", "pca:500"], 2, "give 2 to 383"),
            (["--apply", "int8", "--index", "elsewhere"], 3, "There is no index in elsewhere"),
        ]:
            ran = limpid("compress", *arguments)
            assert (ran.code, message in ran.err) == (code, True), ran.err
        assert answers(limpid)
        assert limpid("status", "--json").json["reindex"] is None

    def test_other_weights_than_the_projection_was_fitted_to(
        self, limpid: Command, filled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from core import index

        assert limpid("compress", "--apply", "pca:16").code == 0
        opened = index.open_embedder

        def open_other(*arguments: object, **options: object) -> object:
            found = opened(*arguments, **options)
            found.weights_hash = "f" * 64
            return found

        monkeypatch.setattr(index, "open_embedder", open_other)
        ran = limpid("search", "bread")
        assert (ran.code, "Vectors of two models can't be compared" in ran.err) == (4, True)
        assert limpid("compress", "--apply", "binary").code == 4

    def test_an_index_from_before_opens(self, limpid: Command, filled: Path, tmp_path: Path) -> None:
        with open_current_store(at(tmp_path)) as (_, store, _):
            meta = store.read_meta()
            del meta["projection"], meta["fingerprint"]["compression"], meta["fingerprint"]["quantization"]
            store.write_meta(meta)
        assert answers(limpid)
        assert limpid("status", "--json").json["fingerprint"]["compression"] == "none"
        assert limpid("compress", "--apply", "pca:16").code == 0


class TestInterruption:
    def test_a_kill_at_any_write_converges(
        self, limpid: Command, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = contents(at(tmp_path))
        environment = os.environ | {"PYTHONPATH": str(ROOT), "LIMPID_OFFLINE": "true"}
        kills = 0
        for n in (1, 3, 5):
            command = [sys.executable, "-c", KILLED, str(n), "compress", "--apply", "pca:16", "--quiet"]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode in (0, -signal.SIGKILL), done.stderr
            kills += done.returncode != 0
            assert answers(limpid)
        assert kills == 3
        assert limpid("compress", "--apply", "pca:16").code == 0
        assert limpid("status", "--json").json["reindex"] is None
        assert_compressed(before, at(tmp_path))

    def test_what_was_fitted_and_written_is_used(
        self, limpid: Command, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "CHUNKS_AT_ONCE", 4)
        written, fill = [], module._fill

        def interrupted(index, packages, *rest: object) -> None:
            fill(index, [next(iter(packages))], *rest)
            written.append((index.store.count_documents(), index.meta.projection))
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(module, "_fill", interrupted)
            ran = limpid("compress", "--apply", "pca:16")
        assert (ran.code, "the same command goes on" in ran.err) == (130, True)
        n_documents, projection = written[0]
        assert 0 < n_documents < 12
        assert limpid("status", "--json").json["reindex"]["documents"] == n_documents

        def counted(index, packages, n_done: int, *rest: object) -> None:
            written.append(n_done)
            fill(index, packages, n_done, *rest)

        monkeypatch.setattr(module, "_fill", counted)
        ran = limpid("compress", "--apply", "pca:16")
        assert "Going on with the generation that was begun earlier" in ran.err
        assert written[1] == n_documents
        assert stored_projection(at(tmp_path)).to_json() == projection

    def test_what_changes_meanwhile_is_caught_up(
        self, limpid: Command, filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
    ) -> None:
        fill, rounds = module._fill, []

        def slow(*arguments: object) -> None:
            fill(*arguments)
            if not rounds:
                write("more/tea.txt", "Green tea turns bitter in boiling water. " * 12)  # the average moves
                subprocess.run(
                    [sys.executable, "-m", "api.cli", "delete", "d1"],
                    cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True,
                )  # fmt: skip
                subprocess.run(
                    [sys.executable, "-m", "api.cli", "ingest", "more"],
                    cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True,
                )  # fmt: skip
                with open_index(at(tmp_path)) as index:
                    rounds.append(contents_of(index))
            else:
                rounds.append(None)

        monkeypatch.setattr(module, "_fill", slow)
        assert limpid("compress", "--apply", "pca:16").code == 0
        assert len(rounds) == 2
        *full, score = rounds[0]
        assert_compressed(full, at(tmp_path))
        with open_index(at(tmp_path)) as index:
            found = Retriever(index).search("bitter tea", 1, "sparse").hits[0]
        assert found.score == pytest.approx(score, rel=1e-4)


def contents_of(index) -> tuple[dict, dict, dict, float]:
    """What `contents` gives of an open index, and the BM25 score of a query."""
    records = {record.id: index.store.record(record.id) for record in index.store.records()}
    chunks = {found.chunk.id: found for found in index.scan()}
    return index.meta.to_json(), records, chunks, Retriever(index).search("bitter tea", 1, "sparse").hits[0].score


class TestServed:
    def test_a_server_gives_its_chunks_and_moves_over(self, limpid: Command, filled: Path, tmp_path: Path) -> None:
        before = contents(at(tmp_path))
        process = start(tmp_path, "serve", "--port", "0", "--json")
        statuses: list[int] = []
        is_over = threading.Event()
        try:
            first = process.stdout.readline()
            assert first, process.stderr.read()
            client = httpx.Client(base_url=json.loads(first)["url"], timeout=30, trust_env=False)
            _until((tmp_path / ".limpid" / "served.json").exists)

            def ask() -> None:
                while not is_over.is_set():
                    answer = client.post("/v1/search", json={"query": "why does bread rise", "k": 3})
                    statuses.append(answer.status_code if answer.json()["hits"] else 0)

            thread = threading.Thread(target=ask)
            thread.start()
            ran = limpid("compress", "--apply", "pca:16")
            assert ran.code == 0, ran.err
            _until(lambda: client.get("/v1/status").json()["generation"] == 2)
            is_over.set()
            thread.join()
            assert set(statuses) == {200}
            assert client.get("/v1/status").json()["fingerprint"]["compression"] == "pca:16"
            assert client.post("/v1/copy", json={"document_ids": ["nowhere"]}).json() == {"records": [], "chunks": []}
            ran = limpid("reindex", "--chunk-tokens", "64")
            assert ran.code == 0, ran.err
            _until(lambda: client.get("/v1/status").json()["generation"] == 3)
            assert client.get("/v1/status").json()["fingerprint"]["compression"] == "pca:16"
            client.close()
        finally:
            is_over.set()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        assert limpid("reindex", "--chunk-tokens", "200").code == 0
        projection = stored_projection(at(tmp_path))
        for key, found in contents(at(tmp_path))[2].items():
            np.testing.assert_allclose(found.dense, projection.project(before[2][key].dense), atol=2e-3)


class TestPlan:
    def test_the_table(self, limpid: Command, filled: Path, write: Write) -> None:
        queries = [{"_id": "q1", "text": "how to clean the anchor"}, {"_id": "q2", "text": "why is bread slow"}]
        asked = write("queries.jsonl", "\n".join(map(json.dumps, queries)))
        rows = ["query-id\tcorpus-id\tscore", "q1\tanchor.md\t1", "q2\tbread.txt\t1", "q3\tbread.txt\t1"]
        judged = write("qrels.tsv", "\n".join(rows) + "\n")
        methods = ("--method", "pca:16", "--method", "binary")
        shown = limpid("compress", "--plan", *methods, "--queries", asked, "--qrels", judged, "--json")
        assert shown.code == 0, shown.err
        table = shown.json
        assert [row["method"] for row in table["methods"]] == ["none", "pca:16", "binary"]
        assert table["queries"] == {"n": 2, "kind": "queries"}
        assert table["methods"][0]["recall"] == 1.0
        assert table["methods"][1]["memory_bytes"] == 64
        assert any("1 judged queries have no text" in note for note in table["notes"])
        text = limpid("compress", "--plan", *methods).out
        assert "sentences of the corpus, held out" in text
        assert "pca:16" in text
        assert "nDCG" not in text
        assert limpid("status", "--json").json["generation"] == 1

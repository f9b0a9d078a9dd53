"""The command line as a user meets it: results, messages, exit codes, and an index that still answers."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import typer

from api.cli import app
from tests.api.command import Command, answers, start

Write = Callable[[str, str | bytes], Path]
GROUP = typer.main.get_command(app)

PDF_JUNK = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog\nthis is no PDF at all"


class TestIngest:
    def test_only_what_changed_is_done_again(self, limpid: Command, corpus: Path) -> None:
        first = limpid("ingest", corpus)
        assert (first.code, first.out) == (0, "Indexed: 4 new, 0 updated, 0 unchanged, 0 removed, 0 failed\n")
        (corpus / "bread.txt").write_text("Rye bread needs sourdough because rye has little gluten.")
        (corpus / "page.html").unlink()
        planned = limpid("ingest", corpus, "--prune", "--dry-run")
        assert planned.out == "Would index: 0 new, 1 updated, 2 unchanged, 1 removed, 0 failed\n"
        assert answers(limpid)
        again = limpid("ingest", corpus, "--prune", "--json")
        assert {name: again.json[name] for name in ("new", "updated", "unchanged", "removed", "failed")} == {
            "new": 0, "updated": 1, "unchanged": 2, "removed": 1, "failed": 0,
        }  # fmt: skip
        texts = [hit["text"] for hit in limpid("search", "bread", "--json").json["hits"]]
        assert any("gluten" in text for text in texts)
        assert not any("wild yeast" in text for text in texts)
        assert limpid("status", "--json").json["documents"] == 3

    def test_without_prune_what_vanished_stays(self, limpid: Command, corpus: Path) -> None:
        limpid("ingest", corpus)
        (corpus / "page.html").unlink()
        assert "0 removed" in limpid("ingest", corpus).out
        assert "page.html" in limpid("search", "cumulus clouds", "--json").json["hits"][0]["uri"]

    def test_paths_from_stdin(self, limpid: Command, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{corpus / 'bread.txt'}\n\n{corpus / 'boats.md'}\n"))
        assert "2 new" in limpid("ingest", "-").out

    def test_dry_run_needs_no_index_and_makes_none(self, limpid: Command, corpus: Path, tmp_path: Path) -> None:
        assert "Would index: 4 new" in limpid("ingest", corpus, "--dry-run").out
        assert not (tmp_path / ".limpid").exists()

    def test_a_beir_corpus_keeps_its_ids(self, limpid: Command, write: Write) -> None:
        lines = [{"_id": f"d{n}", "title": f"Topic {n}", "text": f"All about subject number {n}."} for n in range(5)]
        path = write(
            "corpus.jsonl", "\n".join(json.dumps(line | {"metadata": {"n": n}}) for n, line in enumerate(lines))
        )
        assert limpid("ingest", path).code == 0
        hits = limpid("search", "subject", "--filter", "n >= 3", "--json").json["hits"]
        assert {hit["document_id"] for hit in hits} == {"d3", "d4"}

    def test_metadata_and_a_mapping_of_fields(self, limpid: Command, write: Write) -> None:
        path = write("tickets.csv", "docno,subject,body\nT-1,Leak,The roof leaks.\nT-2,Noise,The fan is loud.\n")
        mapping = ["--map", "id=docno", "--map", "title=subject", "--map", "text=body"]
        ran = limpid("ingest", path, *mapping, "--meta", "year=2024", "--meta", "team=house")
        assert ran.out.startswith("Indexed: 2 new"), ran.err
        where = 'year >= 2024 and team = "house"'
        hits = limpid("search", "is it raining in?", "--filter", where, "--json").json["hits"]
        assert (hits[0]["document_id"], hits[0]["title"]) == ("T-1", "Leak")
        assert limpid("search", "leaks", "--filter", "year < 2024", "--json").json["hits"] == []

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--meta", "year"], "year"),
            (["--map", "body"], "isn't of the form FIELD=NAME"),
            (["--map", "colour=red"], "'colour' can't be mapped"),
            (["--chunker", "magic"], "'structure', 'topic' or 'fixed'"),
        ],
    )
    def test_unusable_options(self, limpid: Command, corpus: Path, arguments: list[str], message: str) -> None:
        ran = limpid("ingest", corpus, *arguments)
        assert (ran.code, message in ran.err) == (2, True), ran.err

    @pytest.mark.parametrize("chunker", ["structure", "topic", "fixed"])
    def test_every_chunker_can_be_chosen(self, limpid: Command, corpus: Path, chunker: str) -> None:
        assert limpid("ingest", corpus, "--chunker", chunker).code == 0
        assert limpid("status", "--json").json["fingerprint"]["chunker"] == chunker
        assert answers(limpid)


class TestBadInput:
    """Each is told apart, named with its reason, and leaves the index as it was."""

    @pytest.mark.parametrize(
        ("name", "content", "reason"),
        [
            ("empty.txt", b"", "empty"),
            ("junk.txt", bytes(range(256)) * 20, "binary"),
            ("broken.pdf", PDF_JUNK, "PDF"),
            ("latin.txt", "Grüße aus Köln, schöne Tage".encode("latin-1"), "UTF-8"),
            ("huge.txt", b"word " * (2 * 2**20 // 5), "max_document_mb"),
            ("lines.jsonl", b'{"_id": "x", "text": "good line"}\nnot json\n', "line 2"),
            ("noid.jsonl", b'{"_id": "y", "text": "good line"}\n{"text": "no id"}\n', "_id"),
            ("twice.jsonl", b'{"_id": "z", "text": "one"}\n{"_id": "z", "text": "two"}\n', "already"),
        ],
    )
    def test_one_bad_document(
        self,
        limpid: Command,
        corpus: Path,
        write: Write,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        content: bytes,
        reason: str,
    ) -> None:
        monkeypatch.setenv("LIMPID_MAX_DOCUMENT_MB", "1")
        limpid("ingest", corpus)
        bad = write(f"docs/{name}", content)
        ran = limpid("ingest", corpus)
        assert ran.code == 1
        assert "1 failed" in ran.out
        assert f"{bad.as_uri()}" in ran.err
        assert reason in ran.err
        assert "Traceback" not in ran.err
        assert answers(limpid)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_unreadable_file(self, limpid: Command, corpus: Path) -> None:
        (corpus / "bread.txt").chmod(0)
        ran = limpid("ingest", corpus)
        assert (ran.code, "can't be read" in ran.err) == (1, True)

    def test_missing_path(self, limpid: Command) -> None:
        ran = limpid("ingest", "no/such/folder")
        assert (ran.code, "no/such/folder doesn't exist" in ran.err) == (3, True)

    def test_two_sources_never_share_an_id(self, limpid: Command, write: Write) -> None:
        one = write("a/corpus.jsonl", '{"_id": "1", "text": "the first corpus about whales"}')
        two = write("b/corpus.jsonl", '{"_id": "1", "text": "the second corpus about finches"}')
        limpid("ingest", one)
        ran = limpid("ingest", two)
        assert ran.code == 1
        assert f"its id '1' belongs to {one.as_uri()}#1" in ran.err
        assert "whales" in limpid("search", "corpus", "--json").json["hits"][0]["text"]

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (["search", "  "], 2, "The query is empty"),
            (["search", "bread", "-k", "0"], 2, "k is 0; it must lie between 1 and 10000"),
            (["search", "bread", "--filter", "colour = 'red'"], 2, "unknown field 'colour'"),
            (["search", "bread", "--mode", "magic"], 2, "Unknown mode 'magic'"),
            (["search", "bread", "--fusion", "tuned"], 2, "isn't tuned"),
            (["search", "bread", "--index", "elsewhere"], 3, "There is no index in elsewhere"),
            (["search"], 2, "Missing argument"),
            (["frobnicate"], 2, "No such command"),
            (["report", "--qrels", "q.tsv"], 2, "Give --queries with --qrels"),
            (["report", "--fail-on", "mud"], 2, "Use any, domain_mismatch"),
            (["report", "--compare", "none.json"], 3, "There is no report none.json"),
            (["report", "--map", "words"], 2, "Use chunks or documents"),
            (["report", "--colour", "nothing"], 2, "Use source, topic, finding, place"),
            (["run", "--queries", "none.jsonl", "--out", "x"], 3, "none.jsonl"),
            (["ingest", "docs", "--model", "nobody/none", "--index", "other"], 5, "isn't on this machine"),
            (["ingest", "docs", "--chunk-tokens", "100"], 4, "chunk_tokens = 200, but 100 is asked for"),
            (["search", "bread", "--index", "http://127.0.0.1:9"], 5, "can't be reached"),
        ],
    )
    def test_wrong_calls(self, limpid: Command, corpus: Path, arguments: list[str], code: int, message: str) -> None:
        limpid("ingest", corpus)
        ran = limpid(*arguments)
        assert (ran.code, message in ran.err) == (code, True), ran.err
        assert "Traceback" not in ran.err
        asked_for_json = limpid(*arguments, "--json")
        assert asked_for_json.code == code
        assert message in asked_for_json.json["error"]["message"]

    def test_an_index_of_another_model(self, limpid: Command, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from core import index

        limpid("ingest", corpus)
        other = index.open_embedder

        def open_other(*arguments: object, **options: object) -> object:
            found = other(*arguments, **options)
            found.weights_hash = "f" * 64
            return found

        monkeypatch.setattr(index, "open_embedder", open_other)
        ran = limpid("search", "bread")
        assert ran.code == 4
        assert "all-MiniLM-L6-v2 (weights " in ran.err
        assert "(weights ffffffffffff) is asked for" in ran.err
        monkeypatch.undo()
        monkeypatch.chdir(corpus.parent)
        assert answers(limpid)

    def test_wrong_settings(self, limpid: Command, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
        monkeypatch.setenv("LIMPID_DENSE_WEIGHT", "7")
        ran = limpid("status")
        assert (ran.code, "dense_weight" in ran.err) == (2, True)
        monkeypatch.delenv("LIMPID_DENSE_WEIGHT")
        write("limpid.toml", "this is = = not toml")
        ran = limpid("status")
        assert (ran.code, "limpid.toml can't be read" in ran.err) == (2, True)

    def test_a_full_disk(self, limpid: Command, corpus: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
        limpid("ingest", corpus)
        write("docs/late.txt", "The last straw breaks the camel's back.")
        monkeypatch.setenv("LIMPID_MIN_FREE_MB", "1e9")  # as if a petabyte had to stay free
        ran = limpid("ingest", corpus)
        assert ran.code == 5
        assert "must stay free (setting min_free_mb)" in ran.err
        monkeypatch.delenv("LIMPID_MIN_FREE_MB")
        assert answers(limpid)
        assert "1 new, 0 updated, 4 unchanged" in limpid("ingest", corpus).out


def _long_corpus(write: Write) -> Path:
    sentence = "Paragraph {n} of document {d} tells that the {n}th lighthouse keeper of coast {d} lit lamp {n} again. "
    for d in range(30):
        text = "\n\n".join(sentence.format(n=n, d=d) * 6 for n in range(25))
        write(f"long/{d:02}.txt", text)
    return write("long/zz.txt", "The last document speaks of zeppelins.").parent


class TestInterruption:
    def test_ctrl_c_keeps_what_is_done(self, limpid: Command, write: Write, corpus: Path, tmp_path: Path) -> None:
        limpid("ingest", corpus)
        folder = _long_corpus(write)
        process = start(tmp_path, "ingest", str(folder), "--quiet")
        time.sleep(6)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "run the same command again" in said
        assert "Traceback" not in said
        assert answers(limpid)
        assert limpid("ingest", folder).code == 0
        assert limpid("status", "--json").json["documents"] == 4 + 31

    @pytest.mark.slow
    def test_a_kill_at_any_time_converges(self, limpid: Command, write: Write, tmp_path: Path) -> None:
        folder = _long_corpus(write)
        for wait_s in (2.5, 4.0, 6.0, 9.0):
            process = start(tmp_path, "ingest", str(folder), "--quiet")
            time.sleep(wait_s)
            process.kill()
            process.communicate()
        assert limpid("ingest", folder).code == 0
        assert limpid("ingest", folder, "--index", "calm").code == 0
        disturbed, calm = (limpid("status", "--json", "--index", index).json for index in (".limpid", "calm"))
        for name in ("documents", "chunks", "complete", "avg_len", "fields", "fingerprint"):
            assert disturbed[name] == calm[name]
        for query in ("lighthouse keeper of coast 7", "zeppelins", "lamp 12"):
            ours, theirs = (
                limpid("search", query, "-k", "1000", "--json", "--index", index).json["hits"]
                for index in (".limpid", "calm")
            )
            ours_by_id, theirs_by_id = ({hit["chunk_id"]: hit["legs"] for hit in hits} for hits in (ours, theirs))
            assert ours_by_id.keys() == theirs_by_id.keys()
            assert ours[0]["text"] == theirs[0]["text"]
            for key, legs in ours_by_id.items():
                assert legs["sparse"]["score"] == pytest.approx(theirs_by_id[key]["sparse"]["score"], abs=1e-5)
                # The encoder's last digits depend on which texts share a batch, float16 makes more of them.
                assert legs["dense"]["score"] == pytest.approx(theirs_by_id[key]["dense"]["score"], abs=1e-3)


class TestServing:
    def test_one_that_isn_t_there_is_made_where_that_is_asked_for(self, limpid: Command, tmp_path: Path) -> None:
        assert limpid("serve", "--port", "0").code == 3
        assert not (tmp_path / ".limpid").exists()
        server = start(tmp_path, "serve", "--create", "--port", "0", "--json", "--quiet")
        try:
            url = json.loads(server.stdout.readline())["url"]
            assert httpx.get(f"{url}/v1/status").json()["documents"] == 0
            assert httpx.post(f"{url}/v1/search", json={"query": "anything"}).json()["hits"] == []
            assert "Nothing is indexed yet" in httpx.get(f"{url}/documents").text
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)

    def test_a_served_index_answers_through_its_server(self, limpid: Command, corpus: Path, tmp_path: Path) -> None:
        limpid("ingest", corpus)
        server = start(tmp_path, "serve", "--port", "0", "--json")
        try:
            first = server.stdout.readline()
            assert first, server.stderr.read()
            url = json.loads(first)["url"]
            deadline = time.monotonic() + 30
            while not (tmp_path / ".limpid" / "served.json").exists():
                assert time.monotonic() < deadline, "the server never announced itself"
                time.sleep(0.05)
            assert answers(limpid)
            refused = limpid("ingest", corpus)
            assert refused.code == 4
            assert f"served by `limpid serve` at {url}" in refused.err
            assert limpid("search", "bread", "--filter", "colour = 1").code == 2
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=30)
        assert server.returncode == 0
        assert not (tmp_path / ".limpid" / "served.json").exists()
        assert limpid("ingest", corpus).code == 0

    def test_an_index_that_another_process_writes(self, limpid: Command, corpus: Path, tmp_path: Path) -> None:
        from core.store.edge import EdgeStore

        limpid("ingest", corpus)
        held = EdgeStore(tmp_path / ".limpid" / "generations" / "1")
        ran = limpid("search", "bread")
        assert (ran.code, "open in another process" in ran.err) == (4, True)
        held.close()
        assert answers(limpid)

    def test_a_moment_is_waited_for(self, limpid: Command, corpus: Path, tmp_path: Path) -> None:
        """As long as a watch or a reindex holds the index at most."""
        from core.store.edge import EdgeStore

        limpid("ingest", corpus)
        held = EdgeStore(tmp_path / ".limpid" / "generations" / "1")
        threading.Timer(0.7, held.close).start()
        assert answers(limpid)

    def test_no_public_address_without_keys(self, limpid: Command, corpus: Path) -> None:
        limpid("ingest", corpus)
        ran = limpid("serve", "--host", "0.0.0.0", "--port", "0")
        assert (ran.code, "LIMPID_API_KEYS" in ran.err) == (2, True)


class TestJudging:
    @pytest.fixture
    def judged(self, limpid: Command, corpus: Path, write: Write) -> tuple[Path, Path]:
        limpid("ingest", corpus)
        queries = write(
            "queries.jsonl", '{"_id": "q1", "text": "why does bread rise"}\n{"_id": "q2", "text": "sails"}\n'
        )
        bread, boats = (corpus / "bread.txt").as_uri(), (corpus / "boats.md").as_uri()
        return queries, write("qrels.tsv", f"query-id\tcorpus-id\tscore\nq1\t{bread}\t1\nq2\t{boats}\t1\n")

    def test_run_writes_document_ids(self, limpid: Command, judged: tuple[Path, Path], tmp_path: Path) -> None:
        ran = limpid("run", "--queries", judged[0], "--out", tmp_path / "run.trec", "--json")
        assert ran.json["queries"] == 2
        rows = [line.split() for line in (tmp_path / "run.trec").read_text().splitlines()]
        assert [row[0] for row in rows if row[3] == "1"] == ["q1", "q2"]
        assert rows[0][2].endswith("bread.txt")
        assert len({(row[0], row[2]) for row in rows}) == len(rows)

    def test_evaluate_scores_every_mode(self, limpid: Command, judged: tuple[Path, Path]) -> None:
        ran = limpid("evaluate", "--queries", judged[0], "--qrels", judged[1], "--compare", "rrf", "--json")
        modes = ran.json["modes"]
        assert modes.keys() == {"hybrid", "dense", "sparse", "hybrid:rrf"}
        assert modes["hybrid"]["nDCG@10"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
        shown = limpid("evaluate", "--queries", judged[0], "--qrels", judged[1])
        assert "nDCG@10 1.000" in shown.out

    def test_report(self, limpid: Command, judged: tuple[Path, Path], tmp_path: Path) -> None:
        ran = limpid("report", "--out", tmp_path / "r.html", "--scores", tmp_path / "s.jsonl", "--json")
        assert ran.code == 0
        assert ran.json.keys() >= {"schema", "verdict", "corpus", "flags"}
        assert ran.json["corpus"]["mismatch"].keys() >= {"score", "verdict", "expected_gap", "interval", "basis"}
        assert "<html" in (tmp_path / "r.html").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text(encoding="utf-8").splitlines()]
        assert len(rows) == limpid("status", "--json").json["chunks"]
        assert all(row["muddy"].keys() >= {"score", "flagged", "split_at"} for row in rows)


class TestManners:
    def test_help_teaches_every_command(self, limpid: Command) -> None:
        listed = limpid("--help").out
        for name in GROUP.commands:
            assert name in listed
        for words in (["keys", "add"], ["keys", "list"], ["keys", "revoke"], *([name] for name in GROUP.commands)):
            shown = limpid(*words, "--help")
            assert shown.code == 0
            # Under `keys` there are only other commands; the stdout of `mcp` is the protocol's.
            taken = {"keys": set(), "mcp": {"--index", "--quiet"}}.get(words[-1], {"--index", "--json", "--quiet"})
            assert taken <= set(shown.out.replace(",", " ").split())

    def test_results_pipe(self, limpid: Command, corpus: Path, tmp_path: Path) -> None:
        limpid("ingest", corpus)
        process = start(tmp_path, "search", "bread")
        assert process.stdout.readline().startswith(" 1. ")
        process.stdout.close()  # as `head -1` does
        assert process.wait(timeout=60) == 0
        assert "\x1b[" not in process.stderr.read()
        process.stderr.close()

"""`limpid tune`, and searches by what it found."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics

import pytest

from core.index import open_index
from core.settings import Settings
from search.features import NAMES
from tests.api.command import Command


@pytest.fixture
def corpus(write) -> Path:
    shortest = sorted(topics, key=lambda name: (len(topics[name]), name))[:25]
    lines = [{"_id": name, "title": name, "text": topics[name]} for name in shortest]
    return write("corpus.jsonl", "\n".join(map(json.dumps, lines)))


@pytest.fixture
def tuned(limpid: Command, corpus: Path) -> Command:
    assert limpid("ingest", corpus).code == 0
    return limpid


@pytest.fixture
def queries(write) -> Path:
    asked = {
        "1": "await a coroutine",
        "2": "what is an attribute reference",
        "3": "bitwise and",
        "4": "leave a loop early",
        "5": "anonymous function",
        "6": "shift a number",
    }
    return write("queries.jsonl", "\n".join(json.dumps({"_id": key, "text": text}) for key, text in asked.items()))


def test_without_queries(tuned: Command):
    found = tuned("tune", "--json").json
    assert (found["basis"], found["n_queries"]) == ("prior", 0)
    assert 0 <= found["interval"][0] <= found["alpha"] <= found["interval"][1] <= 1
    assert len(found["curve"]) == 21
    assert found["verdict"] is None


def test_searches_use_it_from_then_on(tuned: Command, queries: Path):
    before = tuned("search", "lambda", "--json", "--explain").json
    assert before["fusion"] == "convex"
    alpha = tuned("tune", "--queries", queries, "--json").json["alpha"]
    after = tuned("search", "lambda", "--json", "--explain").json
    assert after["fusion"] == "tuned"
    for hit in after["hits"]:
        legs = {name: leg["normalized"] for name, leg in hit["legs"].items()}
        assert hit["score"] == pytest.approx(alpha * legs["dense"] + (1 - alpha) * legs["sparse"], abs=1e-3)
    fixed = tuned("search", "lambda", "--json", "--fusion", "convex").json
    assert [hit["score"] for hit in fixed["hits"]] == [hit["score"] for hit in before["hits"]]
    assert tuned("tune", "--reset").code == 0
    assert tuned("search", "lambda", "--json", "--explain").json["fusion"] == "convex"


def test_an_index_that_is_not_tuned_says_so(tuned: Command):
    refused = tuned("search", "lambda", "--fusion", "tuned")
    assert refused.code == 2
    assert "limpid tune" in refused.err


def test_a_dry_run_keeps_nothing(tuned: Command, queries: Path):
    assert "Nothing was kept" in tuned("tune", "--queries", queries, "--dry-run").out
    assert tuned("search", "lambda", "--json", "--explain").json["fusion"] == "convex"


def test_explained(tuned: Command, queries: Path):
    found = tuned("tune", "--queries", queries, "--explain", "--json").json
    assert {reason["feature"] for reason in found["explain"]} <= set(NAMES)
    pulls = [abs(reason["pull"]) for reason in found["explain"]]
    assert pulls == sorted(pulls, reverse=True)
    assert "Weight of the dense leg" in tuned("tune", "--queries", queries, "--explain").out


def test_few_judgements_declare_no_winner(tuned: Command, queries: Path, write):
    right = {"1": "await", "2": "attribute-references", "3": "bitwise", "4": "break", "5": "lambda", "6": "shifting"}
    qrels = write("qrels.tsv", "query-id\tcorpus-id\tscore\n" + "".join(f"{k}\t{v}\t1\n" for k, v in right.items()))
    found = tuned("tune", "--queries", queries, "--qrels", qrels, "--json").json
    assert found["verdict"]["low"] <= found["verdict"]["gain"] <= found["verdict"]["high"]
    if not found["verdict"]["sure"]:
        assert found["basis"] == "queries"
    assert found["rerank"] is False
    shown = tuned("tune", "--queries", queries, "--qrels", qrels).out
    assert "The judgements favour" in shown


def test_the_query_log_is_used_where_there_is_one(tuned: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LIMPID_QUERY_LOG", str(tmp_path / "queries.log"))
    for query in ("await an object", "bit masks", "break out of a loop", "lambda", "complex numbers"):
        assert tuned("search", query).code == 0
    found = tuned("tune", "--json").json
    assert (found["basis"], found["n_queries"]) == ("query log", 5)
    assert len((tmp_path / "queries.log").read_text().splitlines()) == 5


def test_bad_input(tuned: Command, queries: Path, write):
    assert tuned("tune", "--qrels", queries).code == 2
    strangers = write("other.tsv", "query-id\tcorpus-id\tscore\n99\tlambda\t1\n")
    refused = tuned("tune", "--queries", queries, "--qrels", strangers)
    assert refused.code == 2
    assert "judges none" in refused.err


def test_an_empty_index_has_nothing_to_tune(limpid: Command):
    with open_index(Settings(index=".limpid", offline=True), create=True):
        pass
    refused = limpid("tune")
    assert refused.code == 2
    assert "empty" in refused.err

"""`limpid report` from the command line: the same twice, gates, comparisons, queries on the map."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from api.app import create_app
from api.jobs.report import about, begin, keep, kept_report
from core.index import open_index
from core.settings import Settings
from tests.api.command import Command
from tests.api.conftest import Client

BREAD = "Bread rises because yeast makes gas. The dough needs an hour."
TEXTS = (
    BREAD,
    BREAD,
    "A glacier is a river of ice.",
    "Bicycle chains need oil.",
    "Tea turns bitter in boiling water.",
    "Lava is molten rock.",
    "A loop may be left early with break.",
)
LINES = [
    {"_id": f"d{i}", "title": f"Note {i}", "text": text, "metadata": {"team": "ab"[i % 2]}}
    for i, text in enumerate(TEXTS)
]


@pytest.fixture
def indexed(limpid: Command, tmp_path: Path) -> Command:
    """The command line on an index with two passages that are equal."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, LINES)), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text(
        '{"_id": "q1", "text": "why does dough rise?"}\n{"_id": "q2", "text": "how do I leave a loop?"}\n',
        encoding="utf-8",
    )
    assert limpid("ingest", corpus).code == 0
    return limpid


def test_the_same_index_gives_the_same_page_and_json(indexed: Command, tmp_path: Path) -> None:
    pages, reports = [], []
    for name in ("a.html", "b.html"):
        reports.append(indexed("report", "--json", "--out", name, "--queries", "queries.jsonl").out)
        pages.append((tmp_path / name).read_bytes())
    assert reports[0] == reports[1]
    assert pages[0] == pages[1]


def test_json_follows_the_schema_that_it_prints(indexed: Command, tmp_path: Path) -> None:
    schema = indexed("report", "--schema").json
    (tmp_path / "qrels.tsv").write_text("q1\td0\t1\nq2\td6\t1\n", encoding="utf-8")
    before = indexed("report", "--json", "--queries", "queries.jsonl", "--qrels", "qrels.tsv")
    (tmp_path / "old.json").write_text(before.out, encoding="utf-8")
    after = indexed(
        "report", "--json", "--queries", "queries.jsonl", "--qrels", "qrels.tsv", "--compare", "old.json",
        "--fail-on", "any=9", "--map", "documents", "--colour", "team",
    )  # fmt: skip
    unjudged = indexed("report", "--json", "--queries", "queries.jsonl")
    for ran in (before, after, unjudged):
        assert ran.code == 0, ran.err
        assert [fault.message for fault in Draft202012Validator(schema).iter_errors(ran.json)] == []
    report = after.json
    assert report["comparison"]["judged"][0]["difference"] == 0
    assert report["comparison"]["warnings"] == []
    assert report["gate"]["passed"]
    assert report["map"]["unit"] == "documents"
    assert report["map"]["colour"] == "team"
    assert report["map"]["n_shown"] == 7
    assert [query["query_id"] for query in report["map"]["queries"]] == ["q1", "q2"]
    assert unjudged.json["queries"]["n_queries"] == 2
    mismatch = unjudged.json["corpus"]["mismatch"]
    assert (mismatch["basis"], mismatch["n_queries"]) == ("queries", 2)
    assert mismatch["interval"][0] <= mismatch["expected_gap"] <= mismatch["interval"][1]
    assert unjudged.json["evaluation"] is None


def test_a_gate_decides_the_exit_code(indexed: Command, tmp_path: Path) -> None:
    for limit, code, said in (("any", 1, "fails: 1 sure"), ("any=1", 0, "holds"), ("muddy_chunk", 0, "holds: 0 sure")):
        ran = indexed("report", "--fail-on", limit)
        assert ran.code == code
        assert said in ran.out
    assert (tmp_path / "report.html").is_file()  # the report is written though the gate fails
    assert indexed("report", "--fail-on", "duplicate", "--json").json["gate"]["passed"] is False


def test_a_comparison_says_what_is_gone(indexed: Command, tmp_path: Path) -> None:
    old = indexed("report", "--json")
    (tmp_path / "old.json").write_text(old.out, encoding="utf-8")
    assert [flag["kind"] for flag in old.json["flags"]] == ["duplicate"]
    indexed("delete", "d1")
    ran = indexed("report", "--compare", "old.json")
    assert ran.code == 0
    assert "1 finding is gone, 0 new, 0 still there." in ran.out
    assert "− duplicate: Note 0" in ran.out


def test_a_server_shows_the_report_that_the_command_made(indexed: Command, tmp_path: Path) -> None:
    made = indexed("report", "--json", "--queries", "queries.jsonl").json
    assert made["corpus"]["name"] == ".limpid"  # no path: clients read it
    settings = Settings(index=".limpid", offline=True)
    with open_index(settings) as index:
        kept = kept_report(settings)
        server = Client(create_app(index, settings))
        answer = server.get("/v1/report").json()
        assert answer == {"made": kept.made, "generation": 1, "is_current": True, "report": made}
        page = server.get("/v1/report", headers={"accept": "text/html"}).text
        assert page == (tmp_path / "report.html").read_text(encoding="utf-8")
        assert server.get("/map.json").json()["x"] == [point["x"] for point in made["map"]["points"]]
        assert "duplicate" in server.get("/report").text
        assert server.get("/map").status_code == 200
        keep(settings, begin(settings), about(index) | {"made": "2001"})
        assert kept_report(settings) == kept  # an older reading doesn't take its place
    assert indexed("delete", "d1").code == 0
    with open_index(settings) as index:
        assert not kept_report(settings).is_of(index)
    ran = indexed("report", "--json", "--map", "documents")
    assert ran.json["map"]["unit"] == "documents"
    newer = kept_report(settings)
    assert newer.made > kept.made
    assert (newer.read(), newer.places()) == (ran.json, {})
    assert not kept.folder.exists()


def test_a_report_that_can_t_be_kept_is_still_written(indexed: Command, tmp_path: Path) -> None:
    (tmp_path / ".limpid" / "report").write_text("in the way", encoding="utf-8")
    ran = indexed("report")
    assert (ran.code, (tmp_path / "report.html").is_file()) == (0, True)
    assert "A server won't show this report" in ran.err

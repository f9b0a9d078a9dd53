"""`limpid evaluate` as a shell sees it: judgements of documents, of excerpts, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.command import Command
from tests.eval.planted import CITIES, JOINT, LEAVE, MARKET, SHARED_WITH, TEA, planted_index

QUERIES = {
    "tea": "avoid bitterness in a hot drink",
    "leave": "annual leave of employees in Lyon",
    "gone": "the moons of Jupiter zorblax",
}
EXCERPT = "cool the kettle to eighty degrees"
START = TEA.index(EXCERPT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a planted index, with queries and judgements beside it."""
    folder = tmp_path_factory.mktemp("evaluate")
    with planted_index(folder):
        pass
    lines(folder / "queries.jsonl", *({"_id": key, "text": text} for key, text in QUERIES.items()))
    (folder / "qrels.tsv").write_text(f"tea\ttea\t1\nleave\tleave-{CITIES.index('Lyon')}\t1\ngone\tjupiter\t1\n")
    lines(
        folder / "excerpts.jsonl",
        {"query_id": "tea", "doc_id": "tea", "start": START, "end": START + len(EXCERPT), "text": EXCERPT},
        {"query_id": "leave", "doc_id": "leave-0", "start": 0, "end": len(LEAVE[0]), "text": LEAVE[0]},
        {"query_id": "gone", "doc_id": "jupiter", "start": 0, "end": 9},
    )
    return folder


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.fixture
def evaluate(capsys: pytest.CaptureFixture[str], folder: Path):
    """Calls the command on the index with its queries."""
    limpid = Command(capsys)
    return lambda *arguments: limpid(
        "evaluate", "--index", folder / "index", "--queries", folder / "queries.jsonl", *arguments
    )


def test_judgements_of_documents(evaluate: Any, folder: Path) -> None:
    ran = evaluate("--qrels", folder / "qrels.tsv", "--compare", "rrf", "--json")
    scored = ran.json
    assert (ran.code, scored["modes"].keys()) == (0, {"hybrid", "dense", "sparse", "hybrid:rrf"})
    assert scored["n_queries"] == 3
    dense, sparse = scored["modes"]["dense"], scored["modes"]["sparse"]
    assert dense["RR@10"]["mean"] == pytest.approx(2 / 3), "the answer that isn't indexed scores 0 and stays"
    assert sparse["R@100"]["mean"] == pytest.approx(1 / 3), "the tea has no word of its query"
    assert len(scored["comparisons"]) == 6 * 4
    assert all(pair["queries_needed"] is None or pair["queries_needed"] >= 6 for pair in scored["comparisons"])
    causes = {worst["query_id"]: [cause["cause"] for cause in worst["causes"]] for worst in scored["worst_queries"]}
    assert causes["gone"][0] == "not_indexed"
    assert "unknown_documents" in scored
    assert (scored["unknown_documents"], scored["n_unknown_documents"]) == (["jupiter"], 1)
    assert "1 of 3 relevant documents aren't in the index and can't be found: jupiter" in ran.err


def test_judgements_by_excerpt(evaluate: Any, folder: Path) -> None:
    ran = evaluate("--excerpts", folder / "excerpts.jsonl", "--passages", "2", "--json")
    (hybrid, sparse), scored = (ran.json["modes"][mode] for mode in ("hybrid", "sparse")), ran.json
    assert hybrid.keys() == {"nDCG@10", "R@100", "RR@10", "AP", "char_recall@2", "char_precision@2", "char_IoU@2"}
    assert hybrid["char_recall@2"]["mean"] == pytest.approx(2 / 3)
    assert sparse["char_recall@2"]["mean"] == pytest.approx(1 / 3)
    assert 0 < hybrid["char_IoU@2"]["mean"] <= hybrid["char_precision@2"]["mean"] < 1
    assert {pair["metric"] for pair in scored["comparisons"]} == hybrid.keys()
    assert scored["worst_queries"][0]["metric"] == "char_recall@2"
    shown = evaluate("--excerpts", folder / "excerpts.jsonl", "--mode", "hybrid", "--passage", "sentences")
    assert "char_recall@5" in shown.out
    assert "3 of them with excerpts" in shown.out


def test_excerpts_join_the_judgements_of_documents(evaluate: Any, folder: Path) -> None:
    only = lines(folder / "one.jsonl", {"query_id": "tea", "doc_id": "tea", "start": 0, "end": 9})
    both = evaluate("--excerpts", only, "--qrels", folder / "qrels.tsv", "--mode", "dense", "--json").json
    assert both["n_queries"] == 3
    assert both["modes"]["dense"]["char_recall@5"]["mean"] == 1.0, "one query has an excerpt"
    assert both["modes"]["dense"]["RR@10"]["mean"] == pytest.approx(2 / 3)


def test_shared_text_counts_for_the_document_that_is_judged(evaluate: Any, folder: Path) -> None:
    start = len(MARKET) + len(JOINT)
    record = {"query_id": "tea", "doc_id": SHARED_WITH, "start": start, "end": start + len(TEA), "text": TEA}
    shared = lines(folder / "shared.jsonl", record)
    scored = evaluate("--excerpts", shared, "--mode", "dense", "--passages", "1", "--json").json
    assert scored["modes"]["dense"]["char_IoU@1"]["mean"] == 1.0


def test_a_query_may_be_a_document_of_its_own(evaluate: Any, folder: Path) -> None:
    tea = lines(folder / "tea.jsonl", {"query_id": "tea", "doc_id": "tea", "start": 0, "end": 9})
    scored = evaluate("--excerpts", tea, "--mode", "dense", "--exclude-self", "--json").json
    assert scored["modes"]["dense"]["char_recall@5"]["mean"] == 0.0
    (cause,) = (one for one in scored["worst_queries"][0]["causes"] if one["cause"] == "no_shared_words")
    assert cause["evidence"]["ranks"]["dense"] is None


def test_queries_alone(evaluate: Any) -> None:
    described = evaluate("--json").json
    assert (described["judged"], described["n_queries"]) == (False, 3)
    assert "modes" not in described
    unknown = {one["term"]: one["query_ids"] for one in described["unknown_terms"]}
    assert unknown["zorblax"] == ["gone"]
    assert {one["query_id"] for one in described["judge_first"]} == QUERIES.keys()
    assert described["agreement"].keys() == {"hybrid / dense", "hybrid / sparse", "dense / sparse"}
    shown = evaluate().out
    assert "nothing here is a score" in shown
    assert "zorblax (gone)" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "nDCG@10"], "needs judgements"),
        (["--qrels", "qrels.tsv", "--compare", "nonsense"], "nonsense"),
        (["--qrels", "qrels.tsv", "--compare", "tuned"], "isn't tuned"),
        (["--qrels", "qrels.tsv", "--mode", "both"], "both"),
        (["--qrels", "qrels.tsv", "--metric", "nonsense@@"], "nonsense"),
        (["--qrels", "qrels.tsv", "--passages", "0"], "0"),
        (["--qrels", "other.tsv"], "none of the queries"),
        (["--qrels", "unknown.tsv"], "None of the 1 relevant documents is in the index"),
        (["--excerpts", "beyond.jsonl"], "ends beyond its"),
        (["--excerpts", "moved.jsonl"], "reads"),
    ],
)
def test_what_cannot_be_is_refused_before_searching(
    evaluate: Any, folder: Path, arguments: list[str], message: str
) -> None:
    (folder / "other.tsv").write_text("q9\ttea\t1\n")
    (folder / "unknown.tsv").write_text("tea\tnowhere\t1\n")
    lines(folder / "beyond.jsonl", {"query_id": "tea", "doc_id": "tea", "start": 0, "end": 999})
    lines(folder / "moved.jsonl", {"query_id": "tea", "doc_id": "tea", "start": 1, "end": 9, "text": TEA[:8]})
    ran = evaluate(*(folder / part if "." in part else part for part in arguments))
    assert (ran.code, message in ran.err) == (2, True)


def test_missing_files_are_not_found(evaluate: Any, folder: Path) -> None:
    assert evaluate("--excerpts", folder / "nowhere.jsonl").code == 3

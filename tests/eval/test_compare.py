"""What changed between two reports, and the gates."""

from __future__ import annotations

import copy
import json

import pytest

from core.errors import InputError, NotFound
from core.types import Flag
from eval.compare import compare_reports, load_report
from eval.gate import Gate, judge, parse_gates
from eval.kinds import KINDS

TEXT = "Water runs down the hill and turns the old mill, which grinds the corn of three villages every autumn"
OTHER = "Taxes are due in spring, and whoever pays late owes interest for each month that has begun since then"


def flag(kind: str, subject: str, confidence: float = 0.9, score: float = 2.0, **evidence: object) -> dict:
    return {
        "kind": kind, "subject": subject, "score": score, "threshold": 1.0, "confidence": confidence,
        "evidence": evidence, "action": "",
    }  # fmt: skip


def subject(document_id: str, text: str, start: int = 0, end: int = 100) -> dict:
    return {
        "name": f"Title of {document_id}", "document_id": document_id, "place": "", "start": start, "end": end,
        "text": text,
    }  # fmt: skip


def report(*flags: dict, subjects: dict | None = None, **fields: object) -> dict:
    return {
        "schema": "limpid-report/2",
        "verdict": "v",
        "corpus": {"name": "c", "n_chunks": 10, "muddy": {"n_flagged": len(flags), "judged": True, "note": "x"}},
        "flags": list(flags),
        "subjects": subjects or {},
        "evaluation": None,
        "fingerprint": {
            "model": "m",
            "weights": "w1",
            "chunker": "structure",
            "chunk_tokens": 200,
            "language": "english",
        },
        **fields,
    }


def sorts(compared: dict) -> dict[str, list[str]]:
    return {name: [finding["subject"] for finding in compared[name]] for name in ("gone", "new", "still")}


def test_findings_are_matched_by_kind_and_subject():
    old = report(flag("muddy_chunk", "a"), flag("muddy_chunk", "b", 0.3), flag("hub", "a"))
    new = report(flag("muddy_chunk", "a", 0.8, 2.5), flag("hub", "c"))
    compared = compare_reports(old, new)
    assert sorts(compared) == {"gone": ["b", "a"], "new": ["c"], "still": ["a"]}
    assert compared["verdict"] == "2 findings are gone, 1 new, 1 still there."
    still = compared["still"][0]
    assert (still["matched_by"], still["old_score"], still["score"], still["old_confidence"]) == (
        "subject",
        2.0,
        2.5,
        0.9,
    )
    assert compared["counts"]["muddy_chunk"] == {
        "old": 2, "new": 1, "old_sure": 1, "new_sure": 1, "gone": 1, "added": 0, "still": 1,
    }  # fmt: skip
    assert list(compared["counts"]) == ["muddy_chunk", "hub"]  # by severity


def test_a_chunk_that_was_cut_anew_is_recognised_by_its_text_and_place():
    old = report(
        flag("muddy_chunk", "a"),
        flag("muddy_chunk", "b"),
        flag("muddy_chunk", "c"),
        subjects={"a": subject("d1", TEXT), "b": subject("d2", OTHER, 0, 100), "c": subject("d3", TEXT, 0, 90)},
    )
    new = report(
        flag("muddy_chunk", "x"),
        flag("muddy_chunk", "y"),
        flag("muddy_chunk", "z"),
        subjects={
            "x": subject("d1", "Lately, " + TEXT, 5000, 5100),  # moved, and its beginning changed
            "y": subject("d2", "Something else stands here now", 40, 120),  # 60 of the 80 characters overlap
            "z": subject("d4", TEXT, 0, 90),  # the same text in another document
        },
    )
    compared = compare_reports(old, new)
    assert sorts(compared) == {"gone": ["c"], "new": ["z"], "still": ["x", "y"]}
    assert [(found["old_subject"], found["matched_by"]) for found in compared["still"]] == [
        ("a", "text"),
        ("b", "place"),
    ]


def test_the_best_overlap_wins():
    text = subject("d", TEXT, 0, 100)
    old = report(flag("hub", "a"), flag("hub", "b"), subjects={"a": subject("d", OTHER, 0, 100), "b": text})
    new = report(flag("hub", "x"), subjects={"x": text})
    assert [found["old_subject"] for found in compare_reports(old, new)["still"]] == ["b"]


def test_findings_about_no_chunk_are_recognised():
    old = report(
        flag("domain_mismatch", "corpus"),
        flag("merged_topics", "river, water, mill | tax, law, money"),
        flag("unplaceable_term", "frobnicate"),
    )
    new = report(
        flag("domain_mismatch", "the whole corpus"),
        flag("merged_topics", "water, river, hill | law, tax, court"),
        flag("unplaceable_term", "defenestrate"),
    )
    compared = compare_reports(old, new)
    assert sorts(compared) == {"gone": ["frobnicate"], "new": ["defenestrate"], "still": [
        "the whole corpus", "water, river, hill | law, tax, court",
    ]}  # fmt: skip


def test_an_old_schema_is_read_by_what_its_evidence_says(tmp_path):
    old = report(flag("muddy_chunk", "a", document_id="d1", left=TEXT, right=OTHER), schema="limpid-report/1")
    del old["subjects"]
    old["places"] = {"a": "Old title"}
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old), encoding="utf-8")
    new = report(
        flag("muddy_chunk", "x", document_id="d1", left=TEXT, right="New end."), subjects={"x": subject("d1", "", 5, 9)}
    )
    compared = compare_reports(load_report(path), new)
    assert compared["still"][0]["old_subject"] == "a"
    assert compare_reports(load_report(path), report())["gone"][0]["name"] == "Old title"


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, NotFound, "There is no report"),
        ("no json", InputError, "can't be read as a report"),
        ("[]", InputError, "has the schema None"),
        ('{"schema": "limpid-report/9"}', InputError, "reads limpid-report/1 and limpid-report/2"),
        ('{"schema": "limpid-report/2", "flags": [1], "corpus": {}}', InputError, "damaged"),
    ],
)
def test_what_is_no_report_is_refused(tmp_path, content, error, words):
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(error, match=words):
        load_report(path)


def test_numbers_that_changed_are_listed_and_sizes_always():
    old, new = report(), report(flag("hub", "a"))
    new["corpus"]["mismatch"] = {"verdict": "broken"}
    old["corpus"]["mismatch"] = {"verdict": "healthy"}
    assert compare_reports(old, new)["corpus"] == [
        {"name": "n_chunks", "old": 10, "new": 10, "difference": 0},
        {"name": "muddy.n_flagged", "old": 0, "new": 1, "difference": 1},
        {"name": "mismatch.verdict", "old": "healthy", "new": "broken", "difference": None},
    ]


def judged(mean: float, n_queries: int = 50) -> dict:
    return {
        "n_queries": n_queries,
        "modes": {"hybrid": {"nDCG@10": {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}}},
    }


def test_judged_metrics_are_sure_where_their_intervals_are_apart():
    rows = [
        compare_reports(report(evaluation=judged(0.5)), report(evaluation=judged(mean)))["judged"][0]
        for mean in (0.55, 0.7)
    ]
    assert [row["sure"] for row in rows] == [False, True]
    assert rows[1]["difference"] == pytest.approx(0.2)
    assert compare_reports(report(), report(evaluation=judged(0.5)))["judged"] == []


def test_what_makes_reports_incomparable_is_said():
    assert compare_reports(report(), report())["warnings"] == []
    new = report(evaluation=judged(0.5, 60))
    new["fingerprint"] = new["fingerprint"] | {"weights": "w2", "chunk_tokens": 400}
    warnings = compare_reports(report(evaluation=judged(0.5)), new)["warnings"]
    assert [list(warning["fields"]) for warning in warnings] == [["weights"], ["chunk_tokens"], ["n_queries"]]
    assert "weights w1 → w2" in warnings[0]["text"]
    assert warnings[1]["fields"]["chunk_tokens"] == [200, 400]
    unknown = compare_reports(report(fingerprint={}), report())["warnings"]
    assert "isn't known" in unknown[0]["text"]


def test_comparing_changes_nothing():
    old, new = report(flag("hub", "a")), report(flag("hub", "b"))
    before = copy.deepcopy((old, new))
    compare_reports(old, new)
    assert (old, new) == before


def test_gates_count_sure_findings():
    flags = [Flag(kind, "s", 1, 1, confidence, {}, "") for kind, confidence in
             (("hub", 0.9), ("hub", 0.7), ("hub", 0.69), ("muddy_chunk", 0.95))]  # fmt: skip
    outcome = judge(parse_gates(["hub=2", "muddy-chunk", "any=2", "truncated"]), flags)
    assert not outcome["passed"]
    assert [(limit["kind"], limit["count"], limit["passed"]) for limit in outcome["limits"]] == [
        ("hub", 2, True), ("muddy_chunk", 1, False), ("any", 3, False), ("truncated", 0, True),
    ]  # fmt: skip
    assert judge(parse_gates(["any=3"]), flags)["passed"]
    assert judge((), flags) is None
    assert parse_gates(["ANY=0"]) == (Gate("any", 0),)


@pytest.mark.parametrize(
    ("texts", "words"),
    [(["mud"], "unknown kind"), (["hub=x"], "whole number"), (["hub=-1"], "whole number"), (["hub", "hub=2"], "twice")],
)
def test_gates_that_say_nothing_clear_are_refused(texts, words):
    with pytest.raises(InputError, match=words) as refused:
        parse_gates(texts)
    if words == "unknown kind":
        assert all(kind in str(refused.value) for kind in KINDS)

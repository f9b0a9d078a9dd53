"""The report: its JSON, and a page that is complete, offline and unharmed by hostile text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
import typer
from jsonschema import Draft202012Validator

from api.cli import app
from core.types import Flag
from eval.diagnose import SEVERITY, Diagnosis, diagnose
from eval.gate import Gate
from eval.judged import evaluate
from eval.kinds import KINDS
from eval.map import MapOptions, draw_map
from eval.map.layout import lay_out
from eval.page import render_html
from eval.page.evidence import number, rows_of
from eval.report import build_report, read_schema
from eval.sample import Sample
from tests.eval.corpus import make_chunk, topical_corpus

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'> {{ 7 * 7 }} <!-- \u2028 &lt;"


class Tags(HTMLParser):
    """Collects start tags, and the text of script elements."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self.current = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.current = tag
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        self.current = ""

    def handle_data(self, data):
        if self.current == "script":
            self.scripts.append(data)


@pytest.fixture(autouse=True)
def one_layout(monkeypatch):
    """No map is drawn twice for the same vectors: that it is the same, and from other starts, is tested by itself."""
    monkeypatch.setattr("eval.map.honesty.N_RUNS", (0, 0))
    monkeypatch.setattr("eval.map.lay_out", remembered)


LAYOUTS = {}


def remembered(vectors, method, seed):
    key = vectors.tobytes(), method, seed
    if key not in LAYOUTS:
        LAYOUTS[key] = lay_out(vectors, method, seed)
    return LAYOUTS[key]


def report_of(diagnosis: Diagnosis, evaluation=None, options: MapOptions | None = None, **names) -> dict:
    """A report as its JSON is read, held to its schema."""
    report = build_report(diagnosis, draw_map(diagnosis, options), evaluation, **names)
    read = json.loads(json.dumps(report, allow_nan=False))
    assert read == report  # nothing but JSON values
    faults = list(Draft202012Validator(read_schema()).iter_errors(read))
    assert not faults, [(fault.json_path, fault.message[:200]) for fault in faults]
    return read


def page_of(sample: Sample, evaluation=None, **names) -> tuple[dict, str]:
    report = report_of(diagnose(sample), evaluation, **names)
    return report, render_html(report)


@pytest.fixture(scope="module")
def muddy_diagnosis() -> Diagnosis:
    return diagnose(topical_corpus(150, muddy=15)[0])


@pytest.fixture
def muddy_page(muddy_diagnosis):
    report = report_of(muddy_diagnosis, corpus="A corpus", fingerprint={"model": "m"})
    return report, render_html(report)


def test_schema_is_one():
    Draft202012Validator.check_schema(read_schema())
    assert set(read_schema()["properties"]) == set(read_schema()["required"])


def test_report_follows_the_contract(muddy_page):
    report, _ = muddy_page
    assert report["schema"] == "limpid-report/2"
    assert re.match(r"Retrieval on this corpus is limited by \d+ muddy chunks\. Fix these \d+ ", report["verdict"])
    keys = {"kind", "subject", "score", "threshold", "confidence", "evidence", "action"}
    assert all(set(flag) == keys for flag in report["flags"])
    assert {"score", "verdict", "expected_gap", "interval", "basis"} <= set(report["corpus"]["mismatch"])
    assert len(report["map"]["points"]) == 150
    flagged = {flag["subject"] for flag in report["flags"]}
    assert {point["chunk_id"] for point in report["map"]["points"] if point["flags"]} == flagged
    assert set(report["subjects"]) == flagged
    assert report["steps"][0]["kind"] == "muddy_chunk"
    assert report["steps"][0]["readers"]
    links = [[report["map"]["points"][point]["chunk_id"] for point in points] for points in report["map"]["links"]]
    assert links == [[flag["subject"]] for flag in report["flags"]]


def test_page_fetches_nothing(muddy_page):
    _, page = muddy_page
    parser = Tags()
    parser.feed(page)
    for tag, attributes in parser.tags:
        assert tag not in {"iframe", "object", "embed", "base"}
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), (tag, attributes)
    assert not re.search(r"url\(|@import|https?://", page)


def test_page_is_labelled(muddy_page):
    _, page = muddy_page
    parser = Tags()
    parser.feed(page)
    ids = [attributes["id"] for _, attributes in parser.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    names = ("aria-labelledby", "aria-describedby", "for")
    labels = [label for _, a in parser.tags for name in names for label in (a.get(name) or "").split()]
    assert set(labels) <= set(ids)
    levels = [int(tag[1]) for tag, _ in parser.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))  # no level is left out
    assert all("scope" in attributes for tag, attributes in parser.tags if tag == "th")
    assert page.count("<circle") >= 150


def test_only_the_one_script_may_run(muddy_page):
    _, page = muddy_page
    parser = Tags()
    parser.feed(page)
    policy = next(a["content"] for tag, a in parser.tags if a.get("http-equiv") == "Content-Security-Policy")
    digest = base64.b64encode(hashlib.sha256(parser.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_hostile_corpus_is_harmless():
    sample, _ = topical_corpus(150, muddy=15)
    chunks = [
        replace(
            c,
            text=HOSTILE + c.text,
            end=c.end + len(HOSTILE),
            uri=f"{HOSTILE}/{i % 3}/x",
            title=HOSTILE,
            id=c.id + HOSTILE,
            metadata={HOSTILE: HOSTILE + str(i % 3)},
        )
        for i, c in enumerate(sample.chunks)
    ]
    queries = {"q": HOSTILE, HOSTILE: HOSTILE}
    runs = {HOSTILE: {"q": [("b", 1.0)]}, "dense": {}}
    evaluation = evaluate(runs, {"q": {"a": 1}, HOSTILE: {"b": 1}}, queries=queries)
    hostile = replace(sample, chunks=chunks)
    diagnosis = diagnose(hostile)
    options = MapOptions(queries=[(HOSTILE, HOSTILE)], query_vectors=sample.vectors[:1])
    names = {"corpus": HOSTILE, "fingerprint": {HOSTILE: HOSTILE, "model": HOSTILE}}
    old = report_of(diagnosis, **(names | {"fingerprint": {"model": "x"}}))
    report = report_of(replace(diagnosis, flags=diagnosis.flags[3:]), evaluation, options, old=old, **names)
    page = render_html(report)
    parser = Tags()
    parser.feed(page)
    assert [tag for tag, _ in parser.tags].count("script") == 2
    assert not any(tag == "img" or any(name.startswith("on") for name in a) for tag, a in parser.tags)
    assert "<script>alert" not in page
    data = json.loads(parser.scripts[0])
    assert data["id"] == [point["chunk_id"] for point in report["map"]["points"]]
    assert data["queries"][0][0] == HOSTILE


def test_a_corpus_without_sure_findings_gets_a_calm_verdict(muddy_diagnosis):
    report = report_of(replace(muddy_diagnosis, flags=()))
    assert report["verdict"] == "No fault found that would limit retrieval on this corpus."
    assert report["steps"] == []
    assert "Nothing was flagged." in render_html(report)
    unsure = tuple(replace(flag, confidence=0.69) for flag in muddy_diagnosis.flags)
    report = report_of(replace(muddy_diagnosis, flags=unsure))
    assert f"{len(unsure)} minor signs are listed below" in report["verdict"]
    assert "None of these is sure." in render_html(report)


@pytest.mark.parametrize("n", [0, 1, 6])
def test_small_corpora_have_a_page(n):
    _, page = page_of(topical_corpus(n)[0])
    assert page.rstrip().endswith("</html>")


def test_the_same_index_gives_the_same_bytes(monkeypatch):
    """Everything from the sample on is made twice, also the diagnosis and the map with its other starts."""
    monkeypatch.undo()
    sample, _ = topical_corpus(120, muddy=6)
    first, second = page_of(sample), page_of(sample)
    assert json.dumps(first[0]) == json.dumps(second[0])
    assert first[1] == second[1]


def test_every_kind_has_words_and_commands_that_exist():
    assert set(SEVERITY) <= set(KINDS)
    group = typer.main.get_command(app)
    for kind in KINDS.values():
        assert kind.singular
        assert all(sentence.endswith(".") for sentence in (kind.meaning, kind.readers, kind.action))
        for command in kind.commands:
            program, name, *arguments = shlex.split(command)
            assert program == "limpid"
            group.commands[name].make_context(name, arguments)


def test_a_kind_that_nobody_has_described_is_shown_as_it_is(muddy_diagnosis):
    evidence = {
        "null": "The 95% quantile over windows.",
        "share_of_queries": 0.25,
        "n_queries": 1200,
        "is_odd": True,
        "left": "One half.",
        "terms": [["river", "mill"], ["tax", "law"]],
        "examples": [{"chunk_id": "c1", "document_id": "d1", "text": "A passage <b>."}] * 5,
        "spread": {"low": 0.123, "high": None},
        "member_ids": [muddy_diagnosis.sample.chunks[3].id],
        "empty": [],
    }
    strange = Flag("strange_thing", "odd", 1.5, 1.0, 0.9, evidence, "Look.")
    report = report_of(replace(muddy_diagnosis, flags=(*muddy_diagnosis.flags, strange)))
    assert "1 strange thing" in report["verdict"]
    assert report["map"]["points"][3]["flags"][-1] == "strange_thing"
    page = render_html(report)
    for shown in (
        "Measured against: The 95%",
        "1,200 queries",
        " is odd",
        "river, mill",
        "A passage &lt;b&gt;.",
    ):
        assert shown in page
    assert [row.value for row in rows_of({"examples": evidence["examples"]})][-1] == "2"


@pytest.mark.parametrize(
    ("evidence", "told"),
    [
        ({"n_documents": 1, "n_queries": 1}, ["1 document", "1 query"]),
        ({"n_documents": 2, "n_queries": 1200}, ["2 documents", "1,200 queries"]),
        ({"texts_are_equal": True}, ["texts are equal"]),
        ({"texts_are_equal": False}, ["texts are equal: no"]),
    ],
)
def test_facts_are_words(evidence: dict[str, object], told: list[str]):
    assert [row.value for row in rows_of(evidence)] == told
    assert not any(row.label for row in rows_of(evidence))


def test_copies_and_mud_that_chance_gives_stay_out_of_the_verdict(muddy_diagnosis):
    copy = Flag("duplicate", muddy_diagnosis.sample.chunks[0].id, 1, 0.9, 1.0, {"member_ids": ["a", "b"]}, "")
    few = replace(muddy_diagnosis, flags=(copy,))
    assert report_of(few)["verdict"].startswith("No fault found")
    many = replace(few, flags=tuple(replace(copy, evidence={"member_ids": ["a"] * 8}) for _ in range(1)))
    assert "1 group of duplicates. Fix this chunk first." in report_of(many)["verdict"]
    usual = {**muddy_diagnosis.corpus, "muddy": {**muddy_diagnosis.corpus["muddy"], "exceeds_chance": False}}
    assert report_of(replace(muddy_diagnosis, corpus=usual))["verdict"].startswith("No fault found")


def test_what_concerns_the_whole_index_comes_first(muddy_diagnosis):
    broken = Flag("domain_mismatch", "corpus", 0.5, 0.8, 0.975, {}, "")
    report = report_of(replace(muddy_diagnosis, flags=(broken, *muddy_diagnosis.flags)))
    assert "limited by a model that doesn't fit the corpus and " in report["verdict"]
    assert report["verdict"].endswith("This concerns the whole index: see to it before single passages.")
    assert [step["kind"] for step in report["steps"]] == ["domain_mismatch", "muddy_chunk"]


def test_gate_and_comparison_stand_in_report_and_page(muddy_diagnosis, muddy_page):
    old, _ = muddy_page
    report = report_of(
        replace(muddy_diagnosis, flags=muddy_diagnosis.flags[1:]),
        corpus="A corpus",
        fingerprint={"model": "other"},
        gates=[Gate("muddy_chunk", 0)],
        old=old,
    )
    assert not report["gate"]["passed"]
    assert [gone["subject"] for gone in report["comparison"]["gone"]] == [old["flags"][0]["subject"]]
    page = render_html(report)
    assert "The gate fails." in page
    assert "1 finding is gone, 0 new" in page
    assert "model m → other" in page


def test_numbers_are_finite_and_short(muddy_diagnosis):
    odd = Flag("hub", "s", float("inf"), float("nan"), 0.9, {"exact": np.float32(1 / 3), "n": np.int64(3)}, "")
    flag = report_of(replace(muddy_diagnosis, flags=(odd,)))["flags"][0]
    assert (flag["score"], flag["threshold"]) == (None, None)
    assert flag["evidence"] == {"exact": 0.333333, "n": 3}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (1234, "1,234"), (-0.5, "−0.50"), (0.004, "0.004"), (12.0, "12"), (True, "yes"), (0.0, "0.00")],
)
def test_numbers_are_shown_for_readers(value, shown):
    assert number(value) == shown


def test_many_points_are_drawn_by_the_script_alone(muddy_diagnosis, monkeypatch):
    monkeypatch.setattr("eval.page.STATIC_POINTS", 100)
    page = render_html(report_of(muddy_diagnosis))
    assert "needs JavaScript" in page
    assert page.count("<circle") < 20
    assert "The map in words" in page


def test_a_subject_says_where_it_stands(muddy_diagnosis):
    chunk = make_chunk("c", ["One.", "Two."], "d", start=7, title="T", headings=("T", "H"), place="page 3")
    sample = replace(topical_corpus(1)[0], chunks=[chunk])
    flags = (Flag("hub", "c", 1, 1, 0.9, {}, ""),)
    made = build_report(replace(muddy_diagnosis, sample=sample, flags=flags))
    assert made["subjects"]["c"] == {
        "name": "T › H", "document_id": "d", "place": "page 3", "start": 7, "end": 16, "text": "One. Two.",
    }  # fmt: skip
    assert made["map"] is None

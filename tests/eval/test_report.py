"""The report: its JSON, and a page that is complete, offline and unharmed by hostile text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from eval.diagnose import diagnose
from eval.judged import evaluate
from eval.map import draw_map
from eval.report import build_report, render_html
from tests.eval.corpus import topical_corpus

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'> {{ 7 * 7 }} <!-- \u2028 &lt;"


class Tags(HTMLParser):
    """Collects start tags, and the text of script elements."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self.current = [], [], ""

    def handle_starttag(self, tag, attrs):
        self.current = tag
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.current == "script":
            self.scripts.append(data)


def page_of(sample, evaluation=None, **names):
    report = build_report(diagnose(sample), draw_map(sample), evaluation, **names)
    return json.loads(json.dumps(report, allow_nan=False)), render_html(report)


@pytest.fixture(scope="module")
def muddy_page():
    return page_of(topical_corpus(150, muddy=15)[0], corpus="A corpus", fingerprint={"model": "m"})


def test_report_follows_the_contract(muddy_page):
    report, _ = muddy_page
    assert report["schema"] == "limpid-report/1"
    assert re.match(r"Retrieval on this corpus is limited by \d+ muddy chunks\. Look at these \d+ ", report["verdict"])
    keys = {"kind", "subject", "score", "threshold", "confidence", "evidence", "action"}
    assert all(set(flag) == keys for flag in report["flags"])
    assert {"score", "verdict", "expected_gap", "interval", "basis"} <= set(report["corpus"]["mismatch"])
    assert len(report["map"]["points"]) == 150
    flagged = {flag["subject"] for flag in report["flags"]}
    assert {point["chunk_id"] for point in report["map"]["points"] if point["flags"]} == flagged


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
    labels = [value for _, a in parser.tags for key in ("aria-labelledby", "aria-describedby") if (value := a.get(key))]
    assert set(labels) <= set(ids)
    assert sum(tag == "h1" for tag, _ in parser.tags) == 1
    assert page.count("<circle") >= 150


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
        )
        for i, c in enumerate(sample.chunks)
    ]
    queries = {"q": HOSTILE, HOSTILE: HOSTILE}
    runs = {HOSTILE: {"q": [("b", 1.0)]}, "dense": {}}
    evaluation = evaluate(runs, {"q": {"a": 1}, HOSTILE: {"b": 1}}, queries=queries)
    hostile = replace(sample, chunks=chunks)
    report, page = page_of(hostile, evaluation, corpus=HOSTILE, fingerprint={HOSTILE: HOSTILE})
    parser = Tags()
    parser.feed(page)
    assert [tag for tag, _ in parser.tags].count("script") == 2
    assert not any(tag == "img" or any(name.startswith("on") for name in a) for tag, a in parser.tags)
    assert "<script>alert" not in page
    points = json.loads(parser.scripts[0])
    assert {point[0] for point in points} == {point["chunk_id"] for point in report["map"]["points"]}


def test_clean_corpus_gets_a_calm_verdict():
    report, page = page_of(topical_corpus(150)[0])
    assert report["verdict"].startswith("No fault found that would limit retrieval")
    assert "No fault found" in page


@pytest.mark.parametrize("n", [0, 1, 3, 6, 12])
def test_small_corpora_have_a_page(n):
    _, page = page_of(topical_corpus(n)[0])
    assert page.rstrip().endswith("</html>")


def test_report_is_the_same_twice():
    sample, _ = topical_corpus(120, muddy=6)
    assert page_of(sample) == page_of(sample)


def test_map_keeps_neighbours_and_draws_a_share_of_each_document():
    sample, _ = topical_corpus(300)
    full = draw_map(sample)
    assert full.trustworthiness > 0.85
    assert full.knn_preservation > 0.3
    assert full.positions.min() >= 0
    assert full.positions.max() <= 1
    part = draw_map(sample, limit=100)
    assert len(part.chunks) == 100
    assert np.diff(part.chunks).max() <= 4
    assert "100 of 300" in part.note


def test_map_is_coloured_by_scores_where_they_are_given():
    sample, _ = topical_corpus(210)
    scores = np.linspace(-1, 2, len(sample))
    coloured = draw_map(sample, scores=scores)
    assert len(coloured.bands) == 7
    assert coloured.groups[0] == coloured.bands[0] == "-1.00 to -0.57"
    assert coloured.groups[-1] == coloured.bands[-1]
    assert {coloured.groups.count(band) for band in coloured.bands} == {30}
    np.testing.assert_array_equal(coloured.positions, draw_map(sample).positions)
    assert draw_map(sample, scores=np.ones(len(sample))).bands == ("+1.00 to +1.00",)

"""Queries without judgements: counts written out, an order of judging, and never a score."""

from __future__ import annotations

import json

import pytest

from core.errors import InputError
from eval.unlabelled import N_FIRST, Observed, describe_queries


def observed(query_id: str, confidence: float | None = 0.9, dense: str = "ab", sparse: str = "ab", **more) -> Observed:
    lists = {name: [(key, f"of {key}") for key in keys] for name, keys in (("dense", dense), ("sparse", sparse))}
    signals = {"is_far": False, "unknown_terms": (), "legs_disagree": False} | more
    return Observed(query_id, f"text of {query_id}", confidence, lists=lists, **signals)


def test_agreement_is_the_share_in_common() -> None:
    assert observed("q", dense="abcd", sparse="cdef").agreement("dense", "sparse") == 2 / 4
    assert observed("q", dense="ab", sparse="abcd").agreement("dense", "sparse") == 1.0
    assert observed("q", dense="", sparse="ab").agreement("dense", "sparse") == 0.0
    assert observed("q", dense="", sparse="").agreement("dense", "sparse") == 1.0
    long = observed("q", dense="abcdefghijKL", sparse="abcdefghijMN")
    assert long.agreement("dense", "sparse") == 1.0, "only the first ten count"


def test_signals_are_counted_and_their_queries_named() -> None:
    described = describe_queries(
        [
            observed("q1", 0.2, is_far=True, unknown_terms=("Zorblax", "quux")),
            observed("q2", 0.4, unknown_terms=("zorblax",), legs_disagree=True, sparse="cd"),
            observed("q3", 0.9),
        ]
    )
    assert described["confidence"] == {
        "quantiles": pytest.approx({"0.05": 0.22, "0.25": 0.3, "0.5": 0.4, "0.75": 0.65, "0.95": 0.85}),
        "n_unlikely": 2,
    }
    assert described["far"] == {"n": 1, "share": 1 / 3, "query_ids": ["q1"]}
    assert described["legs_disagree"]["query_ids"] == ["q2"]
    assert described["agreement"] == {"dense / sparse": pytest.approx(2 / 3)}
    assert described["unknown_terms"] == [
        {"term": "zorblax", "n_queries": 2, "query_ids": ["q1", "q2"]},
        {"term": "quux", "n_queries": 1, "query_ids": ["q1"]},
    ]
    assert json.loads(json.dumps(described, allow_nan=False)) == described


def test_the_least_sure_and_the_most_disputed_come_first_in_turn() -> None:
    queries = [
        observed("sure", 0.9),
        observed("unsure", 0.1),
        observed("doubtful", 0.3),
        observed("disputed", 0.8, sparse="cd"),
        observed("half", 0.7, sparse="bc"),
    ]
    first = describe_queries(queries)["judge_first"]
    assert [(one["query_id"], one["reason"]) for one in first] == [
        ("unsure", "least sure"),
        ("disputed", "the modes differ"),
        ("doubtful", "least sure"),
        ("half", "the modes differ"),
        ("sure", "least sure"),
    ]
    assert first[1]["documents"] == ["of a", "of c", "of b", "of d"]
    assert len(describe_queries([observed(f"q{i}", i / 100) for i in range(50)])["judge_first"]) == N_FIRST


def test_nothing_is_a_score() -> None:
    described = describe_queries([observed("q", None)])
    assert described["judged"] is False
    assert described["confidence"] is None
    assert not {"modes", "nDCG@10", "comparisons"} & described.keys()
    with pytest.raises(InputError, match="no query"):
        describe_queries([])

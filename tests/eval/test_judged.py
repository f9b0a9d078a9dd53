"""Judged metrics against sums written out by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from core.errors import InputError, NotFound
from eval.causes import Cause
from eval.judged import (
    bootstrap_interval,
    evaluate,
    load_qrels,
    load_queries,
    measure,
    paired_randomization,
    queries_needed,
    read_run,
    write_run,
)

QRELS = {"q1": {"a": 2, "b": 1, "c": 0}, "q2": {"a": 1}}


def test_values_equal_sums_written_out():
    values = measure({"q1": [("b", 3.0), ("x", 2.0), ("a", 1.0)], "q2": [("x", 2.0), ("a", 1.0)]}, QRELS)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    assert values["nDCG@10"]["q1"] == pytest.approx((1 / math.log2(2) + 2 / math.log2(4)) / ideal)
    assert values["nDCG@10"]["q2"] == pytest.approx(1 / math.log2(3))
    assert values["RR@10"] == pytest.approx({"q1": 1.0, "q2": 1 / 2})
    assert values["AP"]["q1"] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert values["R@100"] == pytest.approx({"q1": 1.0, "q2": 1.0})


def test_query_without_answer_scores_zero_and_stays_in_the_mean():
    run = {"q1": [("a", 2.0), ("b", 1.0)], "unjudged": [("a", 1.0)]}
    assert measure(run, QRELS)["nDCG@10"] == pytest.approx({"q1": 1.0, "q2": 0.0})
    evaluation = evaluate({"dense": run}, QRELS)
    assert evaluation.modes["dense"]["nDCG@10"].mean == pytest.approx(0.5)
    assert evaluation.n_without_results == {"dense": 1}
    assert measure({}, QRELS)["AP"] == {"q1": 0.0, "q2": 0.0}


def test_query_without_relevant_document_scores_zero():
    values = measure({"q": [("a", 1.0)]}, {"q": {"a": 0}})
    assert all(metric == {"q": 0.0} for metric in values.values())


def test_ties_go_to_the_smaller_id_whatever_the_order_given():
    for run in ([("a", 1.0), ("b", 1.0)], [("b", 1.0), ("a", 1.0)]):
        assert measure({"q": run}, {"q": {"a": 1}}, ["RR@10"])["RR@10"]["q"] == 1.0
        assert measure({"q": run}, {"q": {"b": 1}}, ["RR@10"])["RR@10"]["q"] == 0.5


def test_scores_closer_than_single_precision_keep_their_order():
    run = {"q": [("a", 1.0), ("b", 1.0 + 1e-12)]}
    assert measure(run, {"q": {"b": 1}}, ["RR@10"])["RR@10"]["q"] == 1.0


def test_unknown_metric_is_named():
    with pytest.raises(InputError, match="nonsense"):
        measure({}, QRELS, ["nonsense@@"])


def test_run_round_trip(tmp_path):
    run = {"q1": [("b", 0.1 + 0.2), ("a", 0.1)], "q2": [("c", -1.0)]}
    write_run(tmp_path / "run.trec", run)
    assert (tmp_path / "run.trec").read_text().splitlines()[0] == "q1 Q0 b 1 0.30000000000000004 limpid"
    assert read_run(tmp_path / "run.trec") == run


def test_run_refuses_what_the_format_cannot_hold(tmp_path):
    with pytest.raises(InputError, match="white space"):
        write_run(tmp_path / "run.trec", {"q": [("a b", 1.0)]})
    with pytest.raises(InputError, match="nan"):
        write_run(tmp_path / "run.trec", {"q": [("a", math.nan)]})
    (tmp_path / "twice.trec").write_text("q Q0 a 1 2.0 t\nq Q0 a 2 1.0 t\n")
    with pytest.raises(InputError, match=r"line 2.*twice"):
        read_run(tmp_path / "twice.trec")


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\n",
        "q1\ta\t2\nq1\tb\t0\n",
        "q1 0 a 2\nq1 0 b 0\n",
        "q1\ta\t2\r\nq1\tb\t0\r\n",
    ],
)
def test_qrels_with_and_without_header_and_trec(tmp_path, text):
    (tmp_path / "qrels").write_bytes(text.encode())
    assert load_qrels(tmp_path / "qrels") == {"q1": {"a": 2, "b": 0}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q1\ta\t1\nq1\tb\tyes\n", "line 2.*yes"),
        ("q1\ta\n", "line 1: 2 columns"),
        ("q1\ta\t1\nq1\ta\t2\n", "line 2.*1 and 2"),
        ("query-id\tcorpus-id\tscore\n", "no judgements"),
    ],
)
def test_bad_qrels_name_file_and_line(tmp_path, text, message):
    path = tmp_path / "qrels.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_qrels(path)
    assert "qrels.tsv" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ('{"text": "x"}', 'line 2.*"_id"'),
        ('{"_id": "q2", "text": " "}', "line 2.*isn't empty"),
        ('{"_id": "q1", "text": "y"}', "line 2.*twice"),
    ],
)
def test_bad_queries_name_file_and_line(tmp_path, line, message):
    path = tmp_path / "queries.jsonl"
    path.write_text('{"_id": "q1", "text": "x"}\n' + line + "\n")
    with pytest.raises(InputError, match=message):
        load_queries(path)
    path.write_text('{"_id": 7, "text": "x"}\n\n')
    assert load_queries(path) == {"7": "x"}


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(NotFound, match="nowhere"):
        load_queries(tmp_path / "nowhere")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        load_qrels(tmp_path / "binary")


def test_bootstrap_interval():
    constant = bootstrap_interval([0.5] * 20)
    assert (constant.mean, constant.low, constant.high) == (0.5, 0.5, 0.5)
    values = [0.0] * 50 + [1.0] * 50
    interval = bootstrap_interval(values)
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.05, abs=0.015)  # the normal approximation
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.05, abs=0.015)
    assert interval == bootstrap_interval(values)
    with pytest.raises(InputError):
        bootstrap_interval([])


def test_paired_randomization():
    assert paired_randomization([0.5, 0.2], [0.5, 0.2]) == 1.0
    assert paired_randomization([1.0] * 10, [0.0] * 10) == pytest.approx(2 / 2**10, abs=0.002)
    assert paired_randomization([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]) == pytest.approx(2 / 2**3, abs=0.02)
    with pytest.raises(InputError):
        paired_randomization([1.0], [])


def test_queries_needed_by_hand():
    """Differences of 1, 0, 1, 0 …: mean ½, variance n/(n − 1) · ¼, so n = 2.8016² · s² / ¼."""
    differences = [1.0, 0.0] * 5
    assert queries_needed(differences, p=0.2) == max(math.ceil(2.8016**2 * (10 / 9)), 11)
    wide = [1.0, -0.8] * 10
    variance = 20 / 19 * 0.9**2
    assert queries_needed(wide, p=0.5) == math.ceil(2.8016**2 * variance / 0.1**2)
    assert queries_needed([-d for d in wide], p=0.5) == queries_needed(wide, p=0.5)


def test_queries_needed_only_where_something_is_unsure():
    assert queries_needed([1.0, 0.0] * 5, p=0.049) is None
    assert queries_needed([0.5, -0.5], p=1.0) is None
    assert queries_needed([0.1, 0.2, -0.3], p=1.0) is None, "0 but for rounding"
    assert queries_needed([0.3], p=1.0) is None
    assert queries_needed([0.1, 0.1, 0.1], p=0.25) == 6, "no three queries can show it, whatever their spread"


def test_that_many_queries_do_make_it_sure():
    """Drawn again with the number that a pilot asks for, about four samples in five are sure."""
    rng = np.random.default_rng(0)
    needed = queries_needed([0.3, -0.2, 0.3, -0.2, 0.1, 0.0], p=0.5)
    deviation, mean = np.std([0.3, -0.2, 0.3, -0.2, 0.1, 0.0], ddof=1), 0.05
    samples = rng.normal(mean, deviation, size=(150, needed))
    n_sure = sum(paired_randomization(sample, np.zeros(needed), n=500) < 0.05 for sample in samples)
    assert 0.7 < n_sure / 150 < 0.9


def test_comparisons_cover_every_pair_and_say_how_many_queries_they_need():
    qrels = {f"q{i}": {"a": 1} for i in range(8)}
    good = {query_id: [("a", 1.0)] for query_id in qrels}
    mixed = {query_id: [("x", 2.0), ("a", 1.0)] if query_id == "q0" else [("a", 1.0)] for query_id in qrels}
    runs = {"hybrid": good, "sparse": {}, "hybrid:rrf": mixed}
    pairs = {(pair.a, pair.b): pair for pair in evaluate(runs, qrels, ["RR@10"]).comparisons}
    assert pairs.keys() == {("hybrid", "sparse"), ("hybrid", "hybrid:rrf"), ("sparse", "hybrid:rrf")}
    sure, unsure = pairs["hybrid", "sparse"], pairs["hybrid", "hybrid:rrf"]
    assert (sure.difference, sure.queries_needed) == (1.0, None)
    assert sure.p == pytest.approx(2 / 2**8, abs=0.003)
    assert unsure.difference == pytest.approx(0.5 / 8)
    assert unsure.queries_needed == math.ceil(2.8016**2 * 8)  # s² = d² · 8, for one difference in eight


def test_values_of_passages_join_the_metrics_and_choose_the_hardest():
    qrels = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}
    runs = {"hybrid": {"q1": [("a", 1.0)], "q2": [("a", 1.0)]}}
    passages = {"hybrid": {"char_recall@5": {"q1": 0.5, "q2": 1.0}, "char_IoU@5": {"q1": 0.1, "q2": 0.3}}}
    asked = []

    def find_causes(hard):
        asked.extend(hard)
        return [[Cause("far", "it is far", {})] for _ in hard]

    stretches = {"q1": (("a", 3, 5),)}
    scored = evaluate(
        runs, qrels, ["RR@10"], passages=passages, stretches=stretches, queries={"q1": "one"}, find_causes=find_causes
    )
    assert scored.modes["hybrid"]["RR@10"].mean == pytest.approx(2 / 3)
    assert scored.modes["hybrid"]["char_recall@5"].mean == 0.75
    (worst,) = scored.worst_queries
    assert worst["metric"] == "char_recall@5"
    assert (worst["likely_cause"], worst["causes"][0]["cause"]) == ("it is far", "far")
    assert (asked[0].query_id, asked[0].text, asked[0].stretches) == ("q1", "one", (("a", 3, 5),))


def test_evaluation_counts_what_was_left_out_and_names_causes():
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"gone": 1}, "q4": {"z": 0}, "q5": {"a": 1}}
    runs = {
        "hybrid": {"q1": [("a", 1.0)], "q2": [("x", 1.0)], "q3": [("x", 1.0)], "q4": [("x", 1.0)]},
        "dense": {"q1": [("x", 1.0)], "q2": [("x", 1.0)], "q3": [("x", 1.0)], "q4": [("x", 1.0)]},
        "sparse": {"q1": [("x", 1.0)], "q2": [("b", 1.0)], "q3": [("x", 1.0)], "q4": [("x", 1.0)]},
    }
    queries = {"q1": "one", "q2": "two", "q3": "three", "q4": "four", "extra": "nobody judged this"}
    evaluation = evaluate(runs, qrels, ["nDCG@10"], queries=queries, document_ids={"a", "b", "x", "z"})
    assert evaluation.judged_without_text == ("q5",)
    assert evaluation.queries_without_judgements == ("extra",)
    assert evaluation.unknown_documents == ("gone",)
    causes = {query["query_id"]: query["causes"][0]["cause"] for query in evaluation.worst_queries}
    assert causes == {"q2": "legs_disagree", "q3": "not_indexed", "q4": "no_relevant", "q5": "not_asked"}
    said = {query["query_id"]: query["likely_cause"] for query in evaluation.worst_queries}
    assert "sparse finds the answer at rank 1" in said["q2"]
    result = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert set(result["modes"]["hybrid"]["nDCG@10"]) == {"mean", "low", "high"}
    assert set(result["comparisons"][0]) == {"a", "b", "metric", "difference", "low", "high", "p", "queries_needed"}
    assert set(result["worst_queries"][0]["causes"][0]) == {"cause", "says", "evidence", "action"}
    assert (result["n_queries"], result["n_unknown_documents"]) == (5, 1)

"""Judged evaluation: metric values per query, means with intervals, paired comparisons, the worst queries."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations

from core.errors import InputError
from eval.causes import Cause, HardQuery, causes_by_runs
from eval.passages import Stretch
from eval.significance import Interval, bootstrap_interval, paired_randomization, queries_needed
from eval.trec import Qrels, Run, load_qrels, load_queries, ranked, read_run, write_run

__all__ = [
    "DEFAULT_METRICS",
    "Comparison",
    "Evaluation",
    "Interval",
    "Qrels",
    "Run",
    "bootstrap_interval",
    "evaluate",
    "leading_mode",
    "load_qrels",
    "load_queries",
    "measure",
    "paired_randomization",
    "parse_metrics",
    "queries_needed",
    "read_run",
    "write_run",
]

DEFAULT_METRICS = ("nDCG@10", "R@100", "RR@10", "AP")
N_WORST = 10  # queries listed with a likely cause

Runs = Mapping[str, Mapping[str, Sequence[tuple[str, float]]]]  # by mode: query id -> (document id, score)
Values = dict[str, dict[str, dict[str, float]]]  # by mode, metric and query id
FindCauses = Callable[[Sequence[HardQuery]], Sequence[Sequence[Cause]]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference `a` minus `b` of a metric's mean over the same queries, with its 95% interval and p.

    `queries_needed` judged queries would make a difference of this size sure, with a probability of 80%; None where it
    is sure already or 0 (see `eval.significance.queries_needed`).
    """

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    queries_needed: int | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Judged results of one or more modes over the same queries.

    `values[mode][metric][query_id]` are the single values behind `modes[mode][metric]`. `unknown_documents` are judged
    relevant, and the index doesn't hold them.
    """

    modes: dict[str, dict[str, Interval]]
    comparisons: tuple[Comparison, ...]
    worst_queries: tuple[dict[str, object], ...]
    values: Values
    n_queries: int
    n_without_results: dict[str, int]
    n_without_relevant: int
    judged_without_text: tuple[str, ...] = ()
    queries_without_judgements: tuple[str, ...] = ()
    unknown_documents: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The evaluation as plain JSON values."""
        return {
            "modes": {
                mode: {metric: interval.to_json() for metric, interval in metrics.items()}
                for mode, metrics in self.modes.items()
            },
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
            "worst_queries": list(self.worst_queries),
            "n_queries": self.n_queries,
            "n_without_results": self.n_without_results,
            "n_without_relevant": self.n_without_relevant,
            "n_judged_without_text": len(self.judged_without_text),
            "judged_without_text": list(self.judged_without_text),
            "n_queries_without_judgements": len(self.queries_without_judgements),
            "queries_without_judgements": list(self.queries_without_judgements),
            "n_unknown_documents": len(self.unknown_documents),
            "unknown_documents": list(self.unknown_documents),
        }


def parse_metrics(names: Sequence[str]) -> dict[str, object]:
    """The measures of ir-measures by the names they were asked for. Raises InputError for an unknown one."""
    import ir_measures

    parsed: dict[str, object] = {}
    for name in names:
        try:
            parsed[name] = ir_measures.parse_measure(name)
        except (NameError, ValueError, SyntaxError, TypeError):
            raise InputError(f'Unknown metric "{name}". Use names such as {", ".join(DEFAULT_METRICS)}.') from None
    return parsed


def measure(
    run: Mapping[str, Sequence[tuple[str, float]]], qrels: Qrels, metrics: Sequence[str] = DEFAULT_METRICS
) -> dict[str, dict[str, float]]:
    """The value of every metric for every judged query: `values[metric][query_id]`.

    Definitions are those of ir-measures (trec_eval): nDCG has linear gain and log2(1 + rank), ranks count from 1.
    The order is by falling score, ties by rising document id; scorers get strictly falling stand-in scores, so that no
    tie rule of theirs can change it. A judged query without results scores 0 and stays in; a query without
    judgements is left out. Raises InputError for an unknown metric.
    """
    import ir_measures

    parsed = parse_metrics(metrics)
    judgements = [
        ir_measures.Qrel(query_id, document_id, grade)
        for query_id, grades in qrels.items()
        for document_id, grade in grades.items()
    ]
    scored = [
        ir_measures.ScoredDoc(query_id, document_id, float(-rank))
        for query_id in qrels
        for rank, (document_id, _) in enumerate(ranked(run.get(query_id, ())), start=1)
    ]
    values = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    if scored:
        names = {str(metric): name for name, metric in parsed.items()}
        for result in ir_measures.iter_calc(list(parsed.values()), judgements, scored):
            values[names[str(result.measure)]][result.query_id] = float(result.value)
    return values


def leading_mode(modes: Collection[str]) -> str:
    """The mode whose worst queries are looked at: hybrid where it was run, else the first."""
    return "hybrid" if "hybrid" in modes else next(iter(modes))


def evaluate(
    runs: Runs,
    qrels: Qrels,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    queries: Mapping[str, str] | None = None,
    document_ids: Collection[str] | None = None,
    passages: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
    stretches: Mapping[str, tuple[Stretch, ...]] | None = None,
    find_causes: FindCauses | None = None,
    seed: int = 0,
) -> Evaluation:
    """Means with 95% intervals of every mode, all pairwise comparisons, and the worst queries with their causes.

    `runs` maps a mode's name to its run. `queries` (texts) and `document_ids` (what the index holds), where given,
    let the result name judged queries that nobody asked, queries that nobody judged, and answers that are not in the
    index. `passages[mode]` are values of passages (see `eval.passages.measure_passages`) over the queries that
    `stretches` judges; they join the metrics, and their first one then says which queries are worst. `find_causes`
    looks for causes in the index; without it they are what the rankings prove.
    Raises InputError without runs, judgements or metrics.
    """
    if not runs or not qrels or not metrics:
        raise InputError("An evaluation needs at least one run, one judged query and one metric.")
    values: Values = {mode: measure(run, qrels, metrics) for mode, run in runs.items()}
    for mode, measured in (passages or {}).items():
        values[mode] |= {metric: dict(by_query) for metric, by_query in measured.items()}
    names = list(next(iter(values.values())))
    leading = leading_mode(runs)
    known = None if document_ids is None else set(document_ids)
    relevant = {query_id: _relevant(grades) for query_id, grades in qrels.items()}
    metric = next(iter(passages[leading])) if passages else metrics[0]
    hard = [
        HardQuery(
            query_id=query_id,
            text=(queries or {}).get(query_id),
            was_asked=queries is None or query_id in queries,
            relevant=frozenset(relevant[query_id]),
            lists={mode: [key for key, _ in ranked(run.get(query_id, ()))] for mode, run in runs.items()},
            leading=leading,
            stretches=(stretches or {}).get(query_id, ()),
        )
        for query_id in _worst(values[leading][metric])
    ]
    causes = find_causes(hard) if find_causes else [causes_by_runs(query, known) for query in hard]
    return Evaluation(
        modes={
            mode: {metric: bootstrap_interval(list(by_query.values()), seed=seed) for metric, by_query in found.items()}
            for mode, found in values.items()
        },
        comparisons=tuple(_compare(a, b, metric, values, seed) for a, b in combinations(runs, 2) for metric in names),
        worst_queries=tuple(
            _described(query, found, metric, values) for query, found in zip(hard, causes, strict=True)
        ),
        values=values,
        n_queries=len(qrels),
        n_without_results={mode: sum(not run.get(query_id) for query_id in qrels) for mode, run in runs.items()},
        n_without_relevant=sum(not found for found in relevant.values()),
        judged_without_text=tuple(sorted(set(qrels) - set(queries))) if queries is not None else (),
        queries_without_judgements=tuple(sorted(set(queries or ()) - set(qrels))),
        unknown_documents=() if known is None else tuple(sorted(set().union(*relevant.values()) - known)),
    )


def _compare(a: str, b: str, metric: str, values: Values, seed: int) -> Comparison:
    first, second = (list(values[mode][metric].values()) for mode in (a, b))
    differences = [x - y for x, y in zip(first, second, strict=True)]
    interval = bootstrap_interval(differences, seed=seed)
    p = paired_randomization(first, second, seed)
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p=p,
        queries_needed=queries_needed(differences, p),
    )


def _relevant(grades: Mapping[str, int]) -> set[str]:
    return {document_id for document_id, grade in grades.items() if grade > 0}


def _worst(scores: Mapping[str, float]) -> list[str]:
    """The queries with the lowest values below 1, ties by id."""
    return sorted((query_id for query_id in scores if scores[query_id] < 1.0), key=lambda q: (scores[q], q))[:N_WORST]


def _described(query: HardQuery, causes: Sequence[Cause], metric: str, values: Values) -> dict[str, object]:
    return {
        "query_id": query.query_id,
        **({} if query.text is None else {"text": query.text}),
        "metric": metric,
        "values": {mode: found[metric][query.query_id] for mode, found in values.items()},
        "likely_cause": causes[0].says,
        "causes": [cause.to_json() for cause in causes],
    }

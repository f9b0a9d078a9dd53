"""Judged evaluation: metric values per query, means with intervals, paired comparisons, the worst queries."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from core.errors import InputError
from eval.significance import Interval, bootstrap_interval, paired_randomization
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
    "load_qrels",
    "load_queries",
    "measure",
    "paired_randomization",
    "read_run",
    "write_run",
]

DEFAULT_METRICS = ("nDCG@10", "R@100", "RR@10", "AP")
N_WORST = 10  # queries listed with a likely cause
VISIBLE_RANKS = 10  # what a reader looks at; a relevant document below it counts as "ranked low"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The difference `a` minus `b` of a metric's mean over the same queries, with its 95% interval and p."""

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Judged results of one or more modes over the same queries.

    `values[mode][metric][query_id]` are the single values behind `modes[mode][metric]`.
    """

    modes: dict[str, dict[str, Interval]]
    comparisons: tuple[Comparison, ...]
    worst_queries: tuple[dict[str, object], ...]
    values: dict[str, dict[str, dict[str, float]]]
    n_queries: int
    n_without_results: dict[str, int]
    n_without_relevant: int
    judged_without_text: tuple[str, ...] = ()
    queries_without_judgements: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The evaluation as plain JSON values."""
        return {
            "modes": {
                mode: {metric: interval.to_json() for metric, interval in metrics.items()}
                for mode, metrics in self.modes.items()
            },
            "comparisons": [
                {name: getattr(comparison, name) for name in Comparison.__slots__} for comparison in self.comparisons
            ],
            "worst_queries": list(self.worst_queries),
            "n_queries": self.n_queries,
            "n_without_results": self.n_without_results,
            "n_without_relevant": self.n_without_relevant,
            "n_judged_without_text": len(self.judged_without_text),
            "judged_without_text": list(self.judged_without_text),
            "n_queries_without_judgements": len(self.queries_without_judgements),
            "queries_without_judgements": list(self.queries_without_judgements),
        }


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

    parsed = {}
    for name in metrics:
        try:
            parsed[name] = ir_measures.parse_measure(name)
        except (NameError, ValueError, SyntaxError, TypeError):
            raise InputError(f'Unknown metric "{name}". Use names such as {", ".join(DEFAULT_METRICS)}.') from None
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


def evaluate(
    runs: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]],
    qrels: Qrels,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    queries: Mapping[str, str] | None = None,
    document_ids: Collection[str] | None = None,
    seed: int = 0,
) -> Evaluation:
    """Means with 95% intervals of every mode, all pairwise comparisons, and the worst queries with a likely cause.

    `runs` maps a mode's name to its run. `queries` (texts) and `document_ids` (what the index holds), where given,
    let the result name judged queries that nobody asked, queries that nobody judged, and answers that are not in the
    index. Raises InputError without runs, judgements or metrics.
    """
    if not runs or not qrels or not metrics:
        raise InputError("An evaluation needs at least one run, one judged query and one metric.")
    values = {mode: measure(run, qrels, metrics) for mode, run in runs.items()}
    modes = {
        mode: {metric: bootstrap_interval(list(values[mode][metric].values()), seed=seed) for metric in metrics}
        for mode in runs
    }
    texts = queries or {}
    return Evaluation(
        modes=modes,
        comparisons=tuple(_compare(a, b, metric, values, seed) for a, b in combinations(runs, 2) for metric in metrics),
        worst_queries=_worst_queries(runs, qrels, metrics[0], values=values, texts=texts, document_ids=document_ids),
        values=values,
        n_queries=len(qrels),
        n_without_results={mode: sum(not run.get(query_id) for query_id in qrels) for mode, run in runs.items()},
        n_without_relevant=sum(not _relevant(grades) for grades in qrels.values()),
        judged_without_text=tuple(sorted(set(qrels) - set(texts))) if queries is not None else (),
        queries_without_judgements=tuple(sorted(set(texts) - set(qrels))),
    )


def _compare(a: str, b: str, metric: str, values: dict[str, dict[str, dict[str, float]]], seed: int) -> Comparison:
    first, second = (list(values[mode][metric].values()) for mode in (a, b))
    interval = bootstrap_interval([x - y for x, y in zip(first, second, strict=True)], seed=seed)
    return Comparison(
        a=a,
        b=b,
        metric=metric,
        difference=interval.mean,
        low=interval.low,
        high=interval.high,
        p=paired_randomization(first, second, seed),
    )


def _relevant(grades: Mapping[str, int]) -> set[str]:
    return {document_id for document_id, grade in grades.items() if grade > 0}


def _worst_queries(
    runs: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]],
    qrels: Qrels,
    metric: str,
    *,
    values: dict[str, dict[str, dict[str, float]]],
    texts: Mapping[str, str],
    document_ids: Collection[str] | None,
) -> tuple[dict[str, object], ...]:
    """The queries with the lowest value in the leading mode (hybrid where it was run), ties by id."""
    leading = "hybrid" if "hybrid" in runs else next(iter(runs))
    scores = values[leading][metric]
    worst = sorted((query_id for query_id in scores if scores[query_id] < 1.0), key=lambda q: (scores[q], q))[:N_WORST]
    known = None if document_ids is None else set(document_ids)
    return tuple(
        {
            "query_id": query_id,
            **({"text": texts[query_id]} if query_id in texts else {}),
            "metric": metric,
            "values": {mode: values[mode][metric][query_id] for mode in runs},
            "likely_cause": _likely_cause(query_id, runs, _relevant(qrels[query_id]), known, leading),
        }
        for query_id in worst
    )


def _likely_cause(
    query_id: str,
    runs: Mapping[str, Mapping[str, Sequence[tuple[str, float]]]],
    relevant: set[str],
    known: set[str] | None,
    leading: str,
) -> str:
    """The first cause that the runs themselves prove, from the most to the least fundamental."""
    if not relevant:
        return "no document is judged relevant, so no ranking could score"
    if known is not None and not relevant & known:
        return "none of the relevant documents is in the index"
    order = {mode: [document_id for document_id, _ in ranked(run.get(query_id, ()))] for mode, run in runs.items()}
    if not order[leading]:
        return f"{leading} returned nothing"
    best = {mode: next((rank for rank, d in enumerate(ids, 1) if d in relevant), None) for mode, ids in order.items()}
    if all(rank is None for rank in best.values()):
        return f"no mode returned a relevant document (the deepest list holds {max(map(len, order.values()))})"
    visible = {mode for mode, rank in best.items() if rank is not None and rank <= VISIBLE_RANKS}
    if visible and leading not in visible:
        return f"{' and '.join(sorted(visible))} ranked a relevant document within {VISIBLE_RANKS}, {leading} did not"
    if "dense" in best and "sparse" in best and ("dense" in visible) != ("sparse" in visible):
        blind = "sparse" if "dense" in visible else "dense"
        return f"dense and sparse disagree: {blind} has no relevant document within {VISIBLE_RANKS}"
    if best[leading] is None:
        return f"{leading} returned no relevant document, another mode did"
    return f"the first relevant document is at rank {best[leading]}, below other documents that match as well"

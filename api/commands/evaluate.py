"""`limpid evaluate`: retrieval scored against judgements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.opening import open_for, retriever
from api.ranking import rank_all

if TYPE_CHECKING:
    from core.index import Index
    from core.settings import Settings


def evaluate(
    queries: Annotated[Path, typer.Option("--queries", help="queries.jsonl with _id and text.")],
    qrels: Annotated[Path, typer.Option("--qrels", help="Judgements: BEIR tsv or TREC qrels.")],
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="hybrid, dense, sparse; repeatable. [all three]")
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option("--compare", help="Another fusion for hybrid, such as rrf; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Documents for each query.")] = 100,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Such as nDCG@10; repeatable. [nDCG@10 R@100 RR@10 AP]")
    ] = None,
    exclude_self: Annotated[bool, typer.Option("--exclude-self", help="Drop a hit whose id is the query's.")] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score retrieval against judgements, with 95% confidence intervals and paired tests."""
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    with open_for(settings, console) as opened:
        scored = score(opened, settings, console, queries, qrels, mode, compare, metric, k, exclude_self)
    if as_json:
        console.result(scored.to_json())
    else:
        _print_evaluation(console, scored)


def score(
    opened: Index,
    settings: Settings,
    console: Console,
    queries: Path,
    qrels: Path,
    modes: list[str] | None = None,
    fusions: list[str] | None = None,
    metrics: list[str] | None = None,
    k: int = 100,
    exclude_self: bool = False,
) -> Any:
    """The judged results of an open index as an `eval.judged.Evaluation`."""
    from eval.judged import DEFAULT_METRICS, evaluate
    from eval.trec import load_qrels, load_queries

    texts, judged = load_queries(queries), load_qrels(qrels)
    asked = {query_id: text for query_id, text in texts.items() if query_id in judged}
    search = retriever(opened, settings, console.note)
    runs = {}
    for name in modes or ["hybrid", "dense", "sparse"]:
        runs[name] = rank_all(search, asked, console, k=k, mode=name, exclude_self=exclude_self)
    for name in fusions or []:
        runs[f"hybrid:{name}"] = rank_all(
            search, asked, console, k=k, mode="hybrid", fusion=name, exclude_self=exclude_self
        )
    ids = {record.id for record in opened.store.records()}
    return evaluate(runs, judged, metrics or DEFAULT_METRICS, queries=texts, document_ids=ids)


def _print_evaluation(console: Console, scored: Any) -> None:
    console.say(f"{scored.n_queries} judged queries, mean [95% interval]")
    for name, metrics in scored.modes.items():
        row = "   ".join(f"{metric} {i.mean:.3f} [{i.low:.3f}, {i.high:.3f}]" for metric, i in metrics.items())
        console.say(f"  {name:<12} {row}")
    first = next(iter(next(iter(scored.modes.values()))))
    for pair in scored.comparisons:
        if pair.metric == first:
            sure = "sure" if pair.p < 0.05 else "not sure"
            console.say(
                f"  {pair.a} − {pair.b}: {pair.difference:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}], "
                f"p = {pair.p:.4f} ({sure})"
            )
    if scored.worst_queries:
        console.say("Worst queries:")
    for worst in scored.worst_queries:
        console.say(f"  {worst['query_id']}: {worst.get('text') or ''}  — {worst['likely_cause']}")

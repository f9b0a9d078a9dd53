"""`limpid evaluate`: retrieval scored against judgements, or what queries without judgements say."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.commands.search import PassageOption
from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.judging import MODES, Ways, describe, score
from api.opening import open_for
from core.errors import InputError

if TYPE_CHECKING:
    from eval.judged import Comparison, Evaluation

N_QUERIES_SHOWN = 10
N_TERMS_SHOWN = 10
PASSAGES = ("copies", "crowd", "above")  # evidence that is shown with a cause


def evaluate(
    queries: Annotated[Path, typer.Option("--queries", help="queries.jsonl with _id and text.")],
    qrels: Annotated[
        Path | None, typer.Option("--qrels", help="Judgements of documents: BEIR tsv or TREC qrels.")
    ] = None,
    excerpts: Annotated[
        Path | None,
        typer.Option("--excerpts", help="Judgements by excerpt: jsonl with query_id, doc_id, start, end."),
    ] = None,
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="hybrid, dense, sparse; repeatable. [all three]")
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option("--compare", help="Another fusion for hybrid, such as rrf; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Documents for each query.")] = 100,
    passages: Annotated[int, typer.Option("--passages", help="Passages for each query, with --excerpts.")] = 5,
    passage: PassageOption = "chunk",
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
    """Score retrieval against judgements: confidence intervals, paired tests, the hardest queries and why."""
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    ways = Ways(mode or MODES, compare or (), k, passages, passage, exclude_self)
    if qrels is None and excerpts is None:
        if metric:
            raise InputError("A metric needs judgements: give --qrels or --excerpts.")
        with open_for(settings, console) as opened:
            described = describe(opened, settings, console, queries, ways)
        console.result(described) if as_json else _print_unlabelled(console, described)
        return
    with open_for(settings, console) as opened:
        scored = score(opened, settings, console, queries, qrels, metric, ways, excerpts)
    if scored.judged_without_text:
        console.note(f"{len(scored.judged_without_text)} judged queries aren't in {queries} and score 0.")
    console.result(scored.to_json()) if as_json else _print_evaluation(console, scored)


def _print_evaluation(console: Console, scored: Evaluation) -> None:
    console.say(f"{scored.n_queries} judged queries, mean [95% interval]", bold=True)
    metrics = list(next(iter(scored.modes.values())))
    in_characters = [metric for metric in metrics if metric.startswith("char_")]
    _print_means(console, scored, [metric for metric in metrics if metric not in in_characters])
    if in_characters:
        n = len(next(iter(scored.values.values()))[in_characters[0]])
        console.say(f"{n} of them with excerpts, over the characters of the passages returned", bold=True)
        _print_means(console, scored, in_characters)
    for leading in dict.fromkeys((metrics[0], *in_characters[:1], *in_characters[2:])):
        pairs = [pair for pair in scored.comparisons if pair.metric == leading]
        if pairs:
            console.say(f"Differences of {leading}", bold=True)
        for pair in pairs:
            console.say(f"  {_compared(pair)}")
    if scored.worst_queries:
        console.say("Hardest queries", bold=True)
    for worst in scored.worst_queries:
        _print_worst(console, worst)


def _print_means(console: Console, scored: Evaluation, metrics: list[str]) -> None:
    for name, means in scored.modes.items():
        row = "   ".join(
            f"{metric} {i.mean:.3f} [{i.low:.3f}, {i.high:.3f}]" for metric in metrics if (i := means[metric])
        )
        console.say(f"  {name:<12} {row}")


def _compared(pair: Comparison) -> str:
    from eval.significance import LEVEL

    sure = "no difference" if pair.difference == 0 else "sure" if pair.p < LEVEL else "not sure"
    if pair.queries_needed:
        sure += f"; about {pair.queries_needed:,} judged queries would make a difference of this size sure"
    return f"{pair.a} − {pair.b}: {pair.difference:+.3f} [{pair.low:+.3f}, {pair.high:+.3f}], p = {pair.p:.4f} ({sure})"


def _print_worst(console: Console, worst: dict[str, Any]) -> None:
    value = next(iter(worst["values"].values()))
    console.say(f"  {worst['query_id']}  {worst.get('text') or ''}  ({worst['metric']} {value:.2f})", fg="cyan")
    for place, cause in enumerate(worst["causes"]):
        console.say(f"     {'also: ' if place else ''}{cause['says']}")
    evidence = worst["causes"][0]["evidence"]
    for passage in next((evidence[name] for name in PASSAGES if evidence.get(name)), [])[:1]:
        console.say(f"       {passage['document_id']}: {passage['text']}", dim=True)
    if action := worst["causes"][0]["action"]:
        console.say(f"     → {action}", dim=True)


def _print_unlabelled(console: Console, described: dict[str, Any]) -> None:
    n = described["n_queries"]
    console.say(f"{n} queries without judgements: nothing here is a score, only judgements make one", bold=True)
    if confidence := described["confidence"]:
        shown = ", ".join(f"{float(level):.0%} {value:.2f}" for level, value in confidence["quantiles"].items())
        console.say(f"  Confidence that the corpus has an answer, quantiles: {shown}")
        console.say(f"  {confidence['n_unlikely']} of {n} below .5, {described['far']['n']} far from everything in it")
    console.say(f"  The legs have none of their best ten in common for {described['legs_disagree']['n']} of {n}")
    for pair, share in described["agreement"].items():
        console.say(f"  {pair}: {share:.0%} of the best ten passages in common")
    if terms := described["unknown_terms"]:
        shown = ", ".join(f"{one['term']} ({', '.join(one['query_ids'][:3])})" for one in terms[:N_TERMS_SHOWN])
        more = f" and {len(terms) - N_TERMS_SHOWN} more" if len(terms) > N_TERMS_SHOWN else ""
        console.say(f"  Words that occur nowhere in the corpus: {shown}{more}")
    console.say("Judge these first", bold=True)
    for one in described["judge_first"][:N_QUERIES_SHOWN]:
        sure = "" if one["confidence"] is None else f", confidence {one['confidence']:.2f}"
        console.say(f"  {one['query_id']}  {one['text']}", fg="cyan")
        console.say(f"     {one['reason']}{sure}, {one['agreement']:.0%} in common: {', '.join(one['documents'][:5])}")

"""Making an index' vectors shorter or coarser: what each way would save and cost, and doing it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.failures import INTERRUPTED
from api.opening import open_for
from core.errors import InputError

if TYPE_CHECKING:
    from core.settings import Settings
    from eval.compress.measure import Measured, Plan


def compress(
    plan: Annotated[
        bool, typer.Option("--plan", help="Measure what each method keeps and saves; write nothing.")
    ] = False,
    apply: Annotated[
        str | None, typer.Option("--apply", metavar="METHOD", help="Such as int8, pca:128, pca:128+int8, none.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Measure this one; repeatable. [a choice for the model]")
    ] = None,
    queries: Annotated[Path | None, typer.Option("--queries", help="queries.jsonl with _id and text.")] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Judgements: BEIR tsv or TREC qrels.")] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fewer numbers to a vector, or smaller ones: measure what each method saves and costs here, and apply one.

    Applied, a new generation is built from the stored vectors, beside the old one, which answers until the switch.
    Interrupt it at any time: the same command goes on where it stopped.
    """
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    if plan == (apply is not None):
        raise InputError("Give either --plan, to see what each method does here, or --apply METHOD.")
    if apply is not None and (queries or qrels or method):
        raise InputError("--method, --queries and --qrels belong to --plan.")
    if qrels and not queries:
        raise InputError("--qrels needs --queries, the texts that were judged.")
    if apply is not None:
        _apply(apply, settings, console)
    else:
        _plan(settings, console, method, queries, qrels)


def _plan(
    settings: Settings, console: Console, methods: list[str] | None, queries: Path | None, qrels: Path | None
) -> None:
    from api.compressing import measure

    with open_for(settings, console) as opened:
        table, remarks = measure(opened, console, methods, queries, qrels)
    if console.json:
        console.result(table.to_json() | {"notes": remarks})
        return
    _print(console, table)
    for remark in remarks:
        console.say(remark)


def _apply(method: str, settings: Settings, console: Console) -> None:
    from api.compressing import apply

    try:
        applied = apply(method, settings, console)
    except KeyboardInterrupt:
        typer.secho(
            "Interrupted. The index answers as before; what is built so far is kept, and the same command goes on.",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    if console.json:
        rebuilt = asdict(applied.rebuilt) if applied.rebuilt else None
        console.result({"changes": applied.changes, "generation": applied.generation, "compressed": rebuilt})
    elif applied.rebuilt is None:
        console.say("Nothing to change: the index is made so already.")
    else:
        for name, (old, new) in applied.changes.items():
            if name != "weights":
                console.say(f"  {name:<15} {old!r} → {new!r}")
        console.say(
            f"Compressed: {applied.rebuilt.n_documents:,} documents, {applied.rebuilt.n_chunks:,} chunks; "
            f"generation {applied.generation} answers in the place of {applied.generation - 1}"
        )


def _print(console: Console, table: Plan) -> None:
    is_judged = table.rows[0].ndcg is not None
    header = f"{'method':<16} {'memory':>8} {'disk':>8} {'recall@10':>10} {'error':>7} {'fit':>7}"
    console.say(header + (f" {'nDCG@10':>9} {'change':>8} {'p':>7}" if is_judged else ""))
    for row in table.rows:
        console.say(_line(row))
    console.say(
        "\nBytes a chunk: in memory for the vectors that are searched, on disk for all of its vectors. Recall of the "
        f"ten nearest by full vectors; {table.n_queries:,} {table.queries}; {table.n_chunks:,} of {table.n_total:,} "
        "chunks."
    )


def _line(row: Measured) -> str:
    line = (
        f"{row.method:<16} {row.memory_bytes:>8,.0f} {row.disk_bytes:>8,.0f} {row.recall:>10.3f} {row.error:>7.3f} "
        f"{row.fit_s:>5.1f} s"
    )
    if row.ndcg is None:
        return line
    p = "" if row.p is None else f" {row.change:>+8.3f} {row.p:>7.4f}"
    return f"{line} {row.ndcg:>9.3f}{p}"

"""`limpid fix`: doing what a report advises, and showing whether it helped."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.failures import INTERRUPTED
from api.opening import open_for
from core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.fixing import Change, Plan
    from core.settings import Settings


def fix(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND…]", help="Such as muddy_chunk, boilerplate, duplicate. [all]")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, and show the finding before and after.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take back what was done about these kinds.")] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Leave boilerplate out, in the place of storing it once.")
    ] = False,
    min_confidence: Annotated[
        float | None, typer.Option("--min-confidence", help="Of the muddy chunks that are split. [0.3]")
    ] = None,
    queries: Annotated[Path | None, typer.Option("--queries", help="queries.jsonl, to score before and after.")] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Judgements of documents.")] = None,
    excerpts: Annotated[Path | None, typer.Option("--excerpts", help="Judgements by excerpt.")] = None,
    tune: Annotated[
        bool, typer.Option("--tune", help="Set the fusion weight from --queries as well, as `limpid tune` does.")
    ] = False,
    chunk_tokens: Annotated[
        int | None, typer.Option("--chunk-tokens", min=16, help="Only try this chunk size on the judged queries.")
    ] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what can be done about each finding of the report and what it costs; with --apply do it.

    What was done stays with the index: later ingests keep it, and --undo brings the former state back. Interrupt it at
    any time: the index answers, and the same command goes on.
    """
    from api.fixing import SURE, plan

    least = SURE if min_confidence is None else min_confidence
    _check(kinds or [], apply, undo, drop, least, queries, qrels, excerpts, chunk_tokens is not None)
    if (tune or chunk_tokens) and not queries:
        raise InputError("A fusion weight and a chunk size are judged by queries: give --queries and judgements.")
    if tune:
        from api.tuning import read_asked

        read_asked(queries, qrels)  # too few are told before anything is changed
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    try:
        with open_for(settings, console) as opened:
            if undo:
                _undo(opened, settings, console, kinds or [])
                return
            judgements = (queries, qrels, excerpts) if queries else None
            if chunk_tokens is not None:
                rows, is_better = _try_size(opened, settings, console, chunk_tokens, judgements)
            else:
                todo, _ = plan(opened, settings, console, kinds or [], least, drops=drop)
                if not apply:
                    _show_plan(console, todo)
                    return
                changes, judged, weight = _apply(opened, settings, console, todo, least, drop, judgements, tune)
    except KeyboardInterrupt:
        typer.secho(
            "Interrupted. The index answers; documents fixed so far stay fixed, and the same command goes on "
            "(`limpid fix --undo` takes everything back).",
            err=True,
        )
        raise typer.Exit(INTERRUPTED) from None
    if chunk_tokens is None:
        _show_changes(console, todo, changes, judged, weight)
        return
    _show_trial(console, chunk_tokens, rows, is_better, applied=apply and is_better)
    if apply and is_better:
        from api.commands.reindex import reindex

        with redirect_stdout(sys.stderr) if as_json else nullcontext():  # one JSON document is there already
            reindex(chunk_tokens=chunk_tokens, index=index, collection=collection, quiet=quiet)


def _check(
    kinds: Sequence[str],
    apply: bool,
    undo: bool,
    drop: bool,
    least: float,
    queries: Path | None,
    qrels: Path | None,
    excerpts: Path | None,
    is_trial: bool,
) -> None:
    from api.fixing import DOABLE
    from eval.kinds import KINDS

    known = DOABLE if undo else KINDS
    for kind in kinds:
        if kind not in known:
            raise InputError(f"{kind!r} can't be {'undone' if undo else 'fixed'}; use one of {', '.join(known)}.")
    if apply and undo:
        raise InputError("--apply does what is advised and --undo takes it back: give one of them.")
    if not 0 <= least <= 1:
        raise InputError(f"--min-confidence is {least:g}; give a number from 0 to 1.")
    if drop and kinds and "boilerplate" not in kinds:
        raise InputError("--drop is about boilerplate: name that kind, or none.")
    if (queries is None) != (qrels is None and excerpts is None):
        raise InputError("Give --queries together with --qrels or --excerpts: they are scored before and after.")
    if queries and not apply and not is_trial:
        raise InputError("--queries are scored before and after a change: give --apply as well.")


def _apply(
    opened: Any,
    settings: Settings,
    console: Console,
    todo: Plan,
    least: float,
    drop: bool,
    judgements: tuple | None,
    tunes: bool,
) -> tuple[list[Change], list[dict[str, Any]], dict[str, Any] | None]:
    """The changes, the judged differences, and the fusion weight where it was set."""
    from api.fixing import carry_out, judge, judged_difference

    before = judge(opened, settings, console, *judgements) if judgements else None
    changes = carry_out(opened, settings, console, todo, least, drops=drop)
    weight = None
    if tunes and judgements:
        from api.trials import weigh

        weight = weigh(opened, settings, console, *judgements[:2])
    if before is None or not (changes or weight):
        return changes, [], weight
    return changes, judged_difference(before, judge(opened, settings, console, *judgements)), weight


def _try_size(
    opened: Any, settings: Settings, console: Console, chunk_tokens: int, judgements: tuple
) -> tuple[list[dict[str, Any]], bool]:
    """What the judged queries say of another chunk size, and whether that is a sure gain."""
    from api.fixing import judge, judged_difference
    from api.trials import cut_otherwise, is_gain

    before = judge(opened, settings, console, *judgements)
    with cut_otherwise(opened, settings, console, chunk_tokens) as trial:
        rows = judged_difference(before, judge(trial, settings, console, *judgements))
    return rows, is_gain(rows)


def _show_trial(
    console: Console, chunk_tokens: int, rows: list[dict[str, Any]], is_better: bool, applied: bool
) -> None:
    command = f"limpid reindex --chunk-tokens {chunk_tokens}"
    if console.json:
        done = {"chunk_tokens": chunk_tokens, "judged": rows, "recommended": is_better, "applied": applied}
        console.result(done | {"command": command})
        return
    console.say(f"Chunks of {chunk_tokens} tokens, {rows[0]['n']} judged queries", bold=True)
    _show_judged(console, rows)
    if is_better:
        console.say(f"That is a sure gain: {command}")
    else:
        console.say("That is no sure gain: the size stays as it is.")


def _undo(opened: Any, settings: Settings, console: Console, kinds: Sequence[str]) -> None:
    from api.fixing import DOABLE, take_back

    undone = take_back(opened, settings, console, kinds or DOABLE)
    if console.json:
        console.result({"undone": undone})
    if not any(undone.values()):
        console.say("Nothing to take back: the index has no fixes of these kinds.")
    for kind, n in undone.items():
        if n:
            console.say(f"Taken back: {kind} ({n:,})")


def _show_plan(console: Console, todo: Plan) -> None:
    from dataclasses import asdict

    if console.json:
        console.result({"plan": [asdict(step) for step in todo.steps], "applied": False})
        return
    if not todo.steps:
        console.say("Nothing to fix: the diagnosis has no flags of these kinds.")
        return
    for step in todo.steps:
        _show_step(console, step)
    if any(step.is_doable for step in todo.steps):
        console.say("\nNothing was changed: --apply does what is marked *, and measures before and after.")


def _show_step(console: Console, step: Any) -> None:
    mark = "*" if step.is_doable else " "
    console.say(f"{mark} {step.kind:<19} {step.n_flags:>6,} flags   {step.does}")
    if step.is_doable:
        encoded = "changed chunks" if step.n_encoded is None else f"{step.n_encoded:,} chunks"
        console.say(f"{'':<37}cost: {encoded} to encode, {step.n_documents:,} documents rewritten", dim=True)
    if step.command:
        console.say(f"{'':<37}{step.command}", dim=True)


def _show_changes(
    console: Console,
    todo: Plan,
    changes: list[Change],
    judged: list[dict[str, Any]],
    weight: dict[str, Any] | None,
) -> None:
    from dataclasses import asdict

    from eval.significance import LEVEL

    if console.json:
        steps = [asdict(step) for step in todo.steps]
        done = [change.to_json() for change in changes]
        console.result({"plan": steps, "applied": bool(changes), "changes": done, "weight": weight, "judged": judged})
        return
    if not changes and weight is None:
        console.say("Nothing was changed: no finding of these kinds can be fixed without you.")
    for change in changes:
        console.say(f"{change.kind}: {change.does}", bold=True)
        console.say(f"  flags     {change.n_flags_before:,} → {change.n_flags_after:,}")
        console.say(f"  chunks    {change.n_chunks_before:,} → {change.n_chunks_after:,}")
        if change.found:
            console.say(f"  a held-out sentence finds its half among the first 5: {_difference(change.found)}")
        if not change.is_better:
            console.say(f"  That is no improvement. limpid fix --undo {change.kind} brings the former state back.")
    if weight:
        console.say(f"Weight of the dense leg: {weight['before']:.2f} → {weight['after']:.2f}", bold=True)
        console.say("  limpid tune --reset brings the usual weight back.")
    if judged:
        console.say(f"Judged queries: {judged[0]['n']}", bold=True)
    _show_judged(console, judged)
    if judged and not any(row["p"] < LEVEL and row["difference"]["mean"] > 0 for row in judged):
        console.say("  None of these is a sure gain. limpid fix --undo brings the former state back.")


def _show_judged(console: Console, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        console.say(f"  {row['mode']:<8} {row['metric']:<18} {_difference(row)}")


def _difference(row: Any) -> str:
    by = row["difference"]
    return (
        f"{row['before']:.3f} → {row['after']:.3f} ({by['mean']:+.3f} [{by['low']:+.3f}, {by['high']:+.3f}], "
        f"p = {row['p']:.4f})"
    )

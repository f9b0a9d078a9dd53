"""`limpid report`: where retrieval on this corpus fails, and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.commands.evaluate import score
from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.opening import open_for
from core.errors import InputError


def report(
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    queries: Annotated[Path | None, typer.Option("--queries", help="queries.jsonl, to score as well.")] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Judgements of these queries.")] = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="Write every chunk's scores to this jsonl.")] = None,
    toward: Annotated[
        list[str] | None, typer.Option("--toward", metavar="EXAMPLE", help="Colour the map by an axis: its one side.")
    ] = None,
    away: Annotated[list[str] | None, typer.Option("--away", metavar="EXAMPLE", help="The axis' other side.")] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say where retrieval on this corpus fails, why, how sure that is, and what to do."""
    from api.commands.space import located
    from api.reporting import write_report
    from search.space.axis import ConceptAxis

    if (queries is None) != (qrels is None):
        raise InputError("Give --queries and --qrels together: queries are scored against judgements.")
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    with open_for(settings, console) as opened:
        scored = score(opened, settings, console, queries, qrels) if queries and qrels else None
        concept = ConceptAxis(opened, located(toward or []), located(away or [])) if toward or away else None
        made = write_report(opened, settings, console, out, scored, scores, concept)
    if as_json:
        console.result(made)
    console.say(made["verdict"])
    console.say(f"{len(made['flags'])} flags; the report is in {out}")

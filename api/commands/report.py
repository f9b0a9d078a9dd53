"""`limpid report`: where retrieval on this corpus fails, and what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.failures import DONE_WITH_FAILURES
from api.judging import describe, score
from api.opening import open_for
from core.errors import InputError

if TYPE_CHECKING:
    from core.index import Index
    from core.settings import Settings
    from eval.diagnose import Diagnosis
    from eval.judged import Evaluation

CHANGES_SHOWN = 3  # findings of each sort on the terminal; the report has all


def report(
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    queries: Annotated[
        Path | None, typer.Option("--queries", help="queries.jsonl: shown on the map, scored where they are judged.")
    ] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Judgements of these queries.")] = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="Write every chunk's scores to this jsonl.")] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option("--fail-on", metavar="KIND[=N]", help="Exit with 1 above N sure findings, 0 by default; or any."),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="OLD.json", help="Say what changed since that report.")
    ] = None,
    unit: Annotated[str, typer.Option("--map", help="What the map shows: chunks or documents.")] = "chunks",
    method: Annotated[str, typer.Option("--map-method", help="tsne, or umap (pip install 'limpid[umap]').")] = "tsne",
    colour: Annotated[
        str | None,
        typer.Option("--colour", metavar="FIELD", help="First colours: source, topic, finding, place or metadata."),
    ] = None,
    toward: Annotated[
        list[str] | None, typer.Option("--toward", metavar="EXAMPLE", help="Colour the map by an axis: its one side.")
    ] = None,
    away: Annotated[list[str] | None, typer.Option("--away", metavar="EXAMPLE", help="The axis' other side.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of reports and do nothing.")] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say where retrieval on this corpus fails, why, how sure that is, and what to do."""
    from api.commands.space import located
    from api.jobs.report import about
    from api.jobs.report_parts import keep_made
    from api.reporting import Wishes, diagnose_index, read_queries, write_report
    from eval.compare import load_report
    from eval.gate import parse_gates
    from eval.map import UNITS
    from eval.report import read_schema
    from eval.trec import load_queries
    from search.space.axis import ConceptAxis

    if schema:
        typer.echo(json.dumps(read_schema(), ensure_ascii=False, indent=2))
        return
    if qrels and not queries:
        raise InputError("Give --queries with --qrels: judgements hold no texts.")
    if unit not in UNITS:
        raise InputError(f"--map {unit}: unknown. Use {' or '.join(UNITS)}.")
    gates = parse_gates(fail_on or [])
    old = load_report(compare) if compare else None
    texts = load_queries(queries) if queries else None
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    with open_for(settings, console) as opened:
        concept = ConceptAxis(opened, located(toward or []), located(away or [])) if toward or away else None
        Wishes(method=method, colour=colour, concept=concept).check(opened)
        reading = about(opened)
        asked = read_queries(opened, settings, console, texts) if texts else None
        diagnosis = diagnose_index(opened, settings, console, asked)
        scored = _score(opened, settings, console, diagnosis, queries, qrels)
        described = describe(opened, settings, console, queries) if queries and not qrels else None
        wishes = Wishes(unit, method, colour, concept, texts, described, gates, old, scores)
        made = write_report(opened, settings, console, out, diagnosis, scored, wishes)
        if reason := keep_made(settings, reading, made, out, diagnosis):
            console.note(f"A server won't show this report: {reason}")
    console.result(made) if as_json else _print(console, made, out)
    if made["gate"] and not made["gate"]["passed"]:
        raise typer.Exit(DONE_WITH_FAILURES)


def _score(
    opened: Index,
    settings: Settings,
    console: Console,
    diagnosis: Diagnosis,
    queries: Path | None,
    qrels: Path | None,
) -> Evaluation | None:
    if not queries or not qrels:
        return None
    muddy = {row["chunk_id"]: row["muddy"] for row in diagnosis.scores if "muddy" in row}
    return score(opened, settings, console, queries, qrels, muddy=muddy)


def _print(console: Console, made: dict[str, Any], out: Path) -> None:
    console.say(made["verdict"], bold=True)
    for step in made["steps"]:
        commands = f" [{', '.join(step['commands'])}]" if step["commands"] else ""
        console.say(f"  {step['cause']}: {step['action']}{commands}")
    if made["comparison"]:
        _print_comparison(console, made["comparison"])
    for limit in (made["gate"] or {"limits": []})["limits"]:
        passed = "holds" if limit["passed"] else "fails"
        console.say(
            f"--fail-on {limit['kind']}={limit['limit']} {passed}: {limit['count']} sure",
            fg="green" if limit["passed"] else "red",
        )
    console.say(f"{len(made['flags'])} findings; the report is in {out}")


def _print_comparison(console: Console, comparison: dict[str, Any]) -> None:
    console.say(f"Since the earlier report: {comparison['verdict']}")
    for warning in comparison["warnings"]:
        console.say(f"  {warning['text']}", fg="yellow")
    for sign, findings in (("+", comparison["new"]), ("−", comparison["gone"])):
        for finding in findings[:CHANGES_SHOWN]:
            console.say(f"  {sign} {finding['kind']}: {finding['name']}")
        if len(findings) > CHANGES_SHOWN:
            console.say(f"  {sign} {len(findings) - CHANGES_SHOWN} more")
    for row in comparison["judged"]:
        if row["metric"] == comparison["judged"][0]["metric"]:
            sure = "sure" if row["sure"] else "not sure"
            means = f"{row['old']['mean']:.3f} → {row['new']['mean']:.3f}"
            console.say(f"  {row['mode']} {row['metric']} {means} ({row['difference']:+.3f}, {sure})")

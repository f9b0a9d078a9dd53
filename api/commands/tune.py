"""Setting the fusion weight for this corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.opening import open_for, retriever
from core.errors import InputError

if TYPE_CHECKING:
    from api.tuning import Tuned
    from search.tuning import Tuning

N_EXPLAINED = 8


def tune(
    queries: Annotated[
        Path | None, typer.Option("--queries", help="queries.jsonl of real queries; 50 are enough, 5 help.")
    ] = None,
    qrels: Annotated[
        Path | None, typer.Option("--qrels", help="Judgements of these queries, if there are any.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what speaks for this weight.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Find the weight; don't keep it.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Forget what was found; search is as before.")] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Set how much meaning and words count for this corpus; no judgements are needed.

    Searches use what was found from then on. Without --queries it is found from the query log, where one is kept
    (LIMPID_QUERY_LOG); without either the weight is the one that is best on average.
    """
    from api.tuning import find_weight, keep

    if qrels and not queries:
        raise InputError("--qrels judges queries; give them too: --queries queries.jsonl.")
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    with open_for(settings, console) as opened:
        if reset:
            keep(opened, None)
            if as_json:
                console.result({"alpha": None})
            console.say("Forgotten: searches use the usual weight again.")
            return
        search = retriever(opened, settings, console.note)
        found = find_weight(opened, search, settings, console, queries, qrels)
        if not dry_run:
            keep(opened, found.tuning)
    _show(console, found, explain, dry_run)


def _show(console: Console, found: Tuned, explain: bool, dry_run: bool) -> None:
    from api.tuning import explained

    tuning = found.tuning
    reasons = explained(tuning)[:N_EXPLAINED] if explain else []
    if console.json:
        answer = found.to_json()
        if explain:
            answer["explain"] = [{"feature": name, "mean": mean, "pull": pull} for name, mean, pull in reasons]
        console.result(answer)
        return
    console.say(f"Weight of the dense leg: {tuning.alpha:.2f} {_basis(tuning)}", bold=True)
    _show_verdict(console, found)
    for name, mean, pull in reasons:
        console.say(f"  {'meaning' if pull > 0 else 'words':<8} {abs(pull):.3f}   {name} = {mean:.2f}")
    if dry_run:
        console.say("Nothing was kept (--dry-run).")


def _basis(tuning: Tuning) -> str:
    if tuning.basis == "prior":
        return "as on other corpora: give --queries, or keep a query log, to learn more about this one"
    low, high = tuning.interval
    found_from = {"query log": "logged queries", "judgements": "judged queries"}.get(tuning.basis, "queries")
    return f"[{low:.2f}, {high:.2f}], from {tuning.n_queries} {found_from}"


def _show_verdict(console: Console, found: Tuned) -> None:
    if verdict := found.verdict:
        gain = f"{verdict.gain:+.4f} [{verdict.low:+.4f}, {verdict.high:+.4f}] nDCG@10"
        if verdict.is_sure:
            console.say(
                f"The judgements favour it over {verdict.beside:.2f}: {gain}, on queries that didn't choose it."
            )
        else:
            needed = "none is in sight"
            if verdict.n_needed:
                needed = f"about {verdict.n_needed:,} judged queries would show it"
            console.say(f"The judgements favour {verdict.alpha:.2f} over {verdict.beside:.2f}: {gain}.")
            console.say(f"That is no sure gain, {needed}. The weight that the queries alone lead to stays.")
    if found.gain:
        mean, low, high = found.gain
        decided = "on" if found.tuning.rerank else "off"
        console.say(f"Reranking: {mean:+.4f} [{low:+.4f}, {high:+.4f}] nDCG@10; it is {decided} from now on.")

"""Searching: one query for people or programs, a file of queries as a TREC run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.opening import open_for, retriever
from api.ranking import rank_all
from api.served import find_server
from core.errors import IndexLocked, InputError

ModeOption = Annotated[str, typer.Option("--mode", help="hybrid, dense or sparse.")]
FusionOption = Annotated[str, typer.Option("--fusion", help="convex, rrf or dbsf: how hybrid joins both legs.")]
PassageOption = Annotated[
    str, typer.Option("--passage", help="What a hit returns: chunk, sentences (those that answer) or section.")
]
FilterOption = Annotated[
    str | None, typer.Option("--filter", metavar="EXPR", help="""Such as: 'lang = "en" and year >= 2020'.""")
]


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    mode: ModeOption = "hybrid",
    fusion: FusionOption = "convex",
    where: FilterOption = None,
    passage: PassageOption = "chunk",
    explain: Annotated[bool, typer.Option("--explain", help="Show what each leg gave every hit.")] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the passages that answer a query."""
    from search.results import results_json

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    is_explained = explain or not as_json  # a line about the legs is shown to people in any case
    try:
        with open_for(settings, console) as opened:
            found = retriever(opened, settings).search(query, k, mode, fusion, where, is_explained, passage)
            answer = results_json(found, explain=is_explained)
    except IndexLocked:
        body = {
            "query": query, "k": k, "mode": mode, "fusion": fusion, "filter": where, "explain": is_explained,
            "passage": passage,
        }  # fmt: skip
        with find_server(settings) as server:
            answer = server.search(body)
    if as_json:
        console.result(answer)
    else:
        _print_hits(console, answer, explain, is_whole=passage != "chunk")


def run_queries(
    queries: Annotated[Path, typer.Option("--queries", help="queries.jsonl with _id and text.")],
    out: Annotated[Path, typer.Option("--out", help="The TREC run file to write.")],
    k: Annotated[int, typer.Option("-k", help="Documents for each query.")] = 100,
    mode: ModeOption = "hybrid",
    fusion: FusionOption = "convex",
    where: FilterOption = None,
    group: Annotated[str, typer.Option("--group", help="document: a document scores as its best chunk.")] = "document",
    exclude_self: Annotated[bool, typer.Option("--exclude-self", help="Drop a hit whose id is the query's.")] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Answer a file of queries and write a TREC run of document ids."""
    from eval.trec import load_queries, write_run

    if group != "document":
        raise InputError(f"Unknown group {group!r}; a run holds documents.")
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    texts = load_queries(queries)
    with open_for(settings, console) as opened:
        ranked = rank_all(
            retriever(opened, settings), texts, console, k=k, mode=mode, fusion=fusion, where=where,
            exclude_self=exclude_self,
        )  # fmt: skip
    write_run(out, ranked)
    n_results = sum(map(len, ranked.values()))
    if as_json:
        console.result({"queries": len(texts), "results": n_results, "out": str(out)})
    console.say(f"Wrote {n_results:,} results for {len(texts):,} queries to {out}")


def _print_hits(console: Console, answer: dict, explain: bool, is_whole: bool) -> None:
    """Each hit with its best sentence, or with its whole passage."""
    for note in answer.get("notes", ()):
        console.note(note)
    if not answer["hits"]:
        console.say("Nothing found. Try fewer or other words, or drop the filter.")
    for hit in answer["hits"]:
        place = " › ".join([hit["title"], *(heading for heading in hit["headings"] if heading != hit["title"])])
        page = f", {hit['place']}" if hit["place"] else ""
        copies = f" (and in {len(hit['also_in'])} other documents)" if hit["also_in"] else ""
        console.say(f"{hit['rank']:>2}. {place or hit['document_id']}{page}{copies}", bold=True)
        best = hit["best_sentence"]["text"] if hit["best_sentence"] else hit["text"][:300]
        console.say("    " + " ".join((hit["text"] if is_whole else best).split()))
        console.say(f"    {hit['uri']}  ·  {hit['score']:.3f}  ·  {_legs_line(hit)}", dim=True)
        if explain:
            terms = ", ".join(hit["explain"]["matched_terms"]) or "none"
            console.say(f"    terms found: {terms}", dim=True)


def _legs_line(hit: dict) -> str:
    parts = []
    for name, leg in hit["legs"].items():
        rank = f"#{leg['rank']}" if leg["rank"] else "no term"
        found = "" if leg["found"] else ", looked up"
        parts.append(f"{name} {rank} ({leg['score']:.3f}{found})")
    return ", ".join(parts)

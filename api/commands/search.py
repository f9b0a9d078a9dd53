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
FusionOption = Annotated[
    str | None,
    typer.Option(
        "--fusion",
        help="How hybrid joins both legs: convex, tm2c2, rrf, dbsf, zscore or tuned. [tuned after limpid tune]",
    ),
]
PassageOption = Annotated[
    str, typer.Option("--passage", help="What a hit returns: chunk, sentences (those that answer) or section.")
]
FilterOption = Annotated[
    str | None, typer.Option("--filter", metavar="EXPR", help="""Such as: 'lang = "en" and year >= 2020'.""")
]
RerankOption = Annotated[
    bool | None,
    typer.Option("--rerank/--no-rerank", help="Have a cross-encoder read the best hits. [where tuning found a gain]"),
]


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    mode: ModeOption = "hybrid",
    fusion: FusionOption = None,
    where: FilterOption = None,
    passage: PassageOption = "chunk",
    neighbours: Annotated[int, typer.Option("--neighbours", help="Chunks to add on either side of a hit's.")] = 0,
    group: Annotated[str | None, typer.Option("--group", help="document: few hits of each document.")] = None,
    per_document: Annotated[int, typer.Option("--per-document", help="How few, with --group document.")] = 1,
    diversity: Annotated[float, typer.Option("--diversity", help="0 to 1: fewer hits that say the same.")] = 0.0,
    offset: Annotated[int, typer.Option("--offset", help="Hits to leave out at the start: the pages before.")] = 0,
    rerank: RerankOption = None,
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
    wanted = {
        "k": k, "mode": mode, "fusion": fusion, "explain": is_explained, "passage": passage, "neighbours": neighbours,
        "group": group, "per_document": per_document, "diversity": diversity, "offset": offset, "rerank": rerank,
    }  # fmt: skip
    try:
        with open_for(settings, console) as opened:
            search = retriever(opened, settings, console.note, rerank=rerank, is_logged=True)
            found = search.search(query, where=where, **wanted)
            answer = results_json(found, explain=is_explained)
    except IndexLocked:
        with find_server(settings) as server:
            answer = server.search({"query": query, "filter": where, **wanted})
    if as_json:
        console.result(answer)
    else:
        _print_hits(console, answer, explain, is_whole=passage != "chunk" or neighbours > 0)


def run_queries(
    queries: Annotated[Path, typer.Option("--queries", help="queries.jsonl with _id and text.")],
    out: Annotated[Path, typer.Option("--out", help="The TREC run file to write.")],
    k: Annotated[int, typer.Option("-k", help="Documents for each query.")] = 100,
    mode: ModeOption = "hybrid",
    fusion: FusionOption = None,
    where: FilterOption = None,
    group: Annotated[str, typer.Option("--group", help="document: a document scores as its best chunk.")] = "document",
    exclude_self: Annotated[bool, typer.Option("--exclude-self", help="Drop a hit whose id is the query's.")] = False,
    rerank: RerankOption = None,
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
            retriever(opened, settings, console.note, rerank=rerank), texts, console, k=k, mode=mode, fusion=fusion,
            where=where, rerank=rerank, exclude_self=exclude_self,
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
        more = f" (+{hit['n_more']} more of this document)" if hit.get("n_more") else ""
        console.say(f"{hit['rank']:>2}. {place or hit['document_id']}{page}{copies}{more}", bold=True)
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
    if read := hit.get("rerank"):
        parts.append(f"reranked from #{read['rank_before']} ({read['score']:.3f})")
    return ", ".join(parts)

"""The command line. Each command reads its flags, calls one package, prints; the packages do the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.console import (
    CollectionOption,
    Console,
    IndexOption,
    JsonOption,
    ModelOption,
    QuietOption,
    lock_explained,
    run,
    settings_from,
)
from api.failures import DONE_WITH_FAILURES, INTERRUPTED
from core.errors import IndexLocked, InputError

if TYPE_CHECKING:
    from core.index import Index
    from core.settings import Settings
    from search.retriever import Retriever

app = typer.Typer(
    name="limpid",
    help="A retrieval-augmented search engine that can see what is wrong with its own retrieval.",
    epilog="First steps: limpid demo, or: limpid ingest docs/ && limpid search 'your question' && limpid report",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
DEMO_FOLDER = "./.limpid-demo"
SHOWN_FAILURES = 20  # the rest is counted; --json lists all

ModeOption = Annotated[str, typer.Option("--mode", help="hybrid, dense or sparse.")]
FusionOption = Annotated[str, typer.Option("--fusion", help="convex, rrf or dbsf: how hybrid joins both legs.")]
FilterOption = Annotated[
    str | None, typer.Option("--filter", metavar="EXPR", help="""Such as: 'lang = "en" and year >= 2020'.""")
]


def main() -> None:
    """Entry point of the command `limpid`."""
    run(app, sys.argv[1:])


def _open(settings: Settings, console: Console, *, create: bool = False) -> Index:
    from core.index import open_index

    with lock_explained(settings):
        return open_index(settings, create=create, notify=console.note)


def _retriever(index: Index, settings: Settings) -> Retriever:
    from search.retriever import Retriever

    return Retriever(index, settings.candidates, settings.dense_weight)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Where the quality report is written.")] = Path("report.html"),
    index: Annotated[str, typer.Option("--index", metavar="DIR", help="Folder for corpus and index.")] = DEMO_FOLDER,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Try everything on a real corpus: the language reference that every CPython carries."""
    from api.demo import run_demo

    settings = settings_from(index=index)
    if settings.is_server:
        raise InputError(f"The demo makes its index in a folder, not on {index}. Give a folder, or no --index at all.")
    run_demo(settings, Console(as_json, quiet), out)


@app.command()
def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files, folders, globs, corpus.jsonl, or -")],
    prune: Annotated[bool, typer.Option("--prune", help="Also remove what has vanished from these paths.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    chunk_tokens: Annotated[int | None, typer.Option(help="Largest chunk in encoder tokens. [200]")] = None,
    language: Annotated[str | None, typer.Option(help="Language of BM25's stemmer. [english]")] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring the index in step with files and folders: only what changed is read, embedded and written.

    Text, Markdown, HTML, PDF, and corpus.jsonl in BEIR form (_id, title, text, optional metadata); `-` reads a list
    of paths from stdin. Interrupt it at any time: the same command goes on where it stopped.
    """
    from ingest.sources import discover, read_paths

    console = Console(as_json, quiet)
    settings = settings_from(
        index=index, collection=collection, model=model, chunk_tokens=chunk_tokens, language=language
    )
    named = [path for name in paths for path in (read_paths(sys.stdin) if name == "-" else [name])]
    sources = discover(named, int(settings.max_document_mb * 2**20))
    summary = _plan(settings, console, sources, prune) if dry_run else _ingest(settings, console, sources, prune)
    if as_json:
        console.result(summary.to_json())
    else:
        _print_summary(console, summary)
    raise typer.Exit(DONE_WITH_FAILURES if summary.failures else 0)


def _plan(settings: Settings, console: Console, sources: Any, prune: bool) -> Any:
    from core.errors import NotFound
    from core.index import open_records
    from ingest.pipeline import known_records, plan

    try:
        with lock_explained(settings):
            known = known_records(open_records(settings))
    except NotFound:
        known = {}
    return plan(known, sources, prune)


def _ingest(settings: Settings, console: Console, sources: Any, prune: bool) -> Any:
    from api.loading import ingest_shown

    with _open(settings, console, create=True) as opened:
        try:
            return ingest_shown(opened, settings, console, sources, prune)
        except KeyboardInterrupt:
            typer.secho(
                "Interrupted. Whole documents indexed so far are kept and the index answers; "
                "run the same command again to go on.",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None


def _print_summary(console: Console, summary: Any) -> None:
    for failure in summary.failures[:SHOWN_FAILURES]:
        typer.secho(f"failed: {failure.uri}: {failure.reason}", err=True, fg="yellow")
    if len(summary.failures) > SHOWN_FAILURES:
        typer.secho(f"… and {len(summary.failures) - SHOWN_FAILURES} more failures (see --json)", err=True, fg="yellow")
    for reason, count in sorted(summary.skipped.items()):
        console.note(f"skipped: {count} × {reason}")
    console.say(str(summary))


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="What to look for, in plain words.")],
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    mode: ModeOption = "hybrid",
    fusion: FusionOption = "convex",
    where: FilterOption = None,
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
    try:
        with _open(settings, console) as opened:
            found = _retriever(opened, settings).search(query, k, mode, fusion, where, explain or not as_json)
            answer = results_json(found, explain=explain or not as_json)
    except IndexLocked:
        body = {"query": query, "k": k, "mode": mode, "fusion": fusion, "filter": where, "explain": explain}
        answer = _ask_server(settings, body | {"explain": explain or not as_json})
    if as_json:
        console.result(answer)
    else:
        _print_hits(console, answer, explain)


def _ask_server(settings: Settings, body: dict) -> dict:
    """The answer of the `limpid serve` that holds the index; raises `IndexLocked` where none does."""
    import httpx

    from api.holder import read_holder

    holder = read_holder(settings.index)
    if holder is None:
        raise IndexLocked(f"The index {settings.index} is open in another process. Wait for it, or stop it.")
    keys = settings.api_keys.get_secret_value().split(",") if settings.api_keys else []
    headers = {"Authorization": f"Bearer {keys[0].strip()}"} if keys else {}
    try:
        answer = httpx.post(f"{holder.url}/v1/search", json=body, headers=headers, timeout=30, trust_env=False)
    except httpx.HTTPError as error:
        raise IndexLocked(f"The server at {holder.url} holds the index but doesn't answer ({error}).") from None
    if answer.status_code == httpx.codes.OK:
        return answer.json()
    detail = answer.json().get("detail", answer.reason_phrase)
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise InputError(f"The server at {holder.url} wants a key: set LIMPID_API_KEYS. ({detail})")
    raise InputError(str(detail))


def _print_hits(console: Console, answer: dict, explain: bool) -> None:
    for note in answer.get("notes", ()):
        console.note(note)
    if not answer["hits"]:
        console.say("Nothing found. Try fewer or other words, or drop the filter.")
    for hit in answer["hits"]:
        place = " › ".join([hit["title"], *(heading for heading in hit["headings"] if heading != hit["title"])])
        page = f", page {hit['page']}" if hit["page"] else ""
        console.say(f"{hit['rank']:>2}. {place or hit['document_id']}{page}", bold=True)
        best = hit["best_sentence"]["text"] if hit["best_sentence"] else hit["text"][:300]
        console.say("    " + " ".join(best.split()))
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


@app.command("run")
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
    with _open(settings, console) as opened:
        ranked = _rank_all(
            _retriever(opened, settings), texts, console, k=k, mode=mode, fusion=fusion, where=where,
            exclude_self=exclude_self,
        )  # fmt: skip
    write_run(out, ranked)
    n_results = sum(map(len, ranked.values()))
    if as_json:
        console.result({"queries": len(texts), "results": n_results, "out": str(out)})
    console.say(f"Wrote {n_results:,} results for {len(texts):,} queries to {out}")


def _rank_all(
    retriever: Retriever, texts: dict[str, str], console: Console, *, k: int, exclude_self: bool = False, **how: Any
) -> dict[str, list[tuple[str, float]]]:
    ranked = {}
    with console.progress("searching", len(texts)) as advance:
        for done, (query_id, text) in enumerate(texts.items(), start=1):
            found = retriever.rank_documents(text, k + exclude_self, **how)
            ranked[query_id] = [hit for hit in found if not (exclude_self and hit[0] == query_id)][:k]
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    return ranked


@app.command()
def evaluate(
    queries: Annotated[Path, typer.Option("--queries", help="queries.jsonl with _id and text.")],
    qrels: Annotated[Path, typer.Option("--qrels", help="Judgements: BEIR tsv or TREC qrels.")],
    mode: Annotated[
        list[str] | None, typer.Option("--mode", help="hybrid, dense, sparse; repeatable. [all three]")
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option("--compare", help="Another fusion for hybrid (rrf, dbsf); repeatable.")
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
    with _open(settings, console) as opened:
        scored = _evaluate(opened, settings, console, queries, qrels, mode, compare, metric, k, exclude_self)
    if as_json:
        console.result(scored.to_json())
    else:
        _print_evaluation(console, scored)


def _evaluate(
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
    from eval.judged import DEFAULT_METRICS, evaluate
    from eval.trec import load_qrels, load_queries

    texts, judged = load_queries(queries), load_qrels(qrels)
    asked = {query_id: text for query_id, text in texts.items() if query_id in judged}
    retriever = _retriever(opened, settings)
    runs = {}
    for name in modes or ["hybrid", "dense", "sparse"]:
        runs[name] = _rank_all(retriever, asked, console, k=k, mode=name, exclude_self=exclude_self)
    for name in fusions or []:
        runs[f"hybrid:{name}"] = _rank_all(
            retriever, asked, console, k=k, mode="hybrid", fusion=name, exclude_self=exclude_self
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


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("report.html"),
    queries: Annotated[Path | None, typer.Option("--queries", help="queries.jsonl, to score as well.")] = None,
    qrels: Annotated[Path | None, typer.Option("--qrels", help="Judgements of these queries.")] = None,
    scores: Annotated[Path | None, typer.Option("--scores", help="Write every chunk's scores to this jsonl.")] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say where retrieval on this corpus fails, why, how sure that is, and what to do."""
    from api.quality import write_report

    if (queries is None) != (qrels is None):
        raise InputError("Give --queries and --qrels together: queries are scored against judgements.")
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    with _open(settings, console) as opened:
        scored = _evaluate(opened, settings, console, queries, qrels) if queries and qrels else None
        made = write_report(opened, settings, console, out, scored, scores)
    if as_json:
        console.result(made)
    console.say(made["verdict"])
    console.say(f"{len(made['flags'])} flags; the report is in {out}")


@app.command()
def status(
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what an index holds and how it was made."""
    from core.index import describe

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection)
    with lock_explained(settings):
        described = describe(settings)
    if as_json:
        console.result(described)
        return
    for name, value in described.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())  # noqa: PLW2901
        console.say(f"{name:<12} {value}")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 takes a free one. [8000]")] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve search over HTTP, with a search page at /."""
    from api.server import run_server

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model, host=host, port=port)
    with _open(settings, console) as opened:
        run_server(opened, settings, console)


if __name__ == "__main__":
    main()

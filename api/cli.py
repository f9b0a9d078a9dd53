"""The command line: every command by its name. What a command does is in `api.commands`."""

from __future__ import annotations

import sys

import typer

from api.commands import (
    compress,
    context,
    demo,
    doctor,
    documents,
    evaluate,
    fix,
    ingest,
    keys,
    mcp,
    reindex,
    report,
    search,
    serve,
    space,
    tune,
)
from api.console import run

app = typer.Typer(
    name="limpid",
    help="A retrieval-augmented search engine that can see what is wrong with its own retrieval.",
    epilog="First steps: limpid demo, or: limpid ingest docs/ && limpid search 'your question' && limpid report",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo.demo)
app.command()(ingest.ingest)
app.command()(search.search)
app.command("run")(search.run_queries)
app.command()(space.similar)
app.command()(space.walk)
app.command()(space.axis)
app.command()(space.analogy)
app.command()(context.context)
app.command("cite-check")(context.cite_check)
app.command()(evaluate.evaluate)
app.command()(report.report)
app.command()(fix.fix)
app.add_typer(documents.app, name="documents")
app.command()(documents.delete)
app.command()(reindex.reindex)
app.command()(compress.compress)
app.command()(tune.tune)
app.command()(serve.status)
app.command()(serve.serve)
app.add_typer(keys.app, name="keys")
app.command()(doctor.doctor)
app.command()(mcp.mcp)


def main() -> None:
    """Entry point of the command `limpid`."""
    run(app, sys.argv[1:])


if __name__ == "__main__":
    main()

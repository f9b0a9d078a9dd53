"""Bringing an index in step with files and folders."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.failures import DONE_WITH_FAILURES, INTERRUPTED
from api.opening import held, open_for
from core.errors import InputError, NotFound

if TYPE_CHECKING:
    from core.settings import Settings
    from ingest.pipeline import Summary
    from ingest.sources import Sources

SHOWN_FAILURES = 20  # the rest is counted; --json lists all


def ingest(
    paths: Annotated[list[str], typer.Argument(metavar="PATH…", help="Files, folders, globs, corpus.jsonl, or -")],
    prune: Annotated[bool, typer.Option("--prune", help="Also remove what has vanished from these paths.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay and follow changes; prunes. Ctrl-C ends it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done; write nothing.")] = False,
    meta: Annotated[
        list[str] | None, typer.Option("--meta", metavar="KEY=VALUE", help="Metadata for every document; repeatable.")
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=NAME", help="What a JSONL field is called, such as id=docno; repeatable."),
    ] = None,
    chunker: Annotated[str | None, typer.Option(help="structure, topic or fixed. [structure]")] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Largest chunk in encoder tokens. [200]")] = None,
    language: Annotated[str | None, typer.Option(help="Language of BM25's stemmer. [english]")] = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Bring the index in step with files and folders: only what changed is read, embedded and written.

    `-` reads a list of paths from stdin. Interrupt it at any time: the same command goes on where it stopped.
    """
    from ingest.sources import read_paths

    if watch and dry_run:
        raise InputError("--watch writes what changes and --dry-run writes nothing: give one of them.")
    console = Console(as_json, quiet)
    settings = settings_from(
        index=index, collection=collection, model=model, chunker=chunker, chunk_tokens=chunk_tokens, language=language
    )
    named = [path for name in paths for path in (read_paths(sys.stdin) if name == "-" else [name])]
    find = _finder(named, settings, fields, meta, may_be_empty=prune)
    if watch:
        from api.watching import follow

        follow(named, settings, console, lambda: _ingest(settings, console, find(), prune=True), _print_summary)
        return
    summary = _plan(settings, find(), prune) if dry_run else _ingest(settings, console, find(), prune)
    _print_summary(console, summary)
    raise typer.Exit(DONE_WITH_FAILURES if summary.failures else 0)


def _finder(
    paths: list[str], settings: Settings, fields: list[str] | None, meta: list[str] | None, *, may_be_empty: bool
) -> Callable[[], Sources]:
    """Finds the sources under the paths, anew each time it is called. Raises `InputError` for unusable options."""
    from api.loading import archive_limits, document_bytes
    from ingest.sources import discover
    from ingest.sources.mapping import parse_mapping
    from ingest.sources.metadata import parse_metadata

    size, limits = document_bytes(settings), archive_limits(settings)
    mapping, metadata = parse_mapping(fields or []), parse_metadata(meta or [])
    return lambda: discover(
        paths,
        size,
        archive_limits=limits,
        fields=mapping,
        metadata=metadata,
        may_be_empty=may_be_empty,
    )


def _plan(settings: Settings, sources: Sources, prune: bool) -> Summary:
    from core.index import open_records
    from ingest.pipeline import known_documents, plan

    try:
        known = known_documents(held(settings, lambda: open_records(settings)))
    except NotFound:
        known = {}
    return plan(known, sources, settings, prune)


def _ingest(settings: Settings, console: Console, sources: Sources, prune: bool) -> Summary:
    from api.loading import ingest_shown

    with open_for(settings, console, create=True) as opened:
        try:
            return ingest_shown(opened, settings, console, sources, prune)
        except KeyboardInterrupt:
            typer.secho(
                "Interrupted. Whole documents indexed so far are kept and the index answers; "
                "run the same command again to go on.",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None


def _print_summary(console: Console, summary: Summary) -> None:
    if console.json:
        console.result(summary.to_json())
        return
    for failure in summary.failures[:SHOWN_FAILURES]:
        typer.secho(f"failed: {failure.uri}: {failure.reason}", err=True, fg="yellow")
    if len(summary.failures) > SHOWN_FAILURES:
        typer.secho(f"… and {len(summary.failures) - SHOWN_FAILURES} more failures (see --json)", err=True, fg="yellow")
    for reason, count in sorted(summary.skipped.items()):
        console.note(f"skipped: {count} × {reason}")
    console.say(str(summary))

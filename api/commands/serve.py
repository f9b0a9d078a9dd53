"""Serving an index, and saying what it holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.opening import held, open_for
from api.served import find_server
from core.errors import IndexLocked

if TYPE_CHECKING:
    from core.settings import Settings


def serve(
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 takes a free one. [8000]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Listen publicly although there are no keys.")] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Make an empty index where there is none, to be filled by uploads.")
    ] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Serve search over HTTP, with web pages at /."""
    from api.server import run_server

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model, host=host, port=port)
    with open_for(settings, console, create=create) as opened:
        run_server(opened, settings, console, is_forced=force)


def status(
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what an index holds and how it was made."""
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection)
    described = _described(settings)
    if as_json:
        console.result(described)
        return
    for name, value in described.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {inner}" for key, inner in value.items())  # noqa: PLW2901
        console.say(f"{name:<12} {value}")


def _described(settings: Settings) -> dict:
    from core.index import describe, describe_next

    try:
        return held(settings, lambda: describe(settings))
    except IndexLocked:
        with find_server(settings) as server:
            described = server.status()
        return {"index": settings.index, **described, "reindex": describe_next(settings, described["generation"] + 1)}

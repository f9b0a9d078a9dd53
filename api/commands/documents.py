"""What an index holds, document by document: list, read back, delete."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, QuietOption, settings_from
from api.opening import held, open_for
from api.served import find_server
from core.errors import IndexLocked, NotFound

if TYPE_CHECKING:
    from core.settings import Settings
    from core.store import Store

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@app.callback()
def documents(
    context: typer.Context,
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the documents of an index, in the order of their ids; `show` reads one of them back."""
    if context.invoked_subcommand:
        return
    from api.described import list_documents

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection)
    try:
        listed = _read(settings, list_documents)
    except IndexLocked:
        with find_server(settings) as server:
            listed = server.documents()
    if as_json:
        console.result({"documents": listed, "total": len(listed)})
        return
    for found in listed:
        where = "" if found["uri"] == found["id"] else f"  ({_line(found['uri'])})"
        console.say(f"{found['n_chunks']:>6,} chunks  {_line(found['title'])}  {_line(found['id'])}{where}")
    console.say(f"{len(listed):,} documents")


@app.command()
def show(
    document: Annotated[str, typer.Argument(metavar="ID", help="A document's id, or the path of an ingested file.")],
    chunks: Annotated[bool, typer.Option("--chunks", help="List its chunks instead of its text.")] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Print a document's text exactly as it was extracted: `text[start:end]` of a hit is found in it.

    The id is the source's address, such as file:///notes/a.md, or the `_id` of a BEIR line.
    """
    from api.described import read_document

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection)
    found = _first(settings, _names(document), lambda store, name: read_document(store, name, chunks=chunks), chunks)
    if as_json:
        console.result(found)
    elif chunks:
        for chunk in found["chunks"]:
            headings = " › ".join(chunk["headings"])
            place = ", ".join(part for part in (chunk["place"], _line(headings)) if part)
            console.say(f"{chunk['start']:>8}–{chunk['end']:<8} {chunk['chunk_id']}  {place}")
            console.say(f"         {_line(chunk['text'][:100])}", dim=True)
    else:
        sys.stdout.write(found["text"] + ("\n" if sys.stdout.isatty() else ""))


def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Documents' ids, or paths of ingested files.")],
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Remove documents from the index. If one of them isn't there, nothing is removed.

    The sources stay as they are: what still lies in an ingested folder comes back with the next ingest.
    """
    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection)
    try:
        deleted = _delete(settings, console, ids)
    except IndexLocked:
        with find_server(settings) as server:
            deleted = _chosen(ids, {found["id"] for found in server.documents()}.__contains__)
            for key in deleted:
                server.delete(key)
    if as_json:
        console.result({"deleted": deleted})
    console.say(f"Deleted: {len(deleted):,} documents")


_HINT = "`limpid documents` lists them."


def _delete(settings: Settings, console: Console, ids: list[str]) -> list[str]:
    from api.loading import progress_shown
    from ingest.pipeline import remove

    with open_for(settings, console) as opened:
        wanted = _chosen(ids, lambda key: _is_there(opened.store, key))
        with progress_shown(console) as show_progress:
            remove(opened, wanted, settings, show_progress)
    return wanted


def _chosen(ids: list[str], is_there: Callable[[str], bool]) -> list[str]:
    """The documents that are meant, each once. Raises `NotFound` unless all are there."""
    found = {name: next(filter(is_there, _names(name)), None) for name in ids}
    missing = [name for name, key in found.items() if key is None]
    if missing:
        raise NotFound(f"There is no document {', '.join(map(repr, missing))}; nothing was deleted. {_HINT}")
    return list(dict.fromkeys(key for key in found.values() if key))


def _names(given: str) -> list[str]:
    """The ids that an argument may stand for: itself, and the address of the file of this path."""
    from ingest.sources.addresses import file_uri

    return [given] if "\0" in given else [given, file_uri(os.path.abspath(given))]


def _line(text: str) -> str:
    """Text on one line, control characters escaped: an id may hold any."""
    return json.dumps(" ".join(text.split(" ")), ensure_ascii=False)[1:-1].replace('\\"', '"').replace("\\\\", "\\")


def _is_there(store: Store, document_id: str) -> bool:
    record = store.record(document_id)
    return record is not None and bool(record.generation)


def _read(settings: Settings, read):
    from core.index import open_current_store

    def look():
        with open_current_store(settings) as (_, store, _):
            return read(store)

    return held(settings, look)


def _first(settings: Settings, names: list[str], read, chunks: bool) -> dict:
    """The document by the first name that it has. Raises `NotFound` where it has none of them."""

    def ask(store: Store) -> dict | None:
        return next(filter(None, (read(store, name) for name in names)), None)

    try:
        found = _read(settings, ask)
    except IndexLocked:
        with find_server(settings) as server:
            found = None
            for name in names:
                try:
                    found = server.document(name, chunks=chunks)
                    break
                except NotFound:
                    continue
    if found is None:
        raise NotFound(f"There is no document {names[0]!r}. {_HINT}")
    return found

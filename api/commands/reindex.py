"""Making an index anew from its own documents, with other settings."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.failures import INTERRUPTED
from api.opening import held
from api.served import find_server
from core.errors import IndexLocked

if TYPE_CHECKING:
    from core.embed import Embedder
    from core.fingerprint import Fingerprint, Meta
    from core.settings import Settings
    from core.store.generations import Generations
    from ingest.reindex import Rebuilt


def reindex(
    model: ModelOption = None,
    chunker: Annotated[str | None, typer.Option(help="structure, topic or fixed.")] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Largest chunk in encoder tokens.")] = None,
    language: Annotated[str | None, typer.Option(help="Language of BM25's stemmer and stop words.")] = None,
    bm25_k1: Annotated[float | None, typer.Option("--bm25-k1", help="BM25's term-frequency saturation.")] = None,
    bm25_b: Annotated[float | None, typer.Option("--bm25-b", help="BM25's length normalisation.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change; write nothing.")] = False,
    index: IndexOption = None,
    collection: CollectionOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Change the model, the chunker or BM25's settings: build a new generation beside the old one, then switch.

    The texts come from the index itself. Searches are answered by the old generation until the new one is complete.
    Interrupt it at any time: the same command, or one without options, goes on where it stopped.
    """
    from core.compress.embedder import full_encoder
    from core.fingerprint import CHOSEN, fingerprint_of
    from core.index import open_generations, open_model, read_begun

    console = Console(as_json, quiet)
    settings = settings_from(
        index=index, collection=collection, model=model, chunker=chunker, chunk_tokens=chunk_tokens, language=language,
        bm25_k1=bm25_k1, bm25_b=bm25_b,
    )  # fmt: skip
    number, meta = _current(settings)
    current = meta.fingerprint
    with open_generations(settings) as generations:
        unfinished = read_begun(generations, number + 1)
        is_continued = unfinished is not None and not settings.model_fields_set & {"model", *CHOSEN}
        base = unfinished if unfinished and is_continued else meta
        embedder = open_model(settings, base.fingerprint, console.note, base.projection)
        if model is not None or embedder.weights_hash != base.fingerprint.weights:
            embedder = full_encoder(embedder)  # a projection fits the vectors of one model only
        wanted = fingerprint_of(settings, embedder, base.fingerprint)
        changes = current.changes(wanted)
        _announce(console, changes, is_continued=unfinished is not None and wanted == unfinished.fingerprint)
        rebuilt = None
        if changes and not dry_run:
            rebuilt = _rebuild(settings, console, generations, embedder, wanted, number)
    _conclude(console, changes, rebuilt, number)


def _current(settings: Settings) -> tuple[int, Meta]:
    """Number of the current generation, and what it remembers of how it was made."""
    from core.fingerprint import Meta
    from core.index import open_current_store

    def look() -> tuple[int, Meta]:
        with open_current_store(settings) as (number, _, meta):
            return number, meta

    try:
        return held(settings, look)
    except IndexLocked:
        with find_server(settings) as server:
            served = server.copyable()
        return served["generation"], Meta.from_json(served["meta"])


def _announce(console: Console, changes: dict[str, tuple[object, object]], *, is_continued: bool) -> None:
    if not changes:
        console.say("Nothing to change: the index is made with these settings already.")
        return
    for name, (old, new) in changes.items():
        console.say(f"  {name:<15} {old!r} → {new!r}")
    if changes.get("compression", ("none", ""))[1] == "none":
        console.note("A new model's vectors are full: `limpid compress` can shorten them afterwards.")
    if is_continued:
        console.note("Going on with the generation that was begun earlier.")


def _rebuild(
    settings: Settings,
    console: Console,
    generations: Generations,
    embedder: Embedder,
    wanted: Fingerprint,
    number: int,
) -> Rebuilt:
    from api.loading import progress_shown
    from api.origin import CurrentGeneration
    from core.index import open_next
    from ingest.reindex import rebuild

    origin = CurrentGeneration(settings, number)
    with open_next(generations, embedder, wanted, number + 1) as opened, progress_shown(console) as show:
        try:
            rebuilt = rebuild(opened, origin, settings, lambda: generations.switch(number + 1), show)
        except KeyboardInterrupt:
            typer.secho(
                "Interrupted. The index answers as before; what is built so far is kept, and `limpid reindex` goes on.",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None
    generations.sweep()
    return rebuilt


def _conclude(
    console: Console, changes: dict[str, tuple[object, object]], rebuilt: Rebuilt | None, number: int
) -> None:
    if console.json:
        result: dict[str, Any] = {"changes": changes, "generation": number + 1 if rebuilt else number}
        console.result(result | {"reindexed": asdict(rebuilt) if rebuilt else None})
    elif rebuilt:
        console.say(
            f"Reindexed: {rebuilt.n_documents:,} documents, {rebuilt.n_chunks:,} chunks; "
            f"generation {number + 1} answers in the place of {number}"
        )

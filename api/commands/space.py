"""The latent space as a tool: search by examples, walks, concept axes, analogies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.search import FilterOption
from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.opening import open_for, retriever
from api.served import find_server
from core.errors import IndexLocked, InputError

if TYPE_CHECKING:
    from core.index import Index
    from core.settings import Settings
    from search.space.analogy import Analogy, Encode
    from search.space.axis import ConceptAxis, Placed

MEGABYTE = 1 << 20
EXAMPLE = "a chunk's or document's id, an ingested file, or text:WORDS"


def similar(
    like: Annotated[
        list[str] | None, typer.Option("--like", metavar="EXAMPLE", help=f"To be near: {EXAMPLE}; repeatable.")
    ] = None,
    unlike: Annotated[
        list[str] | None, typer.Option("--unlike", metavar="EXAMPLE", help="To be away from; repeatable.")
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of hits.")] = 10,
    strategy: Annotated[
        str, typer.Option("--strategy", help="arithmetic, average_vector or best_score.")
    ] = "arithmetic",
    where: FilterOption = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the passages that are like some examples and unlike others: A − B + C."""
    from search.space.similar import similar

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    liked, unliked = located(like or []), located(unlike or [])
    try:
        with open_for(settings, console) as opened:
            answer = similar(opened, liked, unliked, k, strategy, where).to_json()
    except IndexLocked:
        with find_server(settings) as server:
            answer = server.similar({"like": liked, "unlike": unliked, "k": k, "strategy": strategy, "filter": where})
    if as_json:
        console.result(answer)
        return
    _print_notes(console, answer)
    for hit in answer["hits"]:
        _print_hit(console, f"{hit['rank']:>2}.", hit, f"{hit['score']:.3f}")


def walk(
    start: Annotated[str, typer.Argument(metavar="FROM", help=f"Where it begins: {EXAMPLE}.")],
    end: Annotated[str, typer.Argument(metavar="TO", help="Where it ends.")],
    steps: Annotated[int, typer.Option("--steps", help="Passages to meet between the ends.")] = 5,
    where: FilterOption = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the passages met on the way from one point of the latent space to another."""
    from search.space.walk import walk

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    first, last = located([start, end])
    try:
        with open_for(settings, console) as opened:
            answer = walk(opened, first, last, steps, where).to_json()
    except IndexLocked:
        with find_server(settings) as server:
            answer = server.walk({"from": first, "to": last, "steps": steps, "filter": where})
    if as_json:
        console.result(answer)
        return
    _print_notes(console, answer)
    console.say(f"From {start} to {end}: {answer['angle_degrees']:.0f}°")
    for hit in answer["steps"]:
        _print_hit(console, f"{hit['t']:>4.0%}", hit, f"{hit['score']:.3f}")


def axis(
    toward: Annotated[list[str], typer.Option("--toward", metavar="EXAMPLE", help=f"One side: {EXAMPLE}; repeatable.")],
    away: Annotated[list[str], typer.Option("--away", metavar="EXAMPLE", help="The other side; repeatable.")],
    query: Annotated[str | None, typer.Option("--query", help="Order the hits of this search instead.")] = None,
    k: Annotated[int, typer.Option("-k", help="Passages on each side, or hits of the query.")] = 10,
    above: Annotated[float | None, typer.Option("--above", help="Only passages that project to this or more.")] = None,
    below: Annotated[float | None, typer.Option("--below", help="Only passages that project to this or less.")] = None,
    where: FilterOption = None,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Order passages along a direction given by two sets of examples, and say how far to trust it."""
    from search.space.axis import ConceptAxis

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    toward, away = located(toward), located(away)
    with open_for(settings, console) as opened:
        concept = ConceptAxis(opened, toward, away)
        lists = _placed(opened, settings, concept, query, k, where)
    bounds = (float("-inf") if above is None else above, float("inf") if below is None else below)
    kept = {name: [p for p in placed if bounds[0] <= p.projection <= bounds[1]] for name, placed in lists.items()}
    if as_json:
        listed = {name: [placed.to_json() for placed in places] for name, places in kept.items()}
        notes = {"notes": list(concept.notes)} if concept.notes else {}
        console.result(
            {"toward": toward, "away": away, "query": query, "trust": concept.trust.to_json(), **listed, **notes}
        )
        return
    _print_trust(console, concept)
    for name, places in kept.items():
        if name != "hits":
            console.say(f"Furthest {name.removeprefix('furthest_')}:", bold=True)
        for placed in places:
            _print_hit(console, f"{placed.projection:+5.2f}", placed.to_json(), None)


def analogy(
    a: Annotated[str, typer.Argument(metavar="A", help="A is to B as C is to what?")],
    b: Annotated[str, typer.Argument(metavar="B")],
    c: Annotated[str, typer.Argument(metavar="C")],
    k: Annotated[int, typer.Option("-k", help="Number of terms.")] = 10,
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """A is to B as C is to what, among the corpus' own terms? Shows the geometry, not the truth."""
    from search.space.analogy import CAVEAT, analogy

    console = Console(as_json, quiet)
    settings = settings_from(index=index, collection=collection, model=model)
    with open_for(settings, console) as opened:
        found = analogy(opened, a, b, c, _encoder(opened, settings, console), k)
    if as_json:
        console.result(found.to_json())
    else:
        _print_analogy(console, found, CAVEAT)


def located(names: list[str]) -> list[str]:
    """Examples as they are named in the index: an existing file by its address, all others as they are."""
    from ingest.sources.addresses import file_uri

    return [file_uri(str(Path(name).absolute())) if _is_file(name) else name for name in names]


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # too long for a path, or with a null byte
        return False


def _placed(
    opened: Index, settings: Settings, concept: ConceptAxis, query: str | None, k: int, where: str | None
) -> dict[str, list[Placed]]:
    if query is None:
        toward, away = concept.extremes(k, where)
        return {"furthest_toward": toward, "furthest_away": away}
    if not query.strip():
        raise InputError("The query is empty; give at least one word, or leave --query out.")
    return {"hits": concept.order(retriever(opened, settings).search(query, k, where=where).hits)}


def _encoder(opened: Index, settings: Settings, console: Console) -> Encode:
    """Vectors of terms, each encoded once and remembered on disk."""
    import numpy as np

    from ingest.vectors import VectorCache, Vectors

    def encode(texts):
        folder, limit = settings.cache_dir / "vectors", int(settings.vector_cache_mb * MEGABYTE)
        with (
            VectorCache(folder, opened.embedder, limit) as cache,
            console.progress("encoding terms", len(texts)) as advance,
        ):
            n_done = 0

            def count(n: int) -> None:
                nonlocal n_done
                n_done += n
                advance(n_done)

            vectors = Vectors(opened.embedder, cache).of(texts, count)
        return np.array([vectors[text] for text in texts])

    return encode


def _print_notes(console: Console, answer: dict) -> None:
    for note in answer.get("notes", ()):
        console.note(note)
    if not answer.get("hits", answer.get("steps")):
        console.say("Nothing found. Drop the filter, or give other examples.")


def _print_hit(console: Console, mark: str, hit: dict, score: str | None) -> None:
    place = " › ".join([hit["title"], *(heading for heading in hit["headings"] if heading != hit["title"])])
    best = hit["best_sentence"]["text"] if hit["best_sentence"] else hit["text"][:300]
    where = "  ·  ".join(part for part in (hit["document_id"], hit["chunk_id"], score) if part)
    console.say(f"{mark} {place or hit['document_id']}", bold=True)
    console.say("     " + " ".join(best.split()))
    console.say(f"     {where}", dim=True)


def _print_trust(console: Console, concept: ConceptAxis) -> None:
    trust = concept.trust
    if trust.auroc is not None:
        console.say(f"Held-out pairs in order: {trust.auroc:.0%} of {trust.n_pairs} (chance: 50%)")
    if trust.variance_share is not None:
        console.say(
            f"Share of the corpus' variance: {trust.variance_share:.2%} (average direction: {trust.average_share:.2%})"
        )
    for warning in (*trust.warnings, *concept.notes):
        console.say(warning, fg="yellow")


def _print_analogy(console: Console, found: Analogy, caveat: str) -> None:
    a, b, c = found.terms
    console.say(f"{a} : {b} = {c} : ?   ({found.n_terms:,} terms of the corpus)", bold=True)
    console.say("    3CosAdd                             3CosMul")
    for rank, (add, mul) in enumerate(zip(found.by_add, found.by_mul, strict=True), start=1):
        left = f"{add.term[:20]:<20} {add.add:.3f} (#{add.rank_near_c})"
        console.say(f"{rank:>2}. {left:<35} {mul.term[:20]:<20} {mul.mul:.3f} (#{mul.rank_near_c})")
    console.say(f"(#n: the n-th nearest term to {c} alone.) {caveat}")

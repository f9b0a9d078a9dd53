"""Compressing an index: measuring ways to do it on its own vectors, and building a new generation by one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TypeVar

import numpy as np

from api.console import Console
from api.jobs.writing import alone, data_folder
from api.loading import progress_shown
from api.opening import held
from api.served import ServedIndex, find_server
from core.compress.embedder import full_encoder, projected, projection_of
from core.compress.projection import Projection
from core.compress.recipe import NONE, Recipe
from core.copying import Package, Version
from core.embed import Embedder
from core.errors import IndexLocked, IndexMismatch, InputError
from core.fingerprint import Fingerprint, Meta
from core.index import Index, open_current_store, open_generations, open_model, open_next, read_begun
from core.settings import Settings
from core.store import QUANTIZATIONS
from core.store.generations import Generations
from core.store.payload import FULL_SCAN_KB
from eval.compress.fit import fit
from eval.compress.measure import Judged, Plan, default_recipes, plan
from eval.compress.sample import Sampled, draw, every_chunk
from eval.trec import load_qrels, load_queries
from ingest.reindex import Rebuilt
from ingest.transfer import StoreVisit, Visit, portions, transfer

Answer = TypeVar("Answer")


def measure(
    index: Index, console: Console, methods: list[str] | None, queries: Path | None, qrels: Path | None
) -> tuple[Plan, list[str]]:
    """The table of what each method keeps and saves on this index, and remarks that belong to it.

    Raises `InputError` for a method that can't be applied, an index that is too small, and files that can't be read.
    """
    recipes = _recipes(index, methods)
    judgements = load_qrels(qrels) if qrels else {}
    texts = load_queries(queries) if queries else {}
    wanted = {document_id for grades in judgements.values() for document_id in grades}
    with console.progress("reading vectors"):
        sampled = draw(every_chunk(index.store, wanted), index.store.count_chunks())
    asked = [key for key in texts if not qrels or key in judgements]
    if queries and not asked:
        raise InputError(f"No query of {queries} " + (f"is judged in {qrels}." if qrels else "has a text."))
    vectors = None
    if asked:
        with console.progress("encoding queries"):
            vectors = np.stack([index.embedder.encode_query(texts[key]) for key in asked])
    judged = Judged(asked, vectors, {key: judgements[key] for key in asked}) if asked and qrels else vectors
    with console.progress("measuring") as advance:
        table = plan(sampled, recipes, judged, lambda label, done, total: advance(done, total, label))
    return table, _remarks(index, sampled, table, n_unasked=len(judgements) - len(asked) if qrels else 0)


def _recipes(index: Index, methods: list[str] | None) -> list[Recipe]:
    """What is to be measured: full vectors are always among it, so `none` needs no row of its own."""
    dimension, compression = index.embedder.dimension, index.meta.fingerprint.compression
    if methods:
        recipes = [recipe for recipe in (Recipe.parse(text, dimension) for text in methods) if recipe != Recipe()]
    elif compression == NONE:
        recipes = default_recipes(dimension)
    else:
        recipes = [Recipe(quantization=kind) for kind in QUANTIZATIONS]
    if compression != NONE and any(recipe.transform != NONE for recipe in recipes):
        raise InputError(
            f"The index is compressed to {compression} already: only {' and '.join(QUANTIZATIONS)} remain."
        )
    return recipes


def _remarks(index: Index, sampled: Sampled, table: Plan, n_unasked: int) -> list[str]:
    remarks = []
    compression = index.meta.fingerprint.compression
    if compression != NONE:
        remarks.append(f'"none" stands for the vectors as they are, {compression}.')
    if table.n_chunks < table.n_total:
        remarks.append(
            f"Measured on {table.n_chunks:,} of {table.n_total:,} chunks. Among all of them neighbours lie closer "
            "together, so recall will be lower."
        )
    if n_unasked:
        remarks.append(f"{n_unasked} judged queries have no text, so they weren't asked.")
    size_kb = 4 * index.embedder.dimension * table.n_total / 1000
    if size_kb < FULL_SCAN_KB and any("int8" in row.method for row in table.rows):
        remarks.append(
            f"Below {FULL_SCAN_KB / 1000:g} MB of chunk vectors (here {size_kb / 1000:.1f}) the engine searches the "
            "full ones: int8 saves nothing yet and costs nothing."
        )
    return remarks


@dataclass(frozen=True, slots=True)
class Applied:
    """What was changed (field of the fingerprint → old and new value) and what the new generation holds."""

    changes: dict[str, tuple[object, object]]
    generation: int
    rebuilt: Rebuilt | None


def apply(method: str, settings: Settings, console: Console) -> Applied:
    """Bring the index to what `method` asks for (see `core.compress.recipe`); nothing is done where it is so already.

    Interrupted, the same call goes on with what it had fitted and written.
    Raises `InputError` for a method that can't be applied, and what opening the index raises.
    """
    with open_generations(settings) as generations:
        number, meta = _visited(settings, lambda number, visited: (number, visited.meta()))
        embedder = open_model(settings, meta.fingerprint, console.note, meta.projection)
        if embedder.weights_hash != meta.fingerprint.weights:
            raise IndexMismatch(
                f"The index {settings.index} was made with {meta.fingerprint.model} and other weights than "
                f"{embedder.name} has here. Use the index' own model."
            )
        recipe = Recipe.parse(method, full_encoder(embedder).dimension)
        wanted = _encoder(recipe, embedder, meta, generations, number, settings, console)
        fingerprint = _fingerprint(meta.fingerprint, wanted, recipe)
        changes = meta.fingerprint.changes(fingerprint)
        if not changes:
            return Applied({}, number, None)
        with open_next(generations, wanted, fingerprint, number + 1) as opened, progress_shown(console) as show:
            rebuilt = transfer(
                opened,
                lambda: _same(settings, number),
                settings,
                lambda: generations.switch(number + 1),
                show,
            )
        generations.sweep()
    return Applied(changes, number + 1, rebuilt)


def _encoder(
    recipe: Recipe,
    embedder: Embedder,
    meta: Meta,
    generations: Generations,
    number: int,
    settings: Settings,
    console: Console,
) -> Embedder:
    """The encoder of the new generation: with the projection of one that was begun, else with one fitted now."""
    compression = meta.fingerprint.compression
    if recipe.transform == NONE or recipe.label == compression:
        return embedder  # a quantisation changes no vector
    if compression != NONE:
        raise InputError(
            f"The index is compressed to {compression} already, and its full vectors are gone. Make them anew first: "
            f"limpid reindex --model {meta.fingerprint.model} --index {settings.index}"
        )
    begun = read_begun(generations, number + 1)
    if begun and begun.projection and begun.fingerprint.compression == recipe.label:
        continued = projected(embedder, Projection.from_json(begun.projection))
        if continued.weights_hash == begun.fingerprint.weights:
            console.note("Going on with the generation that was begun earlier.")
            return continued
    sampled = _visited(settings, lambda _, visited: _sample(visited))
    with console.progress(f"fitting {recipe.label}") as advance:
        fitted = fit(recipe, sampled.training, advance)
    return projected(embedder, fitted.projection)


def _fingerprint(current: Fingerprint, embedder: Embedder, recipe: Recipe) -> Fingerprint:
    projection = projection_of(embedder)
    return replace(
        current,
        weights=embedder.weights_hash,
        dimension=embedder.dimension,
        compression=projection.label if projection else NONE,
        quantization=recipe.quantization,
    )


def _sample(visited: Visit) -> Sampled:
    """What a projection is fitted to: where the chunks can't be scanned, those of documents in any order."""
    if isinstance(visited, StoreVisit):
        return draw(every_chunk(visited.store), visited.store.count_chunks())
    known = visited.versions()
    ids = sorted(known)
    Random(0).shuffle(ids)
    packages = (visited.package(portion) for portion in portions(ids, known))
    chunks = (chunk for package in packages for chunk in package.chunks)
    return draw(chunks, sum(version.n_chunks for version in known.values()))


def _visited(settings: Settings, ask: Callable[[int, Visit], Answer]) -> Answer:
    """What `ask` makes of the current generation; waits a while for who has it open."""

    def attempt() -> Answer:
        with _visit(settings) as (number, visited):
            return ask(number, visited)

    return held(settings, attempt)


@contextmanager
def _visit(settings: Settings, *, is_alone: bool = False) -> Iterator[tuple[int, Visit]]:
    """The current generation's number and a visit to it, to its store or to the server that holds that.

    With `is_alone` that server writes nothing meanwhile. Raises `IndexLocked` while it does.
    """
    with ExitStack() as opened:
        try:
            number, store, meta = opened.enter_context(open_current_store(settings))
            visited: Visit = StoreVisit(store, meta)
        except IndexLocked:
            server = opened.enter_context(find_server(settings))
            if is_alone:
                opened.enter_context(alone(data_folder(settings)))
            visited = ServedVisit(server)
            number = visited.generation
        yield number, visited


@contextmanager
def _same(settings: Settings, number: int) -> Iterator[Visit]:
    """The same for the generation `number`. Raises `IndexMismatch` where another one has taken its place."""
    with _visit(settings, is_alone=True) as (found, visited):
        if found != number:
            raise IndexMismatch(
                f"The index {settings.index} has moved from generation {number} to {found} meanwhile. "
                "Run the command again."
            )
        yield visited


class ServedVisit:
    """A visit to a server, which writes nothing meanwhile. See `ingest.transfer.Visit`."""

    def __init__(self, server: ServedIndex):
        """The server's connection stays whose it is."""
        self._server = server
        self._copyable = server.copyable()
        self.generation: int = self._copyable["generation"]

    def meta(self) -> Meta:
        """See `Visit`."""
        return Meta.from_json(self._copyable["meta"])

    def versions(self) -> dict[str, Version]:
        """See `Visit`."""
        return {key: Version(*version) for key, version in self._copyable["documents"].items()}

    def package(self, document_ids: Sequence[str]) -> Package:
        """See `Visit`."""
        return Package.from_json(self._server.copied(document_ids))

"""An index: a store, its encoder and its BM25 analyser, opened together and known to fit each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.compress.embedder import full_encoder, projected, projection_of
from core.compress.projection import Projection
from core.embed import Embedder, open_embedder
from core.errors import DependencyError, IndexLocked, IndexMismatch, NotFound
from core.fingerprint import Fingerprint, Meta, compare, fingerprint_of
from core.settings import TENANTS, Settings
from core.sparse import Analyzer
from core.store import Store, StoredChunk
from core.store.generations import FIRST, FolderGenerations, Generations, ServerGenerations, open_current
from core.types import DocumentRecord


class Index:
    """An open index; use it as a context manager so that it is always closed."""

    def __init__(self, store: Store, embedder: Embedder, meta: Meta, generation: int = FIRST):
        """Takes over `store`: closing the index closes it. `generation` is the number of what the store holds."""
        self.store = store
        self.embedder = embedder
        self.meta = meta
        self.generation = generation
        self._analyzer: Analyzer | None = None
        self._is_closed = False

    @property
    def analyzer(self) -> Analyzer:
        """BM25's analyser with this index' settings and average length; another one once that has changed."""
        fingerprint, known = self.meta.fingerprint, self._analyzer
        wanted = (fingerprint.language, fingerprint.bm25_k1, fingerprint.bm25_b, self.meta.avg_len)
        if known is None or (known.language, known.k1, known.b, known.avg_len) != wanted:
            known = self._analyzer = Analyzer(*wanted)
        return known

    def save(self) -> None:
        """Write what the index remembers of itself."""
        self.store.write_meta(self.meta.to_json())

    def scan(self) -> Iterator[StoredChunk]:
        """Every chunk with its vectors, in the order of ids."""
        for batch in self.store.scan(vectors=True):
            yield from batch

    def close(self) -> None:
        """Write everything to disk and let go of the store; a second time it does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


def open_index(
    settings: Settings,
    *,
    create: bool = False,
    notify: Callable[[str], None] = print,
    embedder: Embedder | None = None,
) -> Index:
    """The index that the settings name, made where `create` says so.

    What the settings leave at a default follows the index; what they set explicitly must agree with it.
    An `embedder` that is open already serves this index too where it is of the model that the index names.
    Raises `NotFound` where there is none, `IndexMismatch` where it was made with something else than the settings
    ask for, `IndexLocked` while another process has it open, `DependencyError` where the server or the model is
    unavailable.
    """
    with open_generations(settings) as generations:
        found = open_current(generations)
        if found is None and not create:
            raise generations.absent()
        if found is None:
            return _create(generations, settings, notify, embedder)
        number, store = found
        try:
            meta = _read_meta(store, generations)
            embedder = open_model(settings, meta.fingerprint, notify, meta.projection, embedder)
            compare(meta.fingerprint, embedder, settings)
            if create:
                generations.sweep()
            return Index(store, embedder, meta, number)
        except BaseException:
            store.close()
            raise


def open_model(
    settings: Settings,
    stored: Fingerprint | None,
    notify: Callable[[str], None] = print,
    projection: dict[str, Any] | None = None,
    known: Embedder | None = None,
) -> Embedder:
    """The encoder that the settings name, else the index' own, with the index' projection behind it if it has one.

    The `known` one where it is of that model, else it is opened. Raises `DependencyError` where it is unavailable.
    """
    name = settings.model if stored is None or "model" in settings.model_fields_set else stored.model
    if known is not None and full_encoder(known).name == name:
        full = full_encoder(known)
    else:
        full = open_embedder(name, settings.cache_dir, device=settings.device, offline=settings.offline, notify=notify)
    return projected(full, Projection.from_json(projection) if projection else None)


def open_next(generations: Generations, embedder: Embedder, fingerprint: Fingerprint, number: int) -> Index:
    """The generation `number`, which isn't the current one yet: continued if it has this fingerprint, else begun anew.

    It remembers the embedder's projection, if there is one. Raises `IndexLocked` while another process builds it.
    """
    if generations.exists(number):
        try:
            store = generations.open(number)
        except (NotFound, DependencyError):  # killed while it was made
            store = None
        meta = _known_meta(store) if store else None
        if store and meta and meta.fingerprint == fingerprint:
            return Index(store, embedder, meta, number)
        if store:
            store.close()
        generations.discard(number)
    return _make(generations, embedder, fingerprint, number)


def read_begun(generations: Generations, number: int) -> Meta | None:
    """What the generation `number` remembers, which isn't the current one yet; None where it was never begun.

    Raises `IndexLocked` while another process builds it.
    """
    if not generations.exists(number):
        return None
    try:
        store = generations.open(number)
    except (NotFound, DependencyError):  # killed while it was made
        return None
    except IndexLocked:
        raise IndexLocked(f"Another process is already making generation {number} of the index. Wait for it.") from None
    try:
        return _known_meta(store)
    finally:
        store.close()


@contextmanager
def open_generations(settings: Settings) -> Iterator[Generations]:
    """The generations of the index that the settings name, whether there are any or not."""
    if settings.is_server:
        key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
        generations: Generations = ServerGenerations(settings.index, key, settings.collection)
    else:
        generations = FolderGenerations(Path(settings.index), settings.min_free_mb)
    try:
        yield generations
    finally:
        generations.close()


@contextmanager
def open_current_store(settings: Settings) -> Iterator[tuple[int, Store, Meta]]:
    """The current generation's number and store, and what it remembers of itself, without an encoder.

    Raises like `open_index`.
    """
    with open_generations(settings) as generations:
        found = open_current(generations)
        if found is None:
            raise generations.absent()
        number, store = found
        try:
            yield number, store, _read_meta(store, generations)
        finally:
            store.close()


def open_records(settings: Settings) -> list[DocumentRecord]:
    """All document records without their texts, read without an encoder. Raises like `open_index`."""
    with open_current_store(settings) as (_, store, _):
        return list(store.records())


def describe(settings: Settings) -> dict:
    """What the index holds and how it was made, as plain JSON values, read without an encoder.

    Raises like `open_index`.
    """
    with open_current_store(settings) as (number, store, meta):
        described = describe_store(store, meta, number)
    return {
        "index": settings.index,
        **described,
        "size_bytes": None if settings.is_server else _size_on_disk(Path(settings.index)),
        "reindex": describe_next(settings, number + 1),
    }


def describe_store(store: Store, meta: Meta, generation: int) -> dict:
    """What an open generation holds and how it was made, as plain JSON values."""
    records = [record for record in store.records() if record.generation]
    return {
        "generation": generation,
        "documents": len(records),
        "chunks": sum(record.n_chunks for record in records),
        "complete": meta.exact and not any(record.settling for record in records),
        "avg_len": meta.avg_len,
        "fields": meta.fields,
        "fingerprint": asdict(meta.fingerprint),
    }


def describe_next(settings: Settings, number: int) -> dict | None:
    """How far a reindex is that hasn't switched yet, None where there is none.

    `state` is "running" while another process is at it (what it has done so far can't be seen then), else
    "unfinished".
    """
    with open_generations(settings) as generations:
        if not generations.exists(number):
            return None
        described = {"state": "unfinished", "generation": number, "documents": 0, "fingerprint": None}
        try:
            store = generations.open(number)
        except IndexLocked:
            return described | {"state": "running", "documents": None}
        except (NotFound, DependencyError):  # killed while it was made
            return described
        try:
            meta = _known_meta(store)
            fingerprint = asdict(meta.fingerprint) if meta else None
            return described | {"documents": store.count_documents(), "fingerprint": fingerprint}
        finally:
            store.close()


def _create(
    generations: Generations, settings: Settings, notify: Callable[[str], None], known: Embedder | None
) -> Index:
    embedder = open_model(settings, None, notify, known=known)
    generations.discard(FIRST)  # what a run left that was killed before it had written a document
    index = _make(generations, embedder, fingerprint_of(settings, embedder), FIRST)
    try:
        generations.switch(FIRST)
    except BaseException:
        index.close()
        raise
    return index


def _make(generations: Generations, embedder: Embedder, fingerprint: Fingerprint, number: int) -> Index:
    Analyzer(fingerprint.language, fingerprint.bm25_k1, fingerprint.bm25_b, 1.0)  # raises before anything is written
    projection = projection_of(embedder)
    meta = Meta(fingerprint, projection=projection.to_json() if projection else None)
    index = Index(generations.open(number, fingerprint.dimension, fingerprint.quantization), embedder, meta, number)
    try:
        index.save()
    except BaseException:
        index.close()
        raise
    return index


def _read_meta(store: Store, generations: Generations) -> Meta:
    stored = store.read_meta()
    if stored is None:
        raise generations.absent()
    return Meta.from_json(stored)


def _known_meta(store: Store) -> Meta | None:
    """What a generation remembers of itself, None where it was killed before that or has another schema."""
    stored = store.read_meta()
    try:
        return Meta.from_json(stored) if stored else None
    except IndexMismatch:
        return None


def _size_on_disk(folder: Path) -> int:
    """Bytes that the index' files take up, tenants' indexes apart; the engine allocates more than their lengths say."""
    total = 0
    own = (path for path in folder.iterdir() if path.name != TENANTS)
    for path in chain.from_iterable((top, *top.rglob("*")) for top in own):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except FileNotFoundError:
            continue  # a generation that is removed meanwhile
    return total

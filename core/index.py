"""An index: a store, its encoder and its BM25 analyser, opened together and known to fit each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from core.embed import Embedder, open_embedder
from core.errors import IndexMismatch, NotFound
from core.settings import Settings
from core.sparse import Analyzer
from core.store import Store, StoredChunk
from core.types import DocumentRecord

SCHEMA = 1
CHUNKER = "structure"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Everything that decides what the numbers in an index mean. Two that differ never meet in one index."""

    schema: int
    model: str
    weights: str
    dimension: int
    max_tokens: int
    query_prompt: str
    document_prompt: str
    language: str
    bm25_k1: float
    bm25_b: float
    chunker: str
    chunk_tokens: int


@dataclass(slots=True)
class Meta:
    """What an index remembers of itself: its fingerprint and what was measured on its corpus.

    `avg_len` is the average length in BM25 terms that the stored sparse vectors were made with; `exact` is false
    until the first ingest has finished, while it is still an estimate. `fields` maps metadata fields to their kind.
    """

    fingerprint: Fingerprint
    avg_len: float = 1.0
    exact: bool = False
    fields: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict) -> Self:
        """Raises `IndexMismatch` for an index of another schema."""
        known = stored.get("fingerprint", {})
        if known.get("schema") != SCHEMA or set(known) != {item.name for item in fields(Fingerprint)}:
            raise IndexMismatch(
                f"The index has schema {known.get('schema')}, this Limpid reads schema {SCHEMA}. "
                "Ingest the corpus into a new index."
            )
        return cls(Fingerprint(**known), stored["avg_len"], stored["exact"], dict(stored["fields"]))


class Index:
    """An open index; use it as a context manager so that it is always closed."""

    def __init__(self, store: Store, embedder: Embedder, meta: Meta):
        """Takes over `store`: closing the index closes it."""
        self.store = store
        self.embedder = embedder
        self.meta = meta

    @property
    def analyzer(self) -> Analyzer:
        """BM25's analyser with this index' settings and average length."""
        fingerprint = self.meta.fingerprint
        return Analyzer(fingerprint.language, fingerprint.bm25_k1, fingerprint.bm25_b, self.meta.avg_len)

    def save(self) -> None:
        """Write what the index remembers of itself."""
        self.store.write_meta(self.meta.to_json())

    def scan(self) -> Iterator[StoredChunk]:
        """Every chunk with its vectors, in the order of ids."""
        for batch in self.store.scan(vectors=True):
            yield from batch

    def close(self) -> None:
        """Write everything to disk and let go of the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()


def open_index(settings: Settings, *, create: bool = False, notify: Callable[[str], None] = print) -> Index:
    """The index that the settings name, made where `create` says so.

    What the settings leave at a default follows the index; what they set explicitly must agree with it.
    Raises `NotFound` where there is none, `IndexMismatch` where it was made with something else than the settings
    ask for, `IndexLocked` while another process has it open, `DependencyError` where the server or the model is
    unavailable.
    """
    store = None
    if settings.is_server or is_embedded_index(Path(settings.index)) or not create:
        store = _open_store(settings, None, create)
    try:
        stored = store.read_meta() if store else None
        if stored is None and not create:
            raise NotFound(f"{settings.index} holds an unfinished index. Run `limpid ingest PATH` again.")
        meta = Meta.from_json(stored) if stored else None
        embedder = open_embedder(
            _model(settings, meta), settings.cache_dir, device=settings.device, offline=settings.offline, notify=notify
        )
        if meta:
            _compare(meta.fingerprint, embedder, settings)
        else:
            meta = Meta(_fingerprint(settings, embedder))
            Analyzer(settings.language, settings.bm25_k1, settings.bm25_b, 1.0)  # raises before anything is written
            store = store or _open_store(settings, embedder.dimension, create)
            store.write_meta(meta.to_json())
        return Index(store, embedder, meta)
    except BaseException:
        if store:
            store.close()
        raise


def open_records(settings: Settings) -> list[DocumentRecord]:
    """All document records without their texts, read without an encoder. Raises like `open_index`."""
    store = _open_store(settings, None, create=False)
    try:
        return list(store.records())
    finally:
        store.close()


def describe(settings: Settings) -> dict:
    """What the index holds and how it was made, as plain JSON values, read without an encoder.

    Raises like `open_index`.
    """
    store = _open_store(settings, None, create=False)
    try:
        stored = store.read_meta()
        if stored is None:
            raise NotFound(f"{settings.index} holds an unfinished index. Run `limpid ingest PATH` again.")
        meta = Meta.from_json(stored)
        records = list(store.records())
        return {
            "index": settings.index,
            "documents": len(records),
            "chunks": sum(record.n_chunks for record in records),
            "complete": meta.exact and not any(record.settling for record in records),
            "size_bytes": None if settings.is_server else _size_on_disk(Path(settings.index)),
            "avg_len": meta.avg_len,
            "fields": meta.fields,
            "fingerprint": asdict(meta.fingerprint),
        }
    finally:
        store.close()


def _size_on_disk(folder: Path) -> int:
    """Bytes that the folder's files take up; the engine allocates ahead, so their lengths say more than that."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def is_embedded_index(folder: Path) -> bool:
    """Whether a folder holds an embedded index."""
    from core.store.edge import exists

    return exists(folder)


def _open_store(settings: Settings, dimension: int | None, create: bool) -> Store | None:
    """The store; None where a server has no such collection yet and `create` allows that."""
    if settings.is_server:
        from core.store.server import ServerStore, connect

        key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
        try:
            return ServerStore(connect(settings.index, key), settings.collection, dimension)
        except NotFound:
            if create:
                return None
            raise
    from core.store.edge import EdgeStore

    return EdgeStore(Path(settings.index), dimension, settings.min_free_mb)


def _model(settings: Settings, meta: Meta | None) -> str:
    """The model to open: the index' own unless the settings name one."""
    return settings.model if meta is None or "model" in settings.model_fields_set else meta.fingerprint.model


def _fingerprint(settings: Settings, embedder: Embedder) -> Fingerprint:
    return Fingerprint(
        schema=SCHEMA,
        model=embedder.name,
        weights=embedder.weights_hash,
        dimension=embedder.dimension,
        max_tokens=embedder.tokenizer.max_tokens,
        query_prompt=embedder.prompts["query"],
        document_prompt=embedder.prompts["document"],
        language=settings.language,
        bm25_k1=settings.bm25_k1,
        bm25_b=settings.bm25_b,
        chunker=CHUNKER,
        chunk_tokens=settings.chunk_tokens,
    )


def _compare(stored: Fingerprint, embedder: Embedder, settings: Settings) -> None:
    """Raise `IndexMismatch`, naming both values, where the index differs from the encoder or an explicit setting."""
    if stored.weights != embedder.weights_hash:
        raise IndexMismatch(
            f"The index {settings.index} was made with {stored.model} (weights {stored.weights[:12]}), but "
            f"{embedder.name} (weights {embedder.weights_hash[:12]}) is asked for. Vectors of two models can't be "
            "compared: use the index' own model, or ingest into another index (--index)."
        )
    wanted = _fingerprint(settings, embedder)
    by_encoder = {"dimension", "max_tokens", "query_prompt", "document_prompt", "chunker"}
    for name in (item.name for item in fields(Fingerprint)):
        have, want = getattr(stored, name), getattr(wanted, name)
        if have != want and (name in by_encoder or name in settings.model_fields_set - {"model"}):
            raise IndexMismatch(
                f"The index {settings.index} was made with {name} = {have!r}, but {want!r} is asked for. "
                "Use the index' own value, or ingest into another index (--index)."
            )

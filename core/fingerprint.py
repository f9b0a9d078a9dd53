"""How an index was made: what decides the meaning of its numbers, and whether that fits what is asked for."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Self

from core.compress.embedder import projection_of
from core.embed import Embedder
from core.errors import IndexMismatch
from core.settings import Settings

SCHEMA = 3
# Fields of a fingerprint that are settings of the same name; the encoder decides the others.
CHOSEN = ("language", "bm25_k1", "bm25_b", "chunker", "chunk_tokens")
_BY_ENCODER = ("dimension", "max_tokens", "query_prompt", "document_prompt")


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
    compression: str = "none"  # a projection's label, such as pca:128; `weights` is then of encoder and projection
    quantization: str = "none"  # of the chunk vectors, by the engine: none, int8 or binary

    def changes(self, other: Self) -> dict[str, tuple[object, object]]:
        """Where `other` differs: field → (our value, its value)."""
        pairs = {item.name: (getattr(self, item.name), getattr(other, item.name)) for item in fields(self)}
        return {name: (ours, theirs) for name, (ours, theirs) in pairs.items() if ours != theirs}


@dataclass(frozen=True, slots=True)
class Fixes:
    """What `limpid fix` has decided for every document, present and future; what concerns one is in its record.

    `repeated` are texts that many documents hold, each with what becomes of it: "mark" (stored once, with the first of
    them) or "drop" (left out). `shared_by` lowers the setting of that name for this index, None where nothing does.
    `pending` says that not every document follows yet: whoever changes the index next goes on.
    """

    repeated: dict[str, str] = field(default_factory=dict)
    shared_by: int | None = None
    pending: bool = False


@dataclass(slots=True)
class Meta:
    """What an index remembers of itself: its fingerprint and what was measured on its corpus.

    `avg_len` is the average length in BM25 terms that the stored sparse vectors were made with; `exact` is false
    until the first ingest has finished, while it is still an estimate. `fields` maps metadata fields to their kind.
    `projection` is what compresses the vectors (see `core.compress.projection`), None where they are full.
    `unrelated` are the levels of `core.unrelated`, None until an ingest has measured them; `tuning` is what
    `limpid tune` found (see `search.tuning`). `fixes` is what `limpid fix` has decided for the whole index.
    """

    fingerprint: Fingerprint
    avg_len: float = 1.0
    exact: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    projection: dict[str, Any] | None = None
    unrelated: dict[str, float] | None = None
    tuning: dict[str, Any] | None = None
    fixes: Fixes = field(default_factory=Fixes)

    def to_json(self) -> dict:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict) -> Self:
        """Raises `IndexMismatch` for an index of another schema."""
        known = stored.get("fingerprint", {})
        names = {item.name for item in fields(Fingerprint)}
        since = {item.name for item in fields(Fingerprint) if item.default is not MISSING}  # absent from older indexes
        if known.get("schema") != SCHEMA or not names - since <= set(known) <= names:
            raise IndexMismatch(
                f"The index has schema {known.get('schema')}, this Limpid reads schema {SCHEMA}. "
                "Ingest the corpus into a new index."
            )
        return cls(
            Fingerprint(**known),
            stored["avg_len"],
            stored["exact"],
            dict(stored["fields"]),
            projection=stored.get("projection"),
            unrelated=stored.get("unrelated"),
            tuning=stored.get("tuning"),
            fixes=Fixes(**stored.get("fixes", {})),
        )


def fingerprint_of(settings: Settings, embedder: Embedder, stored: Fingerprint | None = None) -> Fingerprint:
    """The fingerprint that settings and encoder make; what isn't set explicitly is taken from `stored`, if given."""
    projection = projection_of(embedder)
    from_stored = [name for name in CHOSEN if stored and name not in settings.model_fields_set]
    return Fingerprint(
        schema=SCHEMA,
        model=embedder.name,
        weights=embedder.weights_hash,
        dimension=embedder.dimension,
        max_tokens=embedder.tokenizer.max_tokens,
        query_prompt=embedder.prompts["query"],
        document_prompt=embedder.prompts["document"],
        **{name: getattr(stored if name in from_stored else settings, name) for name in CHOSEN},
        compression=projection.label if projection else "none",
        quantization=stored.quantization if stored else "none",
    )


def compare(stored: Fingerprint, embedder: Embedder, settings: Settings) -> None:
    """Raise `IndexMismatch`, naming both values, where the index differs from the encoder or an explicit setting."""
    if stored.weights != embedder.weights_hash:
        raise IndexMismatch(
            f"The index {settings.index} was made with {stored.model} (weights {stored.weights[:12]}), but "
            f"{embedder.name} (weights {embedder.weights_hash[:12]}) is asked for. Vectors of two models can't be "
            f"compared: use the index' own model, or change the index: {_reindex(settings, 'model', embedder.name)}"
        )
    wanted = fingerprint_of(settings, embedder, stored)
    for name in (*_BY_ENCODER, *CHOSEN):
        have, want = getattr(stored, name), getattr(wanted, name)
        if have != want:
            flag, value = (name, want) if name in CHOSEN else ("model", embedder.name)
            raise IndexMismatch(
                f"The index {settings.index} was made with {name} = {have!r}, but {want!r} is asked for. "
                f"Use the index' own value, or change the index: {_reindex(settings, flag, value)}"
            )


def _reindex(settings: Settings, flag: str, value: object) -> str:
    place = f" --collection {settings.collection}" if settings.is_server else ""
    return f"limpid reindex --{flag.replace('_', '-')} {value} --index {settings.index}{place}"

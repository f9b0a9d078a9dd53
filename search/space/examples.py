"""Examples as points of the latent space: a chunk, a document, or a text that isn't in the index."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import InputError, NotFound
from core.filters import All, Comparison, Filter, Not, Some, parse_filter
from core.index import Index
from core.store import Store
from core.types import Hit, LegScore, Span

TEXT = "text:"  # marks an example that is given in words
MAX_EXAMPLES = 100
# From here on two chunk vectors stand for one passage that is stored twice, mostly under another title: on the language
# reference 106 of the 108 pairs above it share half of their word triples or more, of those at .85 to .9 one in nine.
COPY_COSINE = 0.95
SPARE = 16  # more than asked for, so that dropping copies seldom needs a second request
SMALLEST = 1e-6  # a vector shorter than this points nowhere
_CHUNK_ID = re.compile(r"[0-7][0-9a-f]{15}")


@dataclass(frozen=True, slots=True)
class Example:
    """A named point. `vector` is float32 (dim,), of length 1.

    `stored` holds the chunk vectors it was made of, float32, shape (n_chunks, dim); none for a text, which isn't in the
    index. `document_id` is set for a document; `note` tells what the caller should know.
    """

    name: str
    vector: np.ndarray
    stored: np.ndarray
    document_id: str | None = None
    note: str | None = None


def read_examples(index: Index, names: Sequence[str]) -> list[Example]:
    """The examples that names stand for: the id of a chunk or of a document, or `text:` and words.

    A document is the mean of its chunks' vectors, normalised; a text is encoded as a query is.
    Raises `NotFound` for an unknown id, `InputError` for an empty text or more than `MAX_EXAMPLES`.
    """
    if len(names) > MAX_EXAMPLES:
        raise InputError(f"{len(names)} examples are given; the limit is {MAX_EXAMPLES}. A document is one example.")
    return [_read(index, name) for name in names]


def vectors_of(examples: Sequence[Example], dimension: int) -> np.ndarray:
    """Their vectors, float32, shape (n_examples, dimension)."""
    return np.array([example.vector for example in examples], dtype=np.float32).reshape(-1, dimension)


def stored_of(examples: Sequence[Example], dimension: int) -> np.ndarray:
    """The chunk vectors that they are made of, float32, shape (n_chunks, dimension)."""
    return np.concatenate([np.zeros((0, dimension), np.float32), *(example.stored for example in examples)])


def notes_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """What the caller should know of them."""
    return tuple(dict.fromkeys(example.note for example in examples if example.note))


def normalised(vector: np.ndarray, what: str) -> np.ndarray:
    """The vector with length 1, float32. Raises `InputError`, naming `what` it is, where it has no length."""
    length = float(np.linalg.norm(vector))
    if length < SMALLEST:
        raise InputError(f"{what} cancel each other out: no direction is left. Give examples that differ.")
    return (vector / length).astype(np.float32)


def condition(index: Index, where: str | None, examples: Sequence[Example]) -> Filter | None:
    """A filter that keeps out the documents among the examples, and what `where` keeps out."""
    parts = [parse_filter(where, index.meta.fields)] if where and where.strip() else []
    parts += [Not(_of_document(example.document_id)) for example in examples if example.document_id is not None]
    return All(tuple(parts)) if parts else None


Found = list[tuple[str, float]]


def without_copies(store: Store, find: Callable[[int], Found], k: int, held: np.ndarray) -> Found:
    """The `k` best of what `find(limit)` gives, without copies of `held`, float32, shape (n, dim).

    A copy has a cosine of `COPY_COSINE` or more to one of them.
    """
    limit = k + SPARE if len(held) else k
    while True:
        found = find(limit)
        vectors = store.vectors([key for key, _ in found]) if len(held) else {}
        kept = [
            (key, score)
            for key, score in found
            if not len(held) or (key in vectors and float(np.max(held @ vectors[key])) < COPY_COSINE)
        ]
        if len(kept) >= k or len(found) < limit:
            return kept[:k]
        limit *= 2


def read_hits(store: Store, ranked: Found, targets: np.ndarray) -> tuple[Hit, ...]:
    """Scored chunks as hits of the dense leg, in their order; `targets`, shape (n, dim), choose the best sentences."""
    stored = store.fetch([key for key, _ in ranked], sentences=True)
    hits: list[Hit] = []
    for key, score in ranked:
        if key in stored:  # else another process has removed it since
            rank = len(hits) + 1
            leg = LegScore(rank=rank, score=score, normalized=score, found=True)
            best = _best_sentence(stored[key].chunk.sentences, stored[key].sentences, targets)
            hits.append(Hit(rank, score, stored[key].chunk, {"dense": leg}, best))
    return tuple(hits)


def _best_sentence(spans: Sequence[Span], sentences: np.ndarray | None, targets: np.ndarray) -> Span | None:
    if not spans or sentences is None or not len(targets):
        return None
    return spans[int(np.argmax((sentences @ targets.T).max(axis=1)))]


def _read(index: Index, name: str) -> Example:
    store, dimension = index.store, index.embedder.dimension
    if _CHUNK_ID.fullmatch(name) and (found := store.vectors([name])):
        return Example(name, found[name], found[name][None])
    record = store.record(name)
    if record is not None and record.generation:
        chunks = _chunk_vectors(store, name, dimension)
        if not len(chunks):
            raise InputError(f"The document {name!r} has no passage, so it is nowhere in the latent space.")
        mean = normalised(chunks.mean(axis=0, dtype=np.float64), f"The passages of {name!r}")
        return Example(name, mean, chunks, document_id=name)
    if not name.startswith(TEXT):
        raise NotFound(
            f"{name[:200]!r} is neither a chunk nor a document of this index; a search's hits give the ids of both. "
            f"If they are words, write them after '{TEXT}'."
        )
    text = name.removeprefix(TEXT).strip()
    if not text:
        raise InputError(f"The example {name!r} is empty; write at least one word after '{TEXT}'.")
    return Example(
        name, index.embedder.encode_query(text), np.zeros((0, dimension), np.float32), note=_cut(index, text)
    )


def _cut(index: Index, text: str) -> str | None:
    embedder = index.embedder
    n_tokens = len(embedder.tokenizer.encode([embedder.prompts["query"] + text])[0])
    if n_tokens <= embedder.tokenizer.max_tokens:
        return None
    return f"A text has {n_tokens} tokens; the encoder read the first {embedder.tokenizer.max_tokens}."


def _chunk_vectors(store: Store, document_id: str, dimension: int) -> np.ndarray:
    parts = [np.zeros((0, dimension), np.float32)]
    for batch in store.scan(where=_of_document(document_id)):
        parts += [vector[None] for vector in store.vectors([stored.chunk.id for stored in batch]).values()]
    return np.concatenate(parts)


def _of_document(document_id: str) -> Filter:
    """The chunks of a document, those that are stored with another one that holds the same text too."""
    return Some((Comparison("document_id", "=", document_id), Comparison("also_in", "=", document_id)))

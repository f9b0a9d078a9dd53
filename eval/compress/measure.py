"""What each compression of an index keeps and saves, measured on a sample of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.compress.projection import Projection
from core.compress.recipe import NONE, Recipe
from eval.compress.fit import fit
from eval.compress.linear import Fitted
from eval.compress.quantized import SEARCHED, bytes_in_memory, coarse, search
from eval.compress.sample import Sampled
from eval.judged import Qrels, measure
from eval.significance import paired_randomization

DEPTH = 10  # recall@10, nDCG@10
METRIC = f"nDCG@{DEPTH}"
TIED = 1e-6  # a chunk whose score equals the tenth's counts as found, whichever of them is named
QUERIES_AT_ONCE = 32
SCORED = 1000  # chunks a query, enough for ten documents


@dataclass(frozen=True, slots=True)
class Judged:
    """Queries with judgements: `vectors` float32, shape (n, dim), aligned with `ids`."""

    ids: Sequence[str]
    vectors: NDArray[np.float32]
    qrels: Qrels


@dataclass(frozen=True, slots=True)
class Measured:
    """One row of the table.

    `memory_bytes` is what the chunk vectors that are searched take, each; `disk_bytes` what all vectors of a chunk
    take, those of its sentences included. `recall` is the share of the ten chunks nearest by full vectors that are
    among the ten nearest found, `error` the mean squared distance of the chunk vectors (of length 1) from what can be
    made of them again. `ndcg` is of the dense score alone, `change` its difference from full vectors with `p` of the
    paired randomisation test; None without judgements.
    """

    method: str
    dimension: int
    memory_bytes: float
    disk_bytes: float
    recall: float
    error: float
    fit_s: float
    ndcg: float | None = None
    change: float | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The table, and what it was measured on."""

    rows: Sequence[Measured]
    n_chunks: int
    n_total: int
    n_queries: int
    queries: str
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict:
        """As plain JSON values, without the values of single queries."""
        return {
            "methods": [asdict(row) for row in self.rows],
            "sample": {"chunks": self.n_chunks, "of": self.n_total},
            "queries": {"n": self.n_queries, "kind": self.queries},
        }


def plan(
    sampled: Sampled,
    recipes: Sequence[Recipe],
    queries: NDArray[np.float32] | Judged | None = None,
    on_progress: Callable[[str, int, int], None] = lambda label, done, total: None,
) -> Plan:
    """Full vectors and each recipe, in this order; the same sample and recipes give the same table, times apart.

    Recall is measured with `queries`, float32, shape (n, dim), without them with sentences that were held out; nDCG
    where they are judged. `on_progress` gets what is being measured, and how far it is.
    """
    judged = queries if isinstance(queries, Judged) else None
    asked = judged.vectors if judged else queries
    kind = "queries"
    if asked is None:
        asked, kind = sampled.held_out, "sentences of the corpus, held out"
    nearest = _Nearest(sampled.vectors, asked)
    values: dict[str, Mapping[str, float]] = {}
    rows = []
    for recipe in (Recipe(), *recipes):
        on_progress(str(recipe), 0, 1)
        started = time.perf_counter()
        fitted = fit(recipe, sampled.training, lambda done, total, name=str(recipe): on_progress(name, done, total))
        fit_s = time.perf_counter() - started
        projection = fitted.projection if fitted else None
        chunks = sampled.vectors if projection is None else projection.project(sampled.vectors)
        found = _search(chunks, _projected(asked, projection), recipe.quantization)
        row = Measured(
            method=str(recipe),
            dimension=chunks.shape[1],
            memory_bytes=bytes_in_memory(chunks.shape[1], recipe.quantization),
            disk_bytes=_disk_bytes(sampled, chunks.shape[1], recipe.quantization),
            recall=nearest.recall(found),
            error=_error(sampled.vectors, fitted, recipe.quantization),
            fit_s=fit_s if fitted else 0.0,
        )
        if judged is not None:
            listed = None if recipe.quantization == NONE else found
            values[row.method] = _ndcg(sampled, chunks, projection, judged, listed)
            row = _compared(row, values[row.method], values[NONE])
        rows.append(row)
        on_progress(row.method, 1, 1)
    return Plan(rows, len(sampled.chunk_ids), sampled.n_total, len(asked), kind, values)


def default_recipes(dimension: int) -> list[Recipe]:
    """What is worth comparing for vectors of this dimension: a half, a third, a sixth of it."""
    half, third, sixth = (max(2, dimension // share) for share in (2, 3, 6))
    return [
        Recipe("truncate", third),
        *(Recipe("pca", kept) for kept in (half, third, sixth)),
        *(Recipe("autoencoder", kept) for kept in (third, sixth)),
        Recipe("vae", third),
        *(Recipe(quantization=kind) for kind in ("int8", "binary")),
        Recipe("pca", third, "int8"),
    ]


class _Nearest:
    """The chunks nearest to each query by full vectors, to count what a search finds of them."""

    def __init__(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]):
        self._scores = queries @ vectors.T
        self._n = min(DEPTH, len(vectors))
        self._tenth = np.partition(self._scores, -self._n, axis=1)[:, -self._n]

    def recall(self, found: NDArray[np.intp]) -> float:
        scores = np.take_along_axis(self._scores, found[:, : self._n], axis=1)
        return float((scores >= self._tenth[:, None] - TIED).mean())


def _search(chunks: NDArray[np.float32], queries: NDArray[np.float32], quantization: str) -> NDArray[np.intp]:
    """Rows of the chunks nearest to each query, best first: by brute force, or by the engine where it quantises."""
    if quantization != NONE:
        return search(chunks, queries, quantization)
    scores = queries @ chunks.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :SEARCHED]


def _ndcg(
    sampled: Sampled,
    chunks: NDArray[np.float32],
    projection: Projection | None,
    judged: Judged,
    listed: NDArray[np.intp] | None,
) -> Mapping[str, float]:
    """nDCG@10 by query of the dense score: ½ cosine of the chunk + ½ that of its best sentence.

    A document scores as its best chunk. `listed` are the rows that may be scored, for each query, None for all.
    """
    sentences = _projected(sampled.sentences, projection)
    queries = _projected(judged.vectors, projection)
    run = {}
    for first in range(0, len(queries), QUERIES_AT_ONCE):
        part = queries[first : first + QUERIES_AT_ONCE]
        best = np.maximum.reduceat(part @ sentences.T, sampled.starts, axis=1)
        scores = 0.5 * part @ chunks.T + 0.5 * best
        for row, line in enumerate(scores, start=first):
            candidates = np.argsort(-line, kind="stable")[:SCORED] if listed is None else listed[row]
            documents: dict[str, float] = {}
            for chunk in candidates:
                document_id = sampled.document_ids[chunk]
                documents[document_id] = max(documents.get(document_id, -1.0), float(line[chunk]))
            run[judged.ids[row]] = list(documents.items())
    return measure(run, judged.qrels, [METRIC])[METRIC]


def _compared(row: Measured, values: Mapping[str, float], full: Mapping[str, float]) -> Measured:
    ours, theirs = ([side[query] for query in full] for side in (values, full))
    ndcg = float(np.mean(ours))
    p = None if values is full else paired_randomization(ours, theirs)
    known = {name: getattr(row, name) for name in Measured.__slots__}
    return Measured(**known | {"ndcg": ndcg, "change": ndcg - float(np.mean(theirs)), "p": p})


def _projected(vectors: NDArray[np.floating], projection: Projection | None) -> NDArray[np.float32]:
    return vectors.astype(np.float32) if projection is None else projection.project(vectors)


def _error(vectors: NDArray[np.float32], fitted: Fitted | None, quantization: str) -> float:
    codes = fitted.projection.code(vectors) if fitted else vectors
    codes = coarse(codes, quantization)
    back = fitted.decode(codes) if fitted else codes
    return float(((back - vectors) ** 2).sum(axis=1).mean())


def _disk_bytes(sampled: Sampled, dimension: int, quantization: str) -> float:
    quantized = 0.0 if quantization == NONE else bytes_in_memory(dimension, quantization)
    return 4 * dimension + quantized + 2 * dimension * len(sampled.sentences) / len(sampled.chunk_ids)

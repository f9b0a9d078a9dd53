"""Queries of judged collections with all that fusions need, kept as arrays: what is fused and learnt from is the same.

Beside the collection as it is, its legs are degraded in known ways, so that what is learnt holds where an encoder is
poor (vectors cut to a few dimensions) or words fail (terms of the query dropped).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy.sparse import csc_matrix

from benchmarks.judged import family_of
from core.index import Index
from core.sparse import SparseVector
from core.store import Candidates, Scores
from core.types import Chunk
from core.unrelated import Unrelated, questions, unrelated_of
from eval.trec import load_qrels, load_queries
from search.features import features
from search.ranking import CANDIDATES, SENTENCE_SHARE, Asked, Pool
from search.tuning import WEIGHTS

DEPTH = 10  # of nDCG
DISCOUNT = 1 / np.log2(np.arange(2, DEPTH + 2))
MOST_QUERIES = 300  # of a degraded collection
COVERED = 0.5  # share of an excerpt that a chunk must hold to be relevant
DEGRADED = {
    "8 dimensions": (8, 0.0),
    "24 dimensions": (24, 0.0),
    "64 dimensions": (64, 0.0),
    "128 dimensions": (128, 0.0),
    "3 of 10 terms dropped": (None, 0.3),
    "6 of 10 terms dropped": (None, 0.6),
    "32 dimensions, 3 of 10 terms dropped": (32, 0.3),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A query's candidates with their grades: `units` are what is judged, documents or, by excerpts, chunks."""

    pool: Pool
    idf: Mapping[int, float]
    units: np.ndarray
    grades: np.ndarray
    ideal: float

    def ndcg(self, scores: np.ndarray) -> float:
        """nDCG@10 with linear gain of the units, each by its best candidate; NaN isn't ranked; 0 without an answer."""
        if not self.ideal:
            return 0.0
        ranked = np.argsort(-np.round(scores, 9), kind="stable")
        ranked = ranked[~np.isnan(scores[ranked])]
        _, first = np.unique(self.units[ranked], return_index=True)
        best = ranked[np.sort(first)[:DEPTH]]
        return float(self.grades[best] @ DISCOUNT[: len(best)]) / self.ideal


class Matrix:
    """All chunks of an index as arrays, on which both legs are computed without the engine."""

    def __init__(self, index: Index):
        """Reads every vector of the index; some gigabytes for a million chunks."""
        stored = list(index.scan())
        self.chunks = [found.chunk for found in stored]
        self.ids = [chunk.id for chunk in self.chunks]
        self.dense = np.stack([found.dense for found in stored])
        self.sentences = np.concatenate([found.sentences for found in stored]).astype(np.float32)
        self.bounds = np.cumsum([0, *(len(found.sentences) for found in stored)])
        self.k1 = index.meta.fingerprint.bm25_k1
        analyzer = index.analyzer
        rows, columns, values = [], [], []
        self.terms: dict[int, int] = {}
        for row, chunk in enumerate(self.chunks):
            vector = analyzer.document(chunk.lexical_text)
            for term, value in zip(vector.indices, vector.values, strict=True):
                rows.append(row)
                columns.append(self.terms.setdefault(term, len(self.terms)))
                values.append(value)
        self.weights = csc_matrix((values, (rows, columns)), shape=(len(stored), len(self.terms)))
        held = np.diff(self.weights.indptr)
        self.idf = np.log(1 + (len(stored) - held + 0.5) / (held + 0.5))

    def cut(self, dimension: int | None) -> Matrix:
        """The same with only the first dimensions of all vectors."""
        if dimension is None:
            return self
        other = object.__new__(Matrix)
        other.__dict__.update(self.__dict__)
        other.dense, other.sentences = _unit(self.dense[:, :dimension]), _unit(self.sentences[:, :dimension])
        return other

    def pool(self, text: str, vector: np.ndarray, terms: Sequence[int], without: frozenset[str] = frozenset()) -> Pool:
        """The candidates of a query, as `Ranker.gather` finds them; `without` are chunks that count as not there."""
        vector = vector[: self.dense.shape[1]]
        vector = vector / np.linalg.norm(vector)
        cosines = self.dense @ vector
        known = [self.terms[term] for term in terms if term in self.terms]
        bm25 = np.asarray(self.weights[:, known] @ self.idf[known]).ravel() if known else np.zeros(len(self.ids))
        for row in self._rows(without):
            cosines[row], bm25[row] = -np.inf, 0
        dense, sparse = _best(cosines), [row for row in _best(bm25) if bm25[row] > 0]
        rows = sorted({*dense, *sparse}, key=self.ids.__getitem__)
        sentence = np.array([self._best_sentence(row, vector, cosines[row]) for row in rows])
        exact = Scores(cosines[rows].astype(float), sentence.astype(float), bm25[rows])
        legs = {
            "dense": (1 - SENTENCE_SHARE) * exact.cosine + SENTENCE_SHARE * exact.sentence,
            "sparse": exact.sparse,
        }
        lists = Candidates(
            [(self.ids[row], float(cosines[row])) for row in dense],
            [(self.ids[row], float(bm25[row])) for row in sparse],
        )
        held = {"dense": set(dense), "sparse": set(sparse)}
        found = {leg: np.array([row in held[leg] for row in rows], dtype=bool) for leg in legs}
        asked = Asked(text, "hybrid", vector, SparseVector(list(terms), [1.0] * len(terms)))
        return Pool(asked, lists, [self.ids[row] for row in rows], legs, found, exact)

    def idf_of(self, terms: Sequence[int]) -> dict[int, float]:
        """As `Store.idf`."""
        return {term: float(self.idf[self.terms[term]]) for term in terms if term in self.terms}

    def unrelated(self, vectors: np.ndarray) -> Unrelated:
        """As `core.unrelated.measure_unrelated`, for the questions' vectors."""
        best = []
        for vector in vectors:
            exact = self.pool("", vector, ()).exact
            best.append((exact.cosine.max(), exact.sentence.max()))
        return unrelated_of(np.array(best), len(self.ids))

    def chunk(self, key: str) -> Chunk:
        """The chunk of that id."""
        return self.chunks[self._row[key]]

    @cached_property
    def _row(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.ids)}

    def _rows(self, ids: frozenset[str]) -> Iterator[int]:
        return (self._row[key] for key in ids)

    def _best_sentence(self, row: int, vector: np.ndarray, otherwise: float) -> float:
        own = self.sentences[self.bounds[row] : self.bounds[row + 1]]
        return float((own @ vector).max()) if len(own) else float(otherwise)


@dataclass(frozen=True, slots=True)
class Asking:
    """One query as text, vector and terms."""

    id: str
    text: str
    vector: np.ndarray
    terms: tuple[int, ...]


class Collection:
    """A judged collection over its index. Its family is what its name begins with, up to `_` and a language code."""

    def __init__(self, folder: Path, index: Index):
        """Reads the folder's queries and judgements, and all of the index."""
        self.name = folder.name
        self.matrix = Matrix(index)
        self._encode, self._analyzer = index.embedder.encode_query, index.analyzer
        self._queries, self._qrels = load_queries(folder / "queries.jsonl"), load_qrels(folder / "qrels.tsv")
        self._excerpts = _excerpts(folder / "excerpts.jsonl")
        n_documents = len({chunk.document_id for chunk in self.matrix.chunks})
        # Of few long documents every query finds the right one: what is judged then is the chunk.
        self._by_chunk = bool(self._excerpts) and len(self.matrix.chunks) > 5 * n_documents
        unanswerable = folder / "unanswerable.jsonl"
        self.unanswerable = self.ask(load_queries(unanswerable)) if unanswerable.is_file() else []
        self.asked = self.ask({key: text for key, text in self._queries.items() if key in self._qrels})
        self.probes = np.stack([self._encode(question) for question in questions()])

    @property
    def family(self) -> str:
        """See `family_of`."""
        return family_of(self.name)

    def ask(self, queries: Mapping[str, str]) -> list[Asking]:
        """The queries, encoded for both legs."""
        return [
            Asking(key, text, self._encode(text), tuple(self._analyzer.query(text).indices))
            for key, text in queries.items()
        ]

    def judged(self, query: Asking, pool: Pool) -> Judged:
        """The query's candidates with what the judgements say of them."""
        found = [self.matrix.chunk(key) for key in pool.ids]
        if self._by_chunk:
            grades = np.array([float(self._covers(query.id, chunk)) for chunk in found])
            n_relevant = sum(self._covers(query.id, chunk) for chunk in self.matrix.chunks)
            return Judged(pool, self.matrix.idf_of(query.terms), np.array(pool.ids), grades, _ideal([1] * n_relevant))
        known = self._qrels[query.id]
        grades = np.array([max(0.0, known.get(chunk.document_id, 0)) for chunk in found])
        units = np.array([chunk.document_id for chunk in found])
        return Judged(pool, self.matrix.idf_of(query.terms), units, grades, _ideal(known.values()))

    def _covers(self, query_id: str, chunk: Chunk) -> bool:
        return any(
            document == chunk.document_id and min(end, chunk.end) - max(start, chunk.start) > COVERED * (end - start)
            for document, start, end in self._excerpts.get(query_id, ())
        )


def degraded(queries: Sequence[Asking], share: float, seed: int = 0) -> list[Asking]:
    """At most `MOST_QUERIES` of them, each without a share of its terms; at least one is left."""
    rng = random.Random(seed)
    kept = rng.sample(list(queries), min(MOST_QUERIES, len(queries)))
    if not share:
        return kept
    return [
        replace(query, terms=tuple(term for term in query.terms if rng.random() >= share) or query.terms[:1])
        for query in kept
    ]


def feature_rows(matrix: Matrix, pools: Sequence[Pool], unrelated: Unrelated) -> np.ndarray:
    """The features of every pool, float64, shape (n_pools, n_features)."""
    return np.array([features(pool, matrix.idf_of(pool.terms.indices), matrix.k1, unrelated) for pool in pools])


def curve(judged: Judged, fuse) -> np.ndarray:
    """nDCG@10 at each of `WEIGHTS` under a fusion, float64, shape (n_weights,)."""
    dense, sparse = judged.pool.legs["dense"], judged.pool.legs["sparse"]
    return np.array([judged.ndcg(fuse(dense, sparse, float(weight)).scores) for weight in WEIGHTS])


def _best(scores: np.ndarray) -> list[int]:
    n = min(CANDIDATES, int(np.isfinite(scores).sum()))
    rows = np.argpartition(-scores, n - 1)[:n]
    return rows[np.argsort(-scores[rows], kind="stable")].tolist()


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def _ideal(grades) -> float:
    best = np.sort([grade for grade in grades if grade > 0])[::-1][:DEPTH]
    return float(best @ DISCOUNT[: len(best)])


def _excerpts(path: Path) -> dict[str, list[tuple[str, int, int]]]:
    found: dict[str, list[tuple[str, int, int]]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            found.setdefault(entry["query_id"], []).append((entry["doc_id"], entry["start"], entry["end"]))
    return found

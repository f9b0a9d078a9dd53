"""From a query to hits: two legs in one round trip, every candidate scored on both, one ranking, reasons kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.errors import InputError
from core.filters import parse_filter
from core.index import Index
from core.sparse import SparseVector
from core.store import Scores
from core.types import Chunk, Hit, LegScore
from search.fusion import Fused, convex, dbsf, min_max, order, rrf
from search.passages import KINDS, POOL, THRESHOLD
from search.reading import Asked, Found, Ranked, Reader

MODES = ("hybrid", "dense", "sparse")
FUSIONS = ("convex", "rrf", "dbsf")
SENTENCE_SHARE = 0.5  # dense score = ½ · cosine of the chunk + ½ · cosine of its best sentence
MAX_K = 10_000
REMEMBERED_QUERIES = 1024  # their vectors: 1.5 MB; another mode or page asks the same query again
NOTHING = SparseVector([], [])


@dataclass(frozen=True, slots=True)
class Results:
    """What a search returned; `notes` says what the caller should know about the query."""

    query: str
    mode: str
    fusion: str | None
    took_ms: float
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Ranking:
    """Candidates of a query, sorted by id, with arrays aligned with them.

    `legs` holds each leg's raw scores, `found` which candidates the leg itself retrieved.
    """

    ids: Sequence[str]
    fused: Fused
    legs: Mapping[str, np.ndarray]
    found: Mapping[str, np.ndarray]
    exact: Scores | None

    def best(self, k: int) -> list[int]:
        """Rows of the `k` best candidates, best first."""
        return order(self.fused.scores)[:k].tolist()


class Retriever:
    """Searches one index. Safe to use from several threads."""

    def __init__(
        self, index: Index, candidates: int = 100, dense_weight: float = 0.6, passage_threshold: float = THRESHOLD
    ):
        """`candidates` is what each leg contributes, `dense_weight` the dense share of the convex fusion.

        `passage_threshold` is the share of the best sentence's score that the sentences of a passage must reach.
        """
        self._index = index
        self._analyzer = index.analyzer
        self._candidates = candidates
        self._dense_weight = dense_weight
        self._reader = Reader(index.store, self._analyzer, dense_weight, passage_threshold)
        self._vector = lru_cache(maxsize=REMEMBERED_QUERIES)(index.embedder.encode_query)

    def search(
        self,
        query: str,
        k: int = 10,
        mode: str = "hybrid",
        fusion: str = "convex",
        where: str | None = None,
        explain: bool = False,
        passage: str = "chunk",
    ) -> Results:
        """The `k` best passages for `query`, with reasons; `explain` adds the matched terms.

        `mode` is hybrid, dense or sparse; `fusion` is convex, rrf or dbsf and counts in hybrid only; `where` is a
        filter (see `core.filters`). `passage` says what a hit returns: its chunk, the sentences that answer, or the
        section around it (see `search.passages`); the latter two may give fewer than `k` hits, since neighbours are
        joined, and a passage of sentences scores as its best one.
        Raises `InputError` for an empty query, k outside [1, 10000], or an unknown mode, fusion, passage or filter
        field.
        """
        started = time.perf_counter()
        vector, notes = self._encode(_checked(query, k, mode, fusion, passage), mode)
        with self._index.store.reading():
            ranking = self._rank(query, vector, max(self._candidates, k), mode, fusion, where)
            found = self._read(ranking, k, passage, Asked(vector, self._terms(query, mode)))
        hits = self._hits(ranking, found, mode, query if explain else None)
        took_ms = (time.perf_counter() - started) * 1000
        return Results(query, mode, fusion if mode == "hybrid" else None, took_ms, hits, tuple(notes))

    def rank_documents(
        self, query: str, k: int = 100, mode: str = "hybrid", fusion: str = "convex", where: str | None = None
    ) -> list[tuple[str, float]]:
        """The `k` best documents with their scores, each scored by its best chunk; raises like `search`."""
        vector, _ = self._encode(_checked(query, k, mode, fusion, "chunk"), mode)
        depth = max(self._candidates, 2 * k)  # several chunks may belong to one document
        with self._index.store.reading():
            ranking = self._rank(query, vector, depth, mode, fusion, where)
            owners = self._index.store.owners(ranking.ids)
        documents: dict[str, float] = {}
        for row in ranking.best(len(ranking.ids)):
            for document_id in owners.get(ranking.ids[row], ()):  # none where another process has removed it since
                documents.setdefault(document_id, float(ranking.fused.scores[row]))
        return sorted(documents.items(), key=lambda found: (-found[1], found[0]))[:k]

    def _terms(self, query: str, mode: str) -> SparseVector:
        return self._analyzer.query(query) if mode != "dense" else NOTHING

    def _encode(self, query: str, mode: str) -> tuple[np.ndarray | None, list[str]]:
        if mode == "sparse":
            return None, []
        embedder = self._index.embedder
        n_tokens = len(embedder.tokenizer.encode([embedder.prompts["query"] + query])[0])
        limit = embedder.tokenizer.max_tokens
        notes = []
        if n_tokens > limit:
            notes.append(f"The query has {n_tokens} tokens; the encoder read the first {limit}, BM25 read all.")
        return self._vector(query), notes

    def _rank(
        self, query: str, vector: np.ndarray | None, depth: int, mode: str, method: str, where: str | None
    ) -> _Ranking:
        condition = parse_filter(where, self._index.meta.fields) if where and where.strip() else None
        terms = self._terms(query, mode)
        candidates = self._index.store.candidates(vector, terms, depth, condition)
        listed = {"dense": dict(candidates.dense), "sparse": dict(candidates.sparse)}
        ids = sorted(listed["dense"].keys() | listed["sparse"].keys())
        found = {leg: np.array([key in scores for key in ids], dtype=bool) for leg, scores in listed.items()}
        if vector is None:
            sparse = np.array([listed["sparse"][key] for key in ids], dtype=np.float64)
            return _Ranking(ids, Fused(sparse, np.zeros_like(sparse), sparse), {"sparse": sparse}, found, None)
        exact = self._index.store.score(ids, vector, terms)
        dense = (1 - SENTENCE_SHARE) * exact.cosine + SENTENCE_SHARE * exact.sentence
        if mode == "dense":
            return _Ranking(ids, Fused(dense, dense, np.zeros_like(dense)), {"dense": dense}, found, exact)
        legs = {"dense": dense, "sparse": exact.sparse}
        return _Ranking(ids, self._fuse(method, legs, found), legs, found, exact)

    def _fuse(self, method: str, legs: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Fused:
        if method == "convex":
            return convex(legs["dense"], legs["sparse"], self._dense_weight)
        if method == "dbsf":
            return dbsf(legs["dense"], legs["sparse"])
        # Ranks are those of the lists that the legs returned, as published: no scores are completed here.
        return rrf(*(np.where(found[leg], legs[leg], np.nan) for leg in ("dense", "sparse")))

    def _read(self, ranking: _Ranking, k: int, passage: str, asked: Asked) -> list[Found]:
        """What a search returns of the best chunks, best first."""
        rows = ranking.best(max(k, POOL) if passage == "sentences" else k)
        scaled = min_max(ranking.fused.scores)
        ranked = [Ranked(ranking.ids[row], row, float(scaled[row])) for row in rows]
        if passage == "sentences":
            return self._reader.sentences(ranked, asked, k)
        return self._reader.sections(ranked, asked) if passage == "section" else self._reader.chunks(ranked, asked)

    def _hits(self, ranking: _Ranking, results: Sequence[Found], mode: str, explained: str | None) -> tuple[Hit, ...]:
        ranks = {leg: _ranks(scores) for leg, scores in ranking.legs.items()}
        normalized = {"dense": ranking.fused.dense, "sparse": ranking.fused.sparse}
        terms = self._analyzer.terms(explained) if explained and mode != "dense" else {}
        hits: list[Hit] = []
        for found in results:
            row = found.row
            legs = {
                leg: LegScore(
                    rank=int(ranks[leg][row]) or None,
                    score=float(scores[row]),
                    normalized=float(normalized[leg][row]),
                    found=bool(ranking.found[leg][row]),
                )
                for leg, scores in ranking.legs.items()
            }
            hits.append(
                Hit(
                    rank=len(hits) + 1,
                    score=float(ranking.fused.scores[row]) if found.score is None else found.score,
                    chunk=found.stored.chunk,
                    legs=legs,
                    best_sentence=found.best_sentence,
                    cosine=float(ranking.exact.cosine[row]) if ranking.exact else None,
                    sentence_cosine=float(ranking.exact.sentence[row]) if ranking.exact else None,
                    matched_terms=self._matched(terms, found.stored.chunk) if terms else (),
                    passage=found.passage,
                )
            )
        return tuple(hits)

    def _matched(self, terms: Mapping[int, str], chunk: Chunk) -> tuple[str, ...]:
        present = set(self._analyzer.document(chunk.lexical_text).indices)
        return tuple(dict.fromkeys(word for index, word in terms.items() if index in present))


def _checked(query: str, k: int, mode: str, method: str, passage: str) -> str:
    if not query.strip():
        raise InputError("The query is empty; give at least one word.")
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}; it must lie between 1 and {MAX_K}.")
    if mode not in MODES:
        raise InputError(f"Unknown mode {mode!r}; use one of {', '.join(MODES)}.")
    if method == "tuned":
        raise InputError("This index hasn't been tuned; use fusion convex, rrf or dbsf.")
    if method not in FUSIONS:
        raise InputError(f"Unknown fusion {method!r}; use one of {', '.join(FUSIONS)}.")
    if passage not in KINDS:
        raise InputError(f"Unknown passage {passage!r}; use one of {', '.join(KINDS)}.")
    return query


def _ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 by falling score, 0 where the leg gave nothing (a score of exactly 0)."""
    ranks = np.zeros(len(scores), dtype=np.int64)
    ranked = order(scores)
    ranks[ranked] = np.arange(1, len(ranked) + 1)
    ranks[scores == 0] = 0
    return ranks

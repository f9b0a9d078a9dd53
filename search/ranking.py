"""From a query to one ranking: two legs in one round trip, every candidate scored on both, then fused.

The steps can be taken apart: `Ranker.ask` reads the query, `Ranker.gather` finds its candidates and scores them,
`Ranker.fuse` makes one ranking of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from core.errors import InputError
from core.filters import parse_filter
from core.index import Index
from core.sparse import SparseVector
from core.store import Candidates, Scores
from core.unrelated import Unrelated, measure_unrelated
from search.fusion import EQUAL, FUSIONS, WEIGHTED, Fused, order
from search.stages import Watch, unwatched

MODES = ("hybrid", "dense", "sparse")
FUSION_NAMES = (*FUSIONS, "tuned")
CANDIDATES = 100  # of each leg
DENSE_WEIGHT = 0.6
SENTENCE_SHARE = 0.5  # dense score = ½ · cosine of the chunk + ½ · cosine of its best sentence
REMEMBERED_TERMS = 50_000  # their document frequencies
REMEMBERED_QUERIES = 1024  # their vectors: 1.5 MB; another mode or page asks the same query again
NOTHING = SparseVector([], [])


@dataclass(frozen=True, slots=True)
class Asked:
    """A query as the legs of its mode see it.

    `vector` is float32, shape (dim,), of length 1, None in sparse mode; `terms` are empty in dense mode. `notes` says
    what the one who asked should know.
    """

    text: str
    mode: str
    vector: np.ndarray | None
    terms: SparseVector
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """A query's candidates, those that either leg returned, each scored on every leg; not yet fused.

    `ids` are sorted, and all arrays are aligned with them, shape (n_candidates,). `lists` are the legs' own answers,
    ids with raw scores in the leg's own order (the dense leg's score there is the chunk's cosine alone). `legs` holds
    the raw scores of each leg of the mode, float64; `found` tells which candidates the leg itself returned, bool.
    `exact` are the scores that `legs` was made of, None in sparse mode.
    """

    asked: Asked
    lists: Candidates
    ids: list[str]
    legs: Mapping[str, np.ndarray]
    found: Mapping[str, np.ndarray]
    exact: Scores | None

    @property
    def vector(self) -> np.ndarray | None:
        """The query's vector, None in sparse mode."""
        return self.asked.vector

    @property
    def terms(self) -> SparseVector:
        """The query's BM25 terms, none in dense mode."""
        return self.asked.terms


@dataclass(frozen=True, slots=True)
class Ranking(Pool):
    """Candidates with their fused scores; `weight` is the share that the dense leg had in them, in [0, 1]."""

    fused: Fused
    fusion: str | None  # None where there was only one leg
    weight: float

    def best(self, k: int | None = None) -> list[int]:
        """Rows of the `k` best candidates, or of all, best first; ties by id."""
        return order(self.fused.scores)[:k].tolist()


class Ranker:
    """Ranks the chunks of one index. Safe to use from several threads."""

    def __init__(
        self,
        index: Index,
        candidates: int = CANDIDATES,
        dense_weight: float = DENSE_WEIGHT,
        watch: Watch = unwatched,
    ):
        """`candidates` is what each leg contributes; `watch` sees the stages (`search.stages`).

        `dense_weight`, in [0, 1], is the dense leg's share in the fusions that know weights, except in `tuned`: there
        it is what `limpid tune` has found for the index.
        """
        self.candidates = candidates
        self._index = index
        self._dense_weight = dense_weight
        self._idf: dict[int, float | None] = {}
        self._watch = watch
        self._vector = lru_cache(maxsize=REMEMBERED_QUERIES)(self._encode)

    @property
    def default_fusion(self) -> str:
        """What is used where no fusion is asked for: tuned, once the index has been."""
        return "tuned" if self._index.meta.tuning else "convex"

    @property
    def default_weight(self) -> float:
        """The dense leg's share where neither a fusion nor a weight is asked for."""
        return self._weight(self.default_fusion)

    @property
    def remembered(self) -> tuple[int, int]:
        """How many queries' vectors were remembered, and how many had to be encoded."""
        known = self._vector.cache_info()
        return known.hits, known.misses

    @property
    def unrelated(self) -> Unrelated:
        """What unrelated questions reach in this index; measured now where no ingest has.

        Ask for it first in the main thread: the measuring compiles the encoder, which changes the process' locale.
        """
        if self._index.meta.unrelated is None:
            self._index.meta.unrelated = measure_unrelated(self._index.store, self._index.embedder).to_json()
        return Unrelated.from_json(self._index.meta.unrelated)

    def idf(self, terms: Sequence[int]) -> dict[int, float]:
        """As `Store.idf`; what was asked before is remembered."""
        known = {term: self._idf[term] for term in terms if term in self._idf}
        if missing := [term for term in terms if term not in known]:
            found = self._index.store.idf(missing)
            if len(self._idf) > REMEMBERED_TERMS:
                self._idf = {}  # another one, since other threads may be reading
            self._idf.update(added := {term: found.get(term) for term in missing})
            known |= added
        return {term: value for term, value in known.items() if value is not None}

    def ask(self, query: str, mode: str = "hybrid") -> Asked:
        """The query, encoded for the legs of `mode`. Raises `InputError` for an empty query or an unknown mode."""
        if not query.strip():
            raise InputError("The query is empty; give at least one word.")
        if mode not in MODES:
            raise InputError(f"Unknown mode {mode!r}; use one of {', '.join(MODES)}.")
        terms = self._index.analyzer.query(query) if mode != "dense" else NOTHING
        if mode == "sparse":
            return Asked(query, mode, None, terms)
        return Asked(query, mode, self._vector(query), terms, self._notes(query))

    def gather(self, asked: Asked, depth: int | None = None, where: str | None = None) -> Pool:
        """The best `depth` candidates of each leg (`candidates` unless given), scored on both.

        `where` is a filter (see `core.filters`). Raises `InputError` where that can't be read.
        """
        with self._watch("legs"):
            return self._gathered(asked, depth or self.candidates, where)

    def _gathered(self, asked: Asked, depth: int, where: str | None) -> Pool:
        store, vector, terms = self._index.store, asked.vector, asked.terms
        condition = parse_filter(where, self._index.meta.fields) if where and where.strip() else None
        lists = store.candidates(vector, terms, depth, condition)
        listed = {"dense": dict(lists.dense), "sparse": dict(lists.sparse)}
        ids = sorted(listed["dense"].keys() | listed["sparse"].keys())
        found = {leg: np.array([key in scores for key in ids], dtype=bool) for leg, scores in listed.items()}
        if vector is None:
            sparse = np.array([listed["sparse"][key] for key in ids], dtype=np.float64)
            return Pool(asked, lists, ids, {"sparse": sparse}, found, None)
        exact = store.score(ids, vector, terms)
        legs = {"dense": (1 - SENTENCE_SHARE) * exact.cosine + SENTENCE_SHARE * exact.sentence}
        if asked.mode == "hybrid":
            legs["sparse"] = exact.sparse
        return Pool(asked, lists, ids, legs, found, exact)

    def fuse(self, pool: Pool, fusion: str | None = None, weight: float | None = None) -> Ranking:
        """One ranking of the candidates, by the default fusion unless another is named.

        `weight` replaces what the ranker would give the dense leg. With one leg its raw scores rank, and `fusion`
        doesn't count. Raises `InputError` for an unknown fusion, and for `tuned` where the index isn't.
        """
        fusion = self._checked(fusion)
        name = "convex" if fusion == "tuned" else fusion
        if "sparse" not in pool.legs:
            dense = pool.legs["dense"]
            return _ranking(pool, Fused(dense, dense, np.zeros_like(dense)), None, 1.0)
        sparse = pool.legs["sparse"]
        if "dense" not in pool.legs:
            return _ranking(pool, Fused(sparse, np.zeros_like(sparse), sparse), None, 0.0)
        if weight is None:
            weight = self._weight(fusion)
        # A BM25 score of 0 has no rank: no term occurs, and the order of ids would rank what the leg can't.
        judged = np.where(sparse == 0, np.nan, sparse) if name == "rrf" else sparse
        with self._watch("fusion"):
            fused = FUSIONS[name](pool.legs["dense"], judged, weight)
        return _ranking(pool, fused, fusion, weight)

    def rank(
        self,
        query: str,
        mode: str = "hybrid",
        fusion: str | None = None,
        where: str | None = None,
        depth: int | None = None,
    ) -> Ranking:
        """All three steps at once; raises as they do."""
        self._checked(fusion)
        return self.fuse(self.gather(self.ask(query, mode), depth, where), fusion)

    def _checked(self, fusion: str | None) -> str:
        """The fusion that is meant."""
        if fusion is None:
            return self.default_fusion
        if fusion not in FUSION_NAMES:
            raise InputError(f"Unknown fusion {fusion!r}; use one of {', '.join(FUSION_NAMES)}.")
        if fusion == "tuned" and not self._index.meta.tuning:
            raise InputError("The index isn't tuned: run limpid tune, or use another fusion, such as convex.")
        return fusion

    def _weight(self, fusion: str) -> float:
        if fusion == "tuned":
            return float(self._index.meta.tuning["alpha"])
        return self._dense_weight if fusion in WEIGHTED else EQUAL

    def _encode(self, query: str) -> np.ndarray:
        with self._watch("encode"):
            return self._index.embedder.encode_query(query)

    def _notes(self, query: str) -> tuple[str, ...]:
        embedder = self._index.embedder
        n_tokens = len(embedder.tokenizer.encode([embedder.prompts["query"] + query])[0])
        limit = embedder.tokenizer.max_tokens
        if n_tokens <= limit:
            return ()
        return (f"The query has {n_tokens} tokens; the encoder read the first {limit}, BM25 read all.",)


def ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks from 1 by falling score, int64; 0 where the leg gave nothing (a score of exactly 0); ties by position."""
    ranked = order(scores)
    placed = np.zeros(len(scores), dtype=np.int64)
    placed[ranked] = np.arange(1, len(ranked) + 1)
    placed[scores == 0] = 0
    return placed


def _ranking(pool: Pool, fused: Fused, fusion: str | None, weight: float) -> Ranking:
    return Ranking(pool.asked, pool.lists, pool.ids, pool.legs, pool.found, pool.exact, fused, fusion, weight)

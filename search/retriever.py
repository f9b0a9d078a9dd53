"""From a query to hits: ranked, listed, read, with the reasons kept."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np

from core.errors import InputError
from core.index import Index
from core.types import Chunk, Hit, LegScore
from search.features import features
from search.listing import Placed, diversified, grouped, parts, placed, reranked
from search.options import Options
from search.passages import THRESHOLD
from search.query_log import QueryLog
from search.ranking import CANDIDATES, DENSE_WEIGHT, Asked, Ranker, Ranking, ranks
from search.reading import Found, Reader
from search.rerank import Reranker
from search.signals import Signals, signals
from search.stages import Watch, unwatched


@dataclass(frozen=True, slots=True)
class Results:
    """What a search returned, how sure it is of that, and in `notes` what the caller should know about the query."""

    query: str
    mode: str
    fusion: str | None
    took_ms: float
    hits: tuple[Hit, ...]
    signals: Signals
    notes: tuple[str, ...] = ()


class Retriever:
    """Searches one index. Safe to use from several threads."""

    def __init__(
        self,
        index: Index,
        candidates: int = CANDIDATES,
        dense_weight: float = DENSE_WEIGHT,
        passage_threshold: float = THRESHOLD,
        reranker: Reranker | None = None,
        log: QueryLog | None = None,
        watch: Watch = unwatched,
    ):
        """`candidates`, `dense_weight` and `watch` are as for `Ranker`.

        With a `reranker` searches may be reranked; they are by default where `limpid tune` has measured a gain. The
        features of hybrid searches are added to `log`.

        `passage_threshold` is the share of the best sentence's score that the sentences of a passage must reach.
        """
        self.ranker = Ranker(index, candidates, dense_weight, watch)
        self._index = index
        self._reader = Reader(index, passage_threshold, self.ranker.idf)
        self._reranker = reranker
        self._log = log
        self._watch = watch

    def search(self, query: str, k: int = 10, mode: str = "hybrid", **options: Any) -> Results:
        """The `k` best passages for `query`, with reasons. What else can be asked for is described in `Options`.

        Pages fit together: what `offset` and `k` cut out of the list doesn't change the list. Hits that became one
        passage count once.
        Raises `InputError` for an empty query and for options that can't be.
        """
        started = time.perf_counter()
        wanted = Options(k=k, mode=mode, **options)
        asked = self.ranker.ask(query, mode)
        notes = list(asked.notes)
        with self._index.store.reading():
            ranking = self.ranker.fuse(self.ranker.gather(asked, where=wanted.where), wanted.fusion, wanted.weight)
            with self._watch("payload"):
                found = self._page(ranking, wanted, notes)
            with self._watch("signals"):
                signals = self._signals(ranking)
        hits = self._hits(found, wanted.offset, query if wanted.explain and mode != "dense" else None)
        took_ms = (time.perf_counter() - started) * 1000
        fusion = (wanted.fusion or self.ranker.default_fusion) if mode == "hybrid" else None
        return Results(query, mode, fusion, took_ms, hits, signals, (*notes, *signals.notes()))

    def rank_documents(
        self,
        query: str,
        k: int = 100,
        mode: str = "hybrid",
        fusion: str | None = None,
        where: str | None = None,
        rerank: bool | None = None,
    ) -> list[tuple[str, float]]:
        """The `k` best documents with their scores, each scored by its best chunk; raises like `search`.

        Reranked documents score 1 / rank: no other number orders both those that the cross-encoder read and the rest.
        """
        wanted = Options(k=k, mode=mode, fusion=fusion, where=where, rerank=rerank)
        reranker = self._asked_reranker(wanted)
        asked = self.ranker.ask(query, mode)
        depth = max(self.ranker.candidates, 2 * k)  # several chunks may belong to one document
        with self._index.store.reading():
            ranking = self.ranker.fuse(self.ranker.gather(asked, depth, where), fusion)
            listed = list(placed(ranking, ranking.best()))
            if reranker:
                listed = self._reranked(reranker, asked, listed, [])
            owners = self._index.store.owners(ranking.ids)
        if reranker:
            documents = _documents(((entry.id, entry.score) for entry in listed), owners)
            return [(document_id, 1 / rank) for rank, document_id in enumerate(list(documents)[:k], start=1)]
        return _best_documents(ranking, owners, k)

    def rank_by_weights(self, query: str, weights: Sequence[float], k: int = 10) -> list[list[tuple[str, float]]]:
        """The `k` best documents under the convex fusion, once for every dense weight; raises like `search`."""
        asked = self.ranker.ask(query)
        with self._index.store.reading():
            pool = self.ranker.gather(asked)
            owners = self._index.store.owners(pool.ids)
        return [_best_documents(self.ranker.fuse(pool, "convex", weight), owners, k) for weight in weights]

    @property
    def can_rerank(self) -> bool:
        """Whether a cross-encoder is set up."""
        return self._reranker is not None

    def _signals(self, ranking: Ranking) -> Signals:
        """What the query's usual candidates say of it, whatever page of them is asked for."""
        asked, unrelated = ranking.asked, self.ranker.unrelated
        idf = self.ranker.idf(asked.terms.indices)
        absent = {term for term in asked.terms.indices if term not in idf}
        words = self._index.analyzer.terms(asked.text) if absent else {}
        unknown = tuple(dict.fromkeys(word for term, word in words.items() if term in absent))
        row = None
        if asked.mode == "hybrid":
            row = features(ranking, idf, self._index.meta.fingerprint.bm25_k1, unrelated)
            if self._log:
                self._log.add(row)
        nearest = float(ranking.exact.sentence.max()) if ranking.exact and ranking.ids else None
        return signals(row, nearest, unrelated, unknown)

    def _page(self, ranking: Ranking, wanted: Options, notes: list[str]) -> list[Found]:
        """The wanted part of the list that begins with `ranking`, read; adds to `notes` what happened on the way."""
        asked = ranking.asked
        listed = self._list(ranking, wanted, notes)
        end = wanted.offset + wanted.k
        if wanted.passage == "sentences":
            per_document = wanted.per_document if wanted.group else None
            return self._reader.sentences(listed, asked, end, per_document)[wanted.offset :]
        if wanted.passage == "section":
            return self._reader.sections(listed, asked, end)[wanted.offset :]
        if wanted.neighbours:
            return self._reader.surroundings(listed, asked, wanted.neighbours, end)[wanted.offset :]
        return self._reader.chunks(islice(listed, wanted.offset, end), asked)

    def _list(self, ranking: Ranking, wanted: Options, notes: list[str]) -> Iterator[Placed]:
        """All that can be found, in its final order."""
        found = self._refined(parts(self.ranker, ranking, wanted.where), ranking.asked, wanted, notes)
        if wanted.group and wanted.passage != "sentences":  # several of them may come from one chunk
            found = grouped(found, self._index.store.owners, wanted.per_document)
        return chain.from_iterable(found)

    def _refined(
        self, found: Iterator[Iterator[Placed]], asked: Asked, wanted: Options, notes: list[str]
    ) -> Iterator[Iterable[Placed]]:
        """The list with its first part reordered as wanted."""
        reranker = self._asked_reranker(wanted)
        if not reranker and not wanted.diversity:
            yield from found
            return
        first = list(next(found, ()))
        if reranker:
            first = self._reranked(reranker, asked, first, notes)
        if wanted.diversity:
            first = diversified(first, self._index.store.vectors([entry.id for entry in first]), wanted.diversity)
        yield first
        yield from found

    def _asked_reranker(self, wanted: Options) -> Reranker | None:
        if wanted.rerank and self._reranker is None:
            raise InputError("There is no reranker. Name a cross-encoder in the setting reranker (LIMPID_RERANKER).")
        is_wanted = wanted.rerank if wanted.rerank is not None else self._reranks_by_default
        return self._reranker if is_wanted else None

    @property
    def _reranks_by_default(self) -> bool:
        return bool((self._index.meta.tuning or {}).get("rerank"))

    def _reranked(self, reranker: Reranker, asked: Asked, listed: list[Placed], notes: list[str]) -> list[Placed]:
        """The list with its first entries in the cross-encoder's order."""
        head = listed[: reranker.depth]
        stored = self._index.store.fetch([entry.id for entry in head])
        head = [entry for entry in head if entry.id in stored]
        with self._watch("rerank"):
            read = reranker.read(asked.text, [stored[entry.id].chunk for entry in head])
        notes.extend(read.notes)
        return reranked([*head, *listed[reranker.depth :]], read.scores)

    def _hits(self, results: Sequence[Found], offset: int, explained: str | None) -> tuple[Hit, ...]:
        terms = self._index.analyzer.terms(explained) if explained else {}
        rankings = {id(found.placed.ranking): found.placed.ranking for found in results}
        leg_ranks = {
            key: {leg: ranks(scores) for leg, scores in ranking.legs.items()} for key, ranking in rankings.items()
        }
        hits: list[Hit] = []
        for rank, found in enumerate(results, start=offset + 1):
            entry, chunk = found.placed, found.stored.chunk
            exact, row = entry.ranking.exact, entry.row
            hits.append(
                Hit(
                    rank=rank,
                    score=entry.score if found.score is None else found.score,
                    chunk=chunk,
                    legs=_legs(entry.ranking, row, leg_ranks[id(entry.ranking)]),
                    best_sentence=found.best_sentence,
                    cosine=float(exact.cosine[row]) if exact else None,
                    sentence_cosine=float(exact.sentence[row]) if exact else None,
                    matched_terms=self._matched(terms, chunk) if terms else (),
                    passage=found.passage,
                    reranked=entry.reranked,
                    n_more=entry.n_more,
                )
            )
        return tuple(hits)

    def _matched(self, terms: Mapping[int, str], chunk: Chunk) -> tuple[str, ...]:
        present = set(self._index.analyzer.document(chunk.lexical_text).indices)
        return tuple(dict.fromkeys(word for index, word in terms.items() if index in present))


def _documents(scored: Iterable[tuple[str, float]], owners: Mapping[str, list[str]]) -> dict[str, float]:
    """The documents of chunks, each with the score of its first one; chunks that were removed since have none."""
    documents: dict[str, float] = {}
    for chunk_id, score in scored:
        for document_id in owners.get(chunk_id, ()):
            documents.setdefault(document_id, score)
    return documents


def _best_documents(ranking: Ranking, owners: Mapping[str, list[str]], k: int) -> list[tuple[str, float]]:
    scores = ranking.fused.scores
    documents = _documents(((ranking.ids[row], float(scores[row])) for row in ranking.best()), owners)
    return sorted(documents.items(), key=lambda found: (-found[1], found[0]))[:k]


def _legs(ranking: Ranking, row: int, leg_ranks: Mapping[str, np.ndarray]) -> dict[str, LegScore]:
    """What each leg gave one candidate."""
    normalized = {"dense": ranking.fused.dense, "sparse": ranking.fused.sparse}
    return {
        leg: LegScore(
            rank=int(leg_ranks[leg][row]) or None,
            score=float(scores[row]),
            normalized=float(normalized[leg][row]),
            found=bool(ranking.found[leg][row]),
        )
        for leg, scores in ranking.legs.items()
    }

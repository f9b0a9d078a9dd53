"""What an index shows of a query that fared badly: where its answer stands, what stands above it, how crowded it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from math import inf

import numpy as np

from core.filters import OneOf, Some
from core.index import Index
from core.sparse import SparseVector
from core.store import StoredChunk
from core.types import Chunk
from core.unrelated import Unrelated, measure_unrelated
from eval.diagnose.density import N_NEIGHBOURS, crowded_above
from eval.diagnose.muddy import find_muddy
from eval.passages import Stretch, score
from eval.sample import collect

LEGS = ("dense", "sparse")
N_ANSWERS = 3  # of a query that are looked at
N_ABOVE = 20  # passages above an answer that are read
N_SAMPLE = 400  # chunks that stand for the corpus: a moment to read, and enough peers for each number of sentences
N_PROBES = 200  # of them, whose neighbourhoods say how dense the corpus is
HALF = 0.5
MIN_PROBES = 30  # fewer are no corpus to compare with

RankChunks = Callable[[str, str], Sequence[tuple[str, float]]]  # (query, mode) -> chunk ids with scores, best first


@dataclass(frozen=True, slots=True)
class Wanted:
    """Something that a search should have found: a document, or a stretch of one.

    `chunks` are those that hold it: all of a document, of a stretch those with at least half as many of its characters
    as any other. `touching` are the ids of all that hold some of it.
    """

    document_id: str
    stretch: Stretch | None
    chunks: tuple[Chunk, ...]
    touching: frozenset[str]

    @property
    def ids(self) -> frozenset[str]:
        """Of the chunks."""
        return frozenset(chunk.id for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Answer:
    """The chunk that should have been returned for a query, and what the query finds in it.

    `stored` has its vectors, `cosine` is the query's to it. `best_cosine`, `best_sentence` and `best_sparse` are the
    best that any chunk with the answer reaches: by its vector, by a sentence, by BM25. `ranks` are 1 + the number of
    passages (of documents, where these are judged) without an answer that a mode puts above it, None where the mode's
    candidates lack it. `above` are the first of those passages in the leading mode, `above_cosines` and `near` their
    cosines to query and answer.
    """

    wanted: Wanted
    stored: StoredChunk
    cosine: float
    best_cosine: float
    best_sentence: float
    best_sparse: float
    ranks: Mapping[str, int | None]
    above: tuple[Chunk, ...]
    above_cosines: np.ndarray
    near: np.ndarray

    @property
    def chunk(self) -> Chunk:
        """The chunk itself."""
        return self.stored.chunk


class Inspection:
    """Reads an open index for the causes of failures; what stands for the corpus is read when it is first needed."""

    def __init__(self, index: Index, rank: RankChunks, muddy: Mapping[str, Mapping[str, object]] | None = None):
        """`rank` gives the candidates of a search; `muddy` the scores of a diagnosis by chunk, where one was made."""
        self.index = index
        self._rank = rank
        self._muddy = dict(muddy or {})
        self._is_diagnosed = muddy is not None
        self._chunks: dict[str, list[Chunk]] = {}

    def wanted(self, document_ids: Iterable[str], stretches: Sequence[Stretch]) -> list[Wanted]:
        """What answers a query: the stretches where there are any, else the documents; some may have no chunks."""
        ids = sorted({key for key, _, _ in stretches} if stretches else set(document_ids))
        self._read_chunks(ids)
        if not stretches:
            return [
                Wanted(key, None, tuple(self._chunks[key]), frozenset(chunk.id for chunk in self._chunks[key]))
                for key in ids
            ]
        return [self._holding(stretch) for stretch in stretches]

    def answers(
        self, text: str, wanted: Sequence[Wanted], leading: str, visible: int, returned: Sequence[Stretch]
    ) -> list[Answer]:
        """The answers that the leading mode missed, all of them where it missed none.

        A document is missed where it isn't among the first `visible`, a stretch where the passages `returned` hold
        less than half of it. At most `N_ANSWERS` are read, best placed first.
        """
        held = [one for one in wanted if one.chunks]
        if not held:
            return []
        lists = {mode: list(self._rank(text, mode)) for mode in dict.fromkeys((*LEGS, leading))}
        owners = self.index.store.owners(sorted({key for listed in lists.values() for key, _ in listed}))
        right = set().union(*(one.touching for one in held))
        ranks = [
            {mode: _rank_of(one, listed, right, owners, mode == leading) for mode, listed in lists.items()}
            for one in held
        ]
        order = sorted(range(len(held)), key=lambda i: (ranks[i][leading] or inf, i))
        missed = [i for i in order if _is_missed(held[i], ranks[i][leading], visible, returned)] or order
        vector, terms = self.index.embedder.encode_query(text), self.index.analyzer.query(text)
        return [
            self._answer(held[i], ranks[i], vector, terms, [key for key, _ in lists[leading]], right)
            for i in missed[:N_ANSWERS]
        ]  # fmt: skip

    def _answer(
        self,
        wanted: Wanted,
        ranks: Mapping[str, int | None],
        vector: np.ndarray,
        terms: SparseVector,
        listed: Sequence[str],
        right: set[str],
    ) -> Answer:
        places = {key: place for place, key in enumerate(listed)}
        scores = self.index.store.score([chunk.id for chunk in wanted.chunks], vector, terms)
        dense = scores.cosine + scores.sentence
        best = min(range(len(dense)), key=lambda i: (places.get(wanted.chunks[i].id, inf), -dense[i]))
        found = wanted.chunks[best].id
        first = min((places[chunk.id] for chunk in wanted.chunks if chunk.id in places), default=len(listed))
        ids = [key for key in listed[:first] if key not in right][:N_ABOVE]
        stored = self.index.store.fetch([found, *ids], sentences=True)
        vectors = self.index.store.vectors([found, *ids])
        ids = [key for key in ids if key in stored and key in vectors]
        matrix = np.array([vectors[key] for key in ids]).reshape(-1, len(vector))
        return Answer(
            wanted=wanted,
            stored=replace(stored[found], dense=vectors[found]),
            cosine=float(scores.cosine[best]),
            best_cosine=float(scores.cosine.max()),
            best_sentence=float(scores.sentence.max()),
            best_sparse=float(scores.sparse.max()),
            ranks=ranks,
            above=tuple(stored[key].chunk for key in ids),
            above_cosines=matrix @ vector,
            near=matrix @ vectors[found],
        )

    def muddy(self, answers: Sequence[Answer]) -> Mapping[str, Mapping[str, object]]:
        """What the muddy-chunk check says of the answers' chunks, by id, against `N_SAMPLE` chunks of this corpus."""
        if not self._is_diagnosed and any(answer.chunk.id not in self._muddy for answer in answers):
            rows = {stored.chunk.id: stored for stored in (*self._sample, *(answer.stored for answer in answers))}
            sample = collect(
                ((row.chunk, row.dense, row.sentences) for row in rows.values()),
                self.index.embedder.tokenizer.max_tokens,
            )
            scores = find_muddy(sample).scores["muddy"]
            self._muddy |= {chunk.id: row for chunk, row in zip(sample.chunks, scores, strict=True)}
        return self._muddy

    def density(self, chunk_id: str, vector: np.ndarray) -> float:
        """The cosine of a chunk to its tenth nearest other one, to the last one where there are fewer."""
        found = [score for key, score in self._nearest(vector) if key != chunk_id]
        return found[:N_NEIGHBOURS][-1] if found else 0.0

    @cached_property
    def crowded_above(self) -> float:
        """The density above which a chunk's region is crowded, by `N_PROBES` chunks of this corpus as in a report.

        Infinite where there are too few chunks to say.
        """
        probes = self._sample[:N_PROBES]
        if len(probes) < MIN_PROBES:
            return inf
        return crowded_above(np.array([self.density(row.chunk.id, row.dense) for row in probes]))

    @cached_property
    def unrelated(self) -> Unrelated:
        """What unrelated questions reach in this index."""
        stored = self.index.meta.unrelated
        return Unrelated.from_json(stored) if stored else measure_unrelated(self.index.store, self.index.embedder)

    @cached_property
    def _sample(self) -> list[StoredChunk]:
        """Ids are hashes, and a scan is in their order: its beginning is a random sample."""
        return list(islice(self.index.scan(), N_SAMPLE))

    def _nearest(self, vector: np.ndarray) -> list[tuple[str, float]]:
        return self.index.store.candidates(vector, None, N_NEIGHBOURS + 1).dense

    def _read_chunks(self, document_ids: Iterable[str]) -> None:
        missing = tuple(key for key in document_ids if key not in self._chunks)
        if not missing:
            return
        self._chunks |= {key: [] for key in missing}
        for batch in self.index.store.scan(where=Some((OneOf("document_id", missing), OneOf("also_in", missing)))):
            for stored in batch:
                for owner in {stored.chunk.document_id, *stored.chunk.also_in} & set(missing):
                    self._chunks[owner].append(stored.chunk)

    def _holding(self, stretch: Stretch) -> Wanted:
        """The stretch with its chunks; where its document shares the text with another, they are found by its words."""
        document_id, start, end = stretch
        held = [(chunk, n) for chunk in self._chunks[document_id] if (n := _overlap(chunk, stretch))]
        most = max((n for _, n in held), default=0)
        chunks = tuple(chunk for chunk, n in held if n >= HALF * most)
        touching = frozenset(chunk.id for chunk, _ in held)
        shared = [chunk for chunk in self._chunks[document_id] if chunk.document_id != document_id]
        if not chunks and shared:
            record = self.index.store.record(document_id)
            text = record.text[start:end] if record else ""
            chunks = tuple(chunk for chunk in shared if text and (text in chunk.text or chunk.text in text))
            touching = frozenset(chunk.id for chunk in chunks)
        return Wanted(document_id, stretch, chunks, touching)


def coverage(stretch: Stretch, returned: Sequence[Stretch]) -> float:
    """Share of a stretch that passages hold."""
    return score(returned, [stretch])[0]


def _is_missed(wanted: Wanted, rank: int | None, visible: int, returned: Sequence[Stretch]) -> bool:
    if wanted.stretch is None:
        return rank is None or rank > visible
    return coverage(wanted.stretch, returned) < HALF


def _overlap(chunk: Chunk, stretch: Stretch) -> int:
    """Characters of the stretch that the chunk holds."""
    if chunk.document_id != stretch[0]:
        return 0
    return max(0, min(chunk.end, stretch[2]) - max(chunk.start, stretch[1]))


def _rank_of(
    wanted: Wanted,
    listed: Sequence[tuple[str, float]],
    right: set[str],
    owners: Mapping[str, Sequence[str]],
    ties_broken: bool,
) -> int | None:
    """1 + the number of others above: of passages, or of documents where documents are wanted; None if not listed.

    Unless ties are broken by their order, others with the same score stand above: BM25 has many, and a place among
    them that their ids decide says nothing of the leg.
    """
    first = next(((place, score) for place, (key, score) in enumerate(listed) if key in wanted.ids), None)
    if first is None:
        return None
    above = [
        key for place, (key, score) in enumerate(listed) if place < first[0] or (score == first[1] and not ties_broken)
    ]
    others = [key for key in above if key not in right]
    return 1 + len({owners.get(key, [key])[0] for key in others} if wanted.stretch is None else others)

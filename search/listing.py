"""The whole list behind a page of hits: one order, whatever page of it is asked for.

A ranking depends on how many candidates it was made from, so more candidates for a later page would reorder the
earlier ones. The list is therefore made in parts that don't depend on the page: first the usual candidates of each
leg, then what twice as many add, then what four times as many add, and so on, each part behind the one before. A
page nearly always lies in the first part; reranking and diversity reorder that part alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.types import Reranked
from search.diversity import maximal_marginal_relevance
from search.fusion import min_max
from search.ranking import Ranker, Ranking

MAX_DEPTH = 10_000  # candidates of each leg


@dataclass(frozen=True, slots=True)
class Placed:
    """A candidate at its place in the list: `row` of the `ranking` that it was judged in.

    `score` is its fused score; in a later part lowered, so that it doesn't exceed that of the part before.
    `relevance` is what orders the list, in [0, 1] within its part. `n_more` counts the candidates of its document that
    grouping left out, None without grouping.
    """

    ranking: Ranking
    row: int
    score: float
    relevance: float
    reranked: Reranked | None = None
    n_more: int | None = None

    @property
    def id(self) -> str:
        """The chunk's id."""
        return self.ranking.ids[self.row]


def placed(ranking: Ranking, rows: Sequence[int], lowered_by: float = 0.0) -> Iterator[Placed]:
    """Rows of a ranking, in the order that they are given in."""
    scores, scaled = ranking.fused.scores, min_max(ranking.fused.scores)
    for row in rows:
        yield Placed(ranking, row, float(scores[row]) - lowered_by, float(scaled[row]))


def parts(ranker: Ranker, ranking: Ranking, where: str | None) -> Iterator[Iterator[Placed]]:
    """The list in parts, best first, that begins with a ranking of the usual candidates.

    Each further part is found only once the one before is used up.
    """
    depth, fusion, weight = ranker.candidates, ranking.fusion, ranking.weight
    floor, seen = np.inf, set()
    while True:
        rows = [row for row in ranking.best() if ranking.ids[row] not in seen]
        if rows:
            scores = ranking.fused.scores
            excess = max(0.0, float(scores[rows[0]]) - floor)
            yield placed(ranking, rows, excess)
            floor = float(scores[rows[-1]]) - excess
            seen.update(ranking.ids[row] for row in rows)
        if max(len(ranking.lists.dense), len(ranking.lists.sparse)) < depth or depth >= MAX_DEPTH:
            return
        depth = min(2 * depth, MAX_DEPTH)
        ranking = ranker.fuse(ranker.gather(ranking.asked, depth, where), fusion, weight)


def reranked(part: Sequence[Placed], scores: Sequence[float]) -> list[Placed]:
    """The first `len(scores)` entries in the order of a reranker's scores, ties as they were; the others follow.

    An entry takes over the relevance of its new place, so that the list stays ordered by it.
    """
    head = part[: len(scores)]
    by_score = sorted(range(len(head)), key=lambda i: -scores[i])
    moved = [
        replace(head[old], relevance=head[new].relevance, reranked=Reranked(float(scores[old]), old + 1))
        for new, old in enumerate(by_score)
    ]
    return [*moved, *part[len(scores) :]]


def diversified(part: Sequence[Placed], vectors: Mapping[str, np.ndarray], diversity: float) -> list[Placed]:
    """The entries by maximal marginal relevance; those without a vector were removed meanwhile and are left out."""
    known = [entry for entry in part if entry.id in vectors]
    if not known:
        return []
    relevance = np.array([entry.relevance for entry in known])
    rows = maximal_marginal_relevance(relevance, np.stack([vectors[entry.id] for entry in known]), diversity)
    return [known[row] for row in rows]


def grouped(
    listed: Iterable[Iterable[Placed]], owners: Callable[[Sequence[str]], Mapping[str, list[str]]], per_document: int
) -> Iterator[list[Placed]]:
    """The list with `per_document` entries of each document; `n_more` counts those left out of the same part.

    `owners` gives the documents of chunks; a chunk's own document is the first.
    """
    n_kept: Counter[str] = Counter()
    for part in map(list, listed):
        documents = {key: found[0] for key, found in owners([entry.id for entry in part]).items()}
        n_left_out: Counter[str] = Counter()
        kept = []
        for entry in part:
            document = documents.get(entry.id)
            if document is None:
                continue  # removed meanwhile
            if n_kept[document] < per_document:
                n_kept[document] += 1
                kept.append(entry)
            else:
                n_left_out[document] += 1
        yield [replace(entry, n_more=n_left_out[documents[entry.id]]) for entry in kept]

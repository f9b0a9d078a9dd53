"""What a query's candidates look like, as numbers: what weight tuning and confidence are computed from.

None of them needs a judgement, and none depends on the encoder's scale: cosines are compared with what unrelated
questions reach in the same index (`core.unrelated`), BM25 scores with the query's best or with the most that its terms
could give.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.unrelated import Unrelated
from search.fusion import min_max
from search.ranking import Pool

NAMES = (
    "top cosine",
    "top cosine − tenth",
    "top cosine − mean",
    "top sentence",
    "top sentence − mean",
    "dense top − second",
    "dense spread",
    "BM25 top − tenth",
    "BM25 top − second",
    "BM25 spread",
    "BM25 covered",
    "overlap at 10",
    "overlap at 100",
    "BM25 of the dense top",
    "dense of the BM25 top",
    "correlation",
    "terms",
    "unknown terms",
    "highest idf",
    "mean idf",
)
TENTH = 9  # position of the tenth best


def features(pool: Pool, idf: Mapping[int, float], k1: float, unrelated: Unrelated) -> np.ndarray:
    """The features of a hybrid query in the order of `NAMES`, float64, shape (n_features,); all are finite.

    `idf` holds those of the query's terms that occur in the index, `k1` is BM25's. Where a leg returned nothing its
    features are 0.
    """
    cosines = np.array([score for _, score in pool.lists.dense])
    bm25 = np.array([score for _, score in pool.lists.sparse])
    known = [idf[term] for term in pool.terms.indices if term in idf]
    n_terms = len(pool.terms.indices)
    most = (k1 + 1) * sum(known)  # what a chunk full of each of the terms would score
    largest_idf = np.log(2 + unrelated.n_chunks)
    return np.array(
        [
            *_dense(cosines, pool, unrelated),
            *_sparse(bm25, most),
            *_agreement(pool),
            np.log(1 + n_terms),
            1 - len(known) / n_terms if n_terms else 1.0,
            max(known, default=0.0) / largest_idf,
            (sum(known) / len(known) if known else 0.0) / largest_idf,
        ]
    )


def _dense(cosines: np.ndarray, pool: Pool, unrelated: Unrelated) -> list[float]:
    if not len(cosines):
        return [0.0] * 7
    unit = unrelated.chunk_spread
    sentences = pool.exact.sentence
    dense = np.sort(pool.legs["dense"])[::-1]
    return [
        (cosines[0] - unrelated.chunk) / unit,
        (cosines[0] - _at(cosines, TENTH)) / unit,
        (cosines[0] - cosines.mean()) / unit,
        (sentences.max() - unrelated.sentence) / unrelated.sentence_spread,
        (sentences.max() - sentences.mean()) / unrelated.sentence_spread,
        (dense[0] - _at(dense, 1)) / unit,
        dense.std() / unit,
    ]


def _sparse(scores: np.ndarray, most: float) -> list[float]:
    if not len(scores) or scores[0] <= 0:
        return [0.0] * 4
    top = scores[0]
    return [
        (top - _at(scores, TENTH)) / top,
        (top - _at(scores, 1)) / top,
        scores.std() / scores.mean(),
        top / most if most else 0.0,
    ]


def _agreement(pool: Pool) -> list[float]:
    dense_ids, sparse_ids = ([key for key, _ in listed] for listed in (pool.lists.dense, pool.lists.sparse))
    if not dense_ids or not sparse_ids:
        return [0.0] * 5
    dense, sparse = pool.legs["dense"], pool.legs["sparse"]
    scaled_dense, scaled_sparse = min_max(dense), min_max(sparse)
    return [
        _overlap(dense_ids, sparse_ids, 10),
        _overlap(dense_ids, sparse_ids, 100),
        scaled_sparse[dense.argmax()],
        scaled_dense[sparse.argmax()],
        _correlation(dense, sparse),
    ]


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Pearson's; 0 where either is constant."""
    a, b = one - one.mean(), other - other.mean()
    norm = ((a @ a) * (b @ b)) ** 0.5
    return float(a @ b / norm) if norm > 0 else 0.0


def _overlap(one: list[str], other: list[str], depth: int) -> float:
    """Share of ids that both lists' best `depth` have in common, of the shorter of the two."""
    return len(set(one[:depth]) & set(other[:depth])) / min(depth, len(one), len(other))


def _at(values: np.ndarray, position: int) -> float:
    """The value there, or the last one where there are fewer."""
    return float(values[min(position, len(values) - 1)])

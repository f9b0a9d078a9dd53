"""A is to B as C is to what? Among the corpus' own terms, for those who want to see the geometry.

It shows where the encoder puts words, not what is true: whatever lies near B and C is a likely answer, whether or not
the pairs are related alike (Linzen 2016, "Issues in evaluating semantic spaces using word analogies"; Rogers, Drozd and
Li 2017, "The (too many) problems of analogical reasoning with word vectors"). Each answer therefore carries its rank
among the terms nearest to C alone.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from core.errors import InputError
from core.index import Index
from core.sparse import Analyzer
from core.store import Store

N_TERMS = 2000
MAX_CHUNKS = 20_000  # that terms are counted in; ids are hashes, so the first ones are a fair sample
MAX_CHARACTERS = 200  # of a term that is given
EPSILON = 0.001  # Levy and Goldberg 2014
CAVEAT = "This shows where the encoder puts words, not what is true: an answer near B or C needs no relation to A."
_WORD = re.compile(r"[^\W\d]\w+")

Encode = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True, slots=True)
class Answer:
    """A term with its score by 3CosAdd and 3CosMul, and its rank, from 1, among the terms by their cosine to C."""

    term: str
    add: float
    mul: float
    rank_near_c: int


@dataclass(frozen=True, slots=True)
class Analogy:
    """The best answers by either method; `n_terms` is how many terms competed."""

    terms: tuple[str, str, str]
    n_terms: int
    took_ms: float
    by_add: tuple[Answer, ...]
    by_mul: tuple[Answer, ...]

    def to_json(self) -> dict:
        """As plain JSON values."""
        a, b, c = self.terms
        return {
            "a": a,
            "b": b,
            "c": c,
            "n_terms": self.n_terms,
            "took_ms": round(self.took_ms, 2),
            "3CosAdd": [asdict(answer) for answer in self.by_add],
            "3CosMul": [asdict(answer) for answer in self.by_mul],
            "caveat": CAVEAT,
        }


def three_cos_add(terms: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """cos(x, b) − cos(x, a) + cos(x, c) for every row x of `terms`, shape (n, dim), all of length 1; shape (n,).

    Mikolov, Yih and Zweig 2013, "Linguistic Regularities in Continuous Space Word Representations".
    """
    return terms @ b - terms @ a + terms @ c


def three_cos_mul(terms: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """cos(x, b) · cos(x, c) / (cos(x, a) + .001) with cosines moved to [0, 1] by (1 + cos) / 2; shapes as above.

    Levy and Goldberg 2014, "Linguistic Regularities in Sparse and Explicit Word Representations".
    """
    near_a, near_b, near_c = ((1 + terms @ vector) / 2 for vector in (a, b, c))
    return near_b * near_c / (near_a + EPSILON)


def frequent_terms(store: Store, analyzer: Analyzer, limit: int = N_TERMS) -> list[str]:
    """The words in the most chunks, each stem by its most frequent spelling; stop words and numbers are left out."""
    counts: Counter[str] = Counter()
    n_chunks = 0
    for batch in store.scan():
        for stored in batch:
            counts.update(set(_WORD.findall(stored.chunk.text.lower())))
        n_chunks += len(batch)
        if n_chunks >= MAX_CHUNKS:
            break
    by_stem: dict[int, str] = {}
    for word, _ in sorted(counts.items(), key=lambda counted: (-counted[1], counted[0])):
        indices = analyzer.query(word).indices
        if len(indices) == 1:  # none for a stop word
            by_stem.setdefault(indices[0], word)
        if len(by_stem) == limit:
            break
    return list(by_stem.values())


def analogy(index: Index, a: str, b: str, c: str, encode: Encode, k: int = 10) -> Analogy:
    """What is to `c` as `b` is to `a`, among the corpus' `N_TERMS` most frequent terms.

    `encode` gives the vectors of texts, float32, shape (n, dim), rows of length 1. The given terms are no answers, nor
    are those that share a stem with them.
    Raises `InputError` for an empty or overlong term, k outside [1, 100], or a corpus without other terms.
    """
    started = time.perf_counter()
    given = (a.strip(), b.strip(), c.strip())
    for term in given:
        if not 1 <= len(term) <= MAX_CHARACTERS:
            raise InputError(f"The term {term[:20]!r} has {len(term)} characters; 1 to {MAX_CHARACTERS} are possible.")
    if not 1 <= k <= 100:
        raise InputError(f"k is {k}; it must lie between 1 and 100.")
    analyzer = index.analyzer
    with index.store.reading():
        terms = frequent_terms(index.store, analyzer)
    named = {stem for term in given for stem in analyzer.query(term).indices}
    terms = [term for term in terms if not named.intersection(analyzer.query(term).indices)]
    if not terms:
        raise InputError("The corpus has no terms besides the given ones; ingest more of it first.")
    vectors = encode([*terms, *given])
    candidates, (va, vb, vc) = vectors[:-3], vectors[-3:]
    added, multiplied = three_cos_add(candidates, va, vb, vc), three_cos_mul(candidates, va, vb, vc)
    ranks = np.empty(len(terms), dtype=np.int64)
    ranks[_ranked(candidates @ vc)] = np.arange(1, len(terms) + 1)

    def best(scores: np.ndarray) -> tuple[Answer, ...]:
        rows = _ranked(scores)[:k].tolist()
        return tuple(Answer(terms[i], float(added[i]), float(multiplied[i]), int(ranks[i])) for i in rows)

    took_ms = (time.perf_counter() - started) * 1000
    return Analogy(given, len(terms), took_ms, best(added), best(multiplied))


def _ranked(scores: np.ndarray) -> np.ndarray:
    """Rows by falling score; ties, to 6 decimals, stay in the terms' order."""
    return np.argsort(-np.round(scores, 6), kind="stable")

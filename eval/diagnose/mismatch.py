"""Does the encoder understand this corpus? Asked of the corpus alone, with its own sentences as queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from core.types import Flag
from eval.diagnose.finding import Finding
from eval.sample import Sample, normalized
from eval.significance import bootstrap_interval
from eval.words import WORDS

MIN_SENTENCES = 4
N_QUERIES = 300
MIN_QUERIES = 30  # below it the interval says nothing
N_SEARCHED = 2000  # chunks that are ranked; the cost of rank-bm25 grows with them
MIN_QUERY_WORDS = 4
BROKEN_RATIO = 0.8  # dense nDCG@10 below this share of the lexical one: the encoder holds retrieval back
CUTOFF = 10
CONFIDENCE = 0.975  # "broken" is said only above the upper limit of a 95% interval
BASIS = (
    "The corpus alone: held-out sentences searched the rest of their chunk, by vectors and by words. This can tell "
    "that the model doesn't know a language or vocabulary. It can't rank ordinary English corpora, and says nothing "
    "about how well real questions are answered: those use other words than the text."
)
TITLE_BASIS = (
    " The queries were stored sentence vectors, which carry a share of their document's title and flatter the model."
)


def find_mismatch(
    sample: Sample, seed: int = 0, encode: Callable[[Sequence[str]], NDArray[np.floating]] | None = None
) -> Finding:
    """`mismatch` = score, verdict, expected_gap, interval, basis; flagged as `domain_mismatch` when broken.

    Up to 300 chunks give one sentence each as a query; it is taken out of its chunk on both sides. Dense: cosine with
    the normalised mean of every chunk's (remaining) sentence vectors. Lexical: Okapi BM25 (rank-bm25, k1 1.5, b .75)
    on the (remaining) text. One chunk is relevant, so nDCG@10 = 1 / log2(1 + rank), 0 beyond rank 10. score = dense /
    lexical; expected_gap = dense - lexical with a 95% bootstrap interval. broken: dense - 0.8 lexical lies below zero
    with confidence; healthy: above; else unsure. `encode`, where given, encodes the queries as a user's would be.
    Without it stored sentence vectors ask; they carry a share of their title, which leads back to their own document,
    so "healthy" is then never said of documents with titles.
    """
    rng = np.random.default_rng(seed)
    searched, held_out = _choose(sample, rng)
    if len(held_out) < MIN_QUERIES:
        basis = f"Too few chunks with {MIN_SENTENCES} or more sentences to judge: {len(held_out)} of {MIN_QUERIES}."
        return _finding(None, "unsure", basis)
    texts = {i: sample.sentence_texts(i)[j] for i, j in held_out.items()}
    queries = encode(list(texts.values())) if encode else [sample.sentence_vectors[i][j] for i, j in held_out.items()]
    own = np.array([searched.index(i) for i in held_out])
    dense = _reciprocal_log_rank(normalized(np.stack(list(queries))) @ _means(sample, searched, held_out).T, own)
    lexical = _reciprocal_log_rank(_lexical_scores(sample, searched, held_out, list(texts.values())), own)
    gap = bootstrap_interval(dense - lexical, seed=seed)
    margin = bootstrap_interval(dense - BROKEN_RATIO * lexical, seed=seed)
    carries_title = encode is None and any(sample.chunks[i].title for i in held_out)
    verdict = "broken" if margin.high < 0 else "healthy" if margin.low > 0 and not carries_title else "unsure"
    ratio = float(dense.mean() / lexical.mean()) if lexical.mean() > 0 else None
    numbers = {"n_queries": len(held_out), "n_searched": len(searched)}
    numbers |= {"dense_ndcg10": float(dense.mean()), "lexical_ndcg10": float(lexical.mean())}
    basis = BASIS + (TITLE_BASIS if carries_title else "")
    numbers |= {"expected_gap": gap.mean, "interval": [gap.low, gap.high]}
    return _finding(ratio, verdict, basis, numbers)


def _choose(sample: Sample, rng: np.random.Generator) -> tuple[list[int], dict[int, int]]:
    """The chunks to rank, and for each that asks, the place of its held-out sentence."""
    eligible = np.array(
        [i for i, chunk in enumerate(sample.chunks) if len(chunk.sentences) >= MIN_SENTENCES], dtype=int
    )
    chosen = np.sort(rng.choice(eligible, min(N_QUERIES, len(eligible)), replace=False)) if len(eligible) else eligible
    held_out = {}
    for i in chosen.tolist():
        long_enough = [j for j, text in enumerate(sample.sentence_texts(i)) if len(_words(text)) >= MIN_QUERY_WORDS]
        if long_enough:
            held_out[i] = long_enough[int(rng.integers(len(long_enough)))]
    others = np.array([i for i, chunk in enumerate(sample.chunks) if i not in held_out and chunk.sentences], dtype=int)
    n_others = min(len(others), N_SEARCHED - len(held_out))
    drawn = rng.choice(others, n_others, replace=False).tolist() if n_others > 0 else []
    return sorted([*held_out, *drawn]), held_out


def _means(sample: Sample, searched: list[int], held_out: dict[int, int]) -> NDArray[np.float32]:
    rows = []
    for i in searched:
        vectors = np.asarray(sample.sentence_vectors[i], dtype=np.float32)
        rows.append((np.delete(vectors, held_out[i], axis=0) if i in held_out else vectors).mean(axis=0))
    return normalized(np.stack(rows))


def _lexical_scores(
    sample: Sample, searched: list[int], held_out: dict[int, int], queries: list[str]
) -> NDArray[np.float64]:
    from rank_bm25 import BM25Okapi

    documents = []
    for i in searched:
        texts = sample.sentence_texts(i)
        documents.append([word for j, text in enumerate(texts) if j != held_out.get(i) for word in _words(text)])
    scorer = BM25Okapi(documents)
    return np.stack([scorer.get_scores(_words(query)) for query in queries])


def _words(text: str) -> list[str]:
    return WORDS.findall(text.lower())


def _reciprocal_log_rank(scores: NDArray[np.floating], own: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 / log2(1 + rank) of each row's own column, 0 beyond rank 10; ties rank the own column in their middle."""
    mine = scores[np.arange(len(own)), own][:, None]
    rank = 1 + (scores > mine).sum(axis=1) + ((scores == mine).sum(axis=1) - 1) / 2
    return np.where(rank <= CUTOFF, 1 / np.log2(1 + rank), 0.0)


def _finding(
    score: float | None,
    verdict: str,
    basis: str,
    numbers: Mapping[str, object] = MappingProxyType({}),
) -> Finding:
    unknown = {"expected_gap": None, "interval": None}
    mismatch = {"score": score, "verdict": verdict, **unknown, "basis": basis, **numbers}
    if verdict != "broken":
        return Finding(numbers={"mismatch": mismatch})
    flag = Flag(
        kind="domain_mismatch",
        subject="corpus",
        score=score,
        threshold=BROKEN_RATIO,
        confidence=CONFIDENCE,
        evidence={"basis": basis, **numbers},
        action=(
            "Rely on sparse or hybrid search, and choose a model trained on this language and subject: this one finds "
            f"its own corpus' sentences only {score:.0%} as well as plain word matching."
        ),
    )
    return Finding(flags=(flag,), numbers={"mismatch": mismatch})

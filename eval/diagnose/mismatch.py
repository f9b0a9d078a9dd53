"""Does the encoder understand this corpus? Asked of the corpus alone, and of real queries where there are some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from core.types import Flag
from eval.diagnose.finding import Finding
from eval.diagnose.understanding import Understanding, find_understanding
from eval.draws import drawn, own_draws
from eval.sample import Sample, normalized
from eval.significance import Interval, bootstrap_interval
from eval.words import words_of

MIN_SENTENCES = 4
N_QUERIES = 300
MIN_QUERIES = 30  # below it the interval says nothing
N_SEARCHED = 2000  # chunks that are ranked; the cost of rank-bm25 grows with them
MIN_QUERY_WORDS = 4
BROKEN_RATIO = 0.8  # dense nDCG@10 below this share of the lexical one: the encoder holds retrieval back
CUTOFF = 10
CONFIDENCE = 0.975  # "broken" is said only beyond a limit of a 95% interval
# Expected gaps of nDCG@10 beyond which real queries decide what the corpus leaves open.
BROKEN_GAP, SOUND_GAP = -0.2, -0.1
CORPUS_NOTE = (
    "The corpus alone. This can tell that the model doesn't know a language or vocabulary. It can't rank ordinary "
    "English corpora, and says nothing about how well real questions are answered: those use other words than the "
    "text. Give some with --queries, unjudged ones will do."
)
QUERIES_NOTE = (
    "What the candidates of {n} real queries look like, by a regression trained on other corpora. It tells where "
    "vectors fall far behind words; small differences between ordinary corpora it can't rank."
)
TITLE_NOTE = (
    " The queries were stored sentence vectors, which carry a share of their document's title and flatter the model."
)

Encode = Callable[[Sequence[str]], NDArray[np.floating]]


@dataclass(frozen=True, slots=True)
class QueryEvidence:
    """What real queries without judgements lead to expect: dense - lexical nDCG@10 of each, float, (n_queries,)."""

    gaps: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """nDCG@10 of sentences that sought the rest of their chunk, dense and lexical, shape (n_queries,) both."""

    dense: NDArray[np.float64]
    lexical: NDArray[np.float64]
    n_searched: int
    carries_title: bool

    @property
    def ratio(self) -> float | None:
        """Dense over lexical; None where words find nothing."""
        return float(self.dense.mean() / self.lexical.mean()) if self.lexical.any() else None


def find_mismatch(
    sample: Sample, seed: int = 0, encode: Encode | None = None, queries: QueryEvidence | None = None
) -> Finding:
    """`mismatch` = score, verdict, expected_gap, interval, basis; flagged as `domain_mismatch` when broken.

    score: the probability of `find_understanding`, which needs `encode`; broken where it lies below its limit with
    confidence, healthy where it lies above. Beside it up to 300 chunks hold one sentence out, which searches the rest
    of them. Dense: cosine with the normalised mean of every chunk's (remaining) sentence vectors. Lexical: Okapi BM25
    (rank-bm25, k1 1.5, b .75) on the (remaining) text. One chunk is relevant, so nDCG@10 = 1 / log2(1 + rank), 0 beyond
    rank 10. Broken as well where dense - 0.8 lexical lies below zero with confidence; healthy only where it lies above.
    expected_gap: dense - lexical with a 95% bootstrap interval, of these sentences (basis "corpus"), or of real
    `queries` (basis "queries"). From 30 queries on these decide where the corpus leaves it open: broken below -0.2,
    healthy above -0.1, with confidence.
    Without `encode` stored sentence vectors ask, score is dense / lexical, and "healthy" is never said of documents
    with titles: their sentences carry a share of it, which leads back to them.
    """
    held_out = _hold_out(sample, seed, encode)
    known = find_understanding(sample, encode, seed) if encode else None
    asked = queries if queries is not None and len(queries.gaps) else None
    verdict = _verdict(held_out, known, asked, seed)
    gaps = asked.gaps if asked else held_out.dense - held_out.lexical if held_out else None
    gap = bootstrap_interval(gaps, seed=seed) if gaps is not None else None
    mismatch = {
        "score": known.probability.mean if known else held_out.ratio if held_out else None,
        "verdict": verdict,
        "expected_gap": gap.mean if gap else None,
        "interval": [gap.low, gap.high] if gap else None,
        "basis": "queries" if asked else "corpus",
        "note": _note(held_out, known, asked),
    }
    if known:
        low, high = known.probability.low, known.probability.high
        mismatch |= {"threshold": known.limit, "n_passages": known.n, "score_interval": [low, high]}
    if held_out:
        mismatch |= {"n_held_out": len(held_out.dense), "n_searched": held_out.n_searched}
        mismatch |= {"held_out_ratio": held_out.ratio, "held_out_dense_ndcg10": float(held_out.dense.mean())}
        mismatch |= {"held_out_lexical_ndcg10": float(held_out.lexical.mean())}
    if asked:
        mismatch |= {"n_queries": len(asked.gaps)}
    return Finding(flags=(_flag(mismatch),) if verdict == "broken" else (), numbers={"mismatch": mismatch})


def _verdict(held_out: _HeldOut | None, known: Understanding | None, queries: QueryEvidence | None, seed: int) -> str:
    """Broken where anything says so, healthy where everything does; queries speak last."""
    says = [_says(known.probability, known.limit)] if known else []
    if held_out:
        said = _says(bootstrap_interval(held_out.dense - BROKEN_RATIO * held_out.lexical, seed=seed), 0)
        says.append("unsure" if said == "healthy" and held_out.carries_title else said)
    if "broken" in says:
        return "broken"
    if says and set(says) == {"healthy"}:
        return "healthy"
    if queries is None or len(queries.gaps) < MIN_QUERIES:
        return "unsure"
    gap = bootstrap_interval(queries.gaps, seed=seed)
    return "broken" if gap.high < BROKEN_GAP else "healthy" if gap.low > SOUND_GAP else "unsure"


def _note(held_out: _HeldOut | None, known: Understanding | None, queries: QueryEvidence | None) -> str:
    if queries:
        return QUERIES_NOTE.format(n=len(queries.gaps))
    if not held_out and not known:
        return f"Too few passages that can be parted to judge: {MIN_QUERIES} are needed."
    return CORPUS_NOTE + (TITLE_NOTE if held_out and held_out.carries_title else "")


def _says(interval: Interval, limit: float) -> str:
    return "broken" if interval.high < limit else "healthy" if interval.low > limit else "unsure"


def _hold_out(sample: Sample, seed: int, encode: Encode | None) -> _HeldOut | None:
    searched, held_out = _choose(sample, seed)
    if len(held_out) < MIN_QUERIES:
        return None
    texts = {i: sample.sentence_texts(i)[j] for i, j in held_out.items()}
    queries = encode(list(texts.values())) if encode else [sample.sentence_vectors[i][j] for i, j in held_out.items()]
    own = np.searchsorted(searched, list(held_out))
    return _HeldOut(
        _reciprocal_log_rank(normalized(np.stack(list(queries))) @ _means(sample, searched, held_out).T, own),
        _reciprocal_log_rank(_lexical_scores(sample, searched, held_out, list(texts.values())), own),
        len(searched),
        encode is None and any(sample.chunks[i].title for i in held_out),
    )


def _choose(sample: Sample, seed: int) -> tuple[list[int], dict[int, int]]:
    """The chunks to rank, and for each that asks, the place of its held-out sentence."""
    place_of = {chunk.id: i for i, chunk in enumerate(sample.chunks) if chunk.sentences}
    eligible = (name for name, i in place_of.items() if len(sample.chunks[i].sentences) >= MIN_SENTENCES)
    held_out = {}
    for name in sorted(drawn(eligible, N_QUERIES, seed), key=place_of.__getitem__):
        texts = sample.sentence_texts(place_of[name])
        long_enough = [j for j, text in enumerate(texts) if len(words_of(text)) >= MIN_QUERY_WORDS]
        if long_enough:
            held_out[place_of[name]] = own_draws(name, seed).choice(long_enough)
    others = (name for name, i in place_of.items() if i not in held_out)
    beside = [place_of[name] for name in drawn(others, N_SEARCHED - len(held_out), seed)]
    return sorted([*held_out, *beside]), held_out


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
        documents.append([word for j, text in enumerate(texts) if j != held_out.get(i) for word in words_of(text)])
    scorer = BM25Okapi(documents)
    of_word = cache(lambda word: scorer.get_scores([word]))  # a query's score is the sum over its words
    return np.stack([np.sum([of_word(word) for word in words_of(query)], axis=0) for query in queries])


def _reciprocal_log_rank(scores: NDArray[np.floating], own: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 / log2(1 + rank) of each row's own column, 0 beyond rank 10; ties rank the own column in their middle."""
    mine = scores[np.arange(len(own)), own][:, None]
    rank = 1 + (scores > mine).sum(axis=1) + ((scores == mine).sum(axis=1) - 1) / 2
    return np.where(rank <= CUTOFF, 1 / np.log2(1 + rank), 0.0)


def _flag(mismatch: Mapping[str, object]) -> Flag:
    score = mismatch["score"]
    return Flag(
        kind="domain_mismatch",
        subject="corpus",
        score=0.0 if score is None else score,
        threshold=mismatch.get("threshold", BROKEN_RATIO),
        confidence=CONFIDENCE,
        evidence={name: value for name, value in mismatch.items() if name not in ("score", "verdict", "threshold")},
        action=(
            "Rely on sparse or hybrid search, and choose a model trained on this language and subject: this one hardly "
            "relates passages of this corpus by their meaning, only by words that they share."
        ),
    )

"""Topics of the corpus in the original space, and pairs of topics that the vectors fail to tell apart."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from core.types import Flag
from eval.diagnose.duplicates import copies
from eval.diagnose.finding import Finding, opening, shown_members
from eval.neighbours import nearest_rows
from eval.sample import Sample, normalized

MIN_CHUNKS = 100  # below it a topic is a handful of passages and a confusion rate is noise
MAX_CHUNKS = 5000  # drawn above it: the statistics are shares, and 5,000 chunks fix them to about a percent
N_TOPICS = 20
N_LATENT = 100
N_NEIGHBORS = 10
MIN_TOPIC_SIZE = 20
MISPLACED = float(norm.ppf(0.99))  # 2.33 deviations: one chunk in a hundred of a normal null
FULL_WEIGHT = 3.0  # deviations beyond that from which a misplaced chunk counts in full
MIN_SPREAD = 0.02  # of a cosine: a corpus whose chunks differ by less has no scale of its own
FALSE_ALARMS = 0.05  # of corpora without a merge, shared by all pairs of topics (Bonferroni)
CHARACTERISTIC_TERMS = 8
PAIRS_SHOWN = 5
TERM_PATTERN = r"[぀-ヿ㐀-䶿一-鿿가-힯]|\b[^\W\d_][\w-]+\b"  # ideographs and kana singly
NULL = "misplaced chunks that spread over all topics by size, at the rate of this corpus' median topic or of their own"


@dataclass(frozen=True, slots=True)
class LexicalSpace:
    """Tf-idf and its latent semantic projection: `weights` sparse (n, terms), `latent` float (n, ≤100), unit rows."""

    weights: object
    terms: NDArray[np.str_]
    latent: NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two topics, and how far beyond chance misplaced chunks of either stand among the other's.

    `topics[side]` and `misplaced[side]` are rows of the chunks drawn: all of that topic, and those of it that stand
    among the other's; `terms[side]` tell what it is about.
    """

    score: float
    topics: Sequence[NDArray[np.int64]]
    misplaced: Sequence[NDArray[np.int64]]
    terms: Sequence[list[str]]


def find_merged_topics(sample: Sample, seed: int = 0) -> Finding:
    """The corpus' clusters with their terms, and a flag for each pair of topics that only the words can tell apart.

    A chunk is misplaced where the words of its 10 nearest chunks by vector are far from its own though others share
    them (see `misplacement`). Topics come from the words: 20 by k-means on tf-idf, title and headings included,
    projected by truncated SVD. Copies (see `find_duplicates`) are left out: one misplaced passage is one, however often
    it stands in the index. Misplaced chunks of one topic whose neighbours are in one other topic are evidence that
    the vectors merge the two, in whole or in part. The score of a pair is the larger of its two directions' standard
    scores (see `_standard_scores`); flagged where chance would give one such pair in 20 corpora.
    """
    n = len(sample)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(n, MAX_CHUNKS, replace=False)) if n > MAX_CHUNKS else np.arange(n)
    rows = [{"cluster": None, "misplaced": None} for _ in range(n)]
    groups = copies([sample.chunks[i].text for i in drawn])[0]
    again = [i for group in groups for i in list(group)[1:]]
    drawn = np.delete(drawn, again)
    few = len(drawn) < MIN_CHUNKS
    lexical = None if few else _lexical_space([sample.chunks[i].lexical_text for i in drawn], seed)
    if lexical is None:
        note = f"Too few chunks to judge topics: {len(drawn)}, {MIN_CHUNKS} are needed." if few else "No words found."
        return Finding(numbers={"judged": False, "note": note, "clusters": []}, scores={"cluster": rows})
    vectors = sample.vectors[drawn]
    labels = k_means(vectors, _n_clusters(len(drawn)), seed)
    topics = k_means(lexical.latent, min(N_TOPICS, len(drawn) // MIN_TOPIC_SIZE), seed)
    near = _nearest(vectors)
    misplaced = misplacement(lexical.latent, near)
    for place, index in enumerate(drawn.tolist()):
        rows[index] = {"cluster": int(labels[place]), "misplaced": float(misplaced[place])}
    pairs, limit = _pairs(lexical, topics, near, misplaced)
    return Finding(
        flags=tuple(_flag(sample, drawn, pair, limit) for pair in pairs if pair.score > limit),
        numbers={
            "judged": True,
            "note": "Computed on all chunks."
            if len(drawn) == n
            else f"Computed on {len(drawn)} of {n} chunks, no copies.",
            "clusters": _describe(sample, drawn, labels, lexical),
            "agreement_with_words_nmi": _agreement(topics, labels),
            "share_misplaced": float((misplaced > MISPLACED).mean()),
            "threshold": limit,
            "most_confused_pairs": [_told(sample, drawn, pair) for pair in pairs[:PAIRS_SHOWN]],
        },
        scores={"cluster": rows},
    )


def misplacement(latent: NDArray[np.floating], near: NDArray[np.int64]) -> NDArray[np.float64]:
    """How far each chunk's neighbours by vector are from it by their words, in robust deviations, shape (n,).

    `latent`: unit rows in a space of words, (n, d); `near`: the nearest others by vector, (n, k). The gap of a chunk is
    its mean cosine in that space to its k nearest by words, minus that to its k nearest by vectors: 0 where both sides
    agree. Its deviation is taken from the median gap, in units of the median minus the 16% quantile, so that misplaced
    chunks don't hide one another.
    """
    by_words = _nearest(latent, near.shape[1])
    gap = _mean_cosine(latent, by_words) - _mean_cosine(latent, near)
    low, median = np.quantile(gap, (norm.cdf(-1), 0.5))
    return (gap - median) / max(median - low, MIN_SPREAD)


def _mean_cosine(rows: NDArray[np.floating], others: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.mean([np.einsum("id,id->i", rows, rows[column]) for column in others.T], axis=0)


def _nearest(vectors: NDArray[np.floating], k: int = N_NEIGHBORS) -> NDArray[np.int64]:
    """The nearest other rows of each."""
    n = len(vectors)
    return nearest_rows(vectors, vectors, min(k, n - 1), own=np.arange(n))[0]


def _pairs(
    lexical: LexicalSpace, topics: NDArray[np.int_], near: NDArray[np.int64], misplaced: NDArray[np.float64]
) -> tuple[list[Pair], float]:
    """All pairs of topics large enough, those with most evidence of a merge first, and the limit of chance."""
    n_topics = int(topics.max()) + 1
    among = _shares(near, topics, n_topics)
    words = _shares(_nearest(lexical.latent), topics, n_topics)
    weights = np.clip(misplaced - MISPLACED, 0, FULL_WEIGHT)
    strayed = np.maximum(among - words, 0) * weights[:, None]
    large = np.flatnonzero(np.bincount(topics) >= MIN_TOPIC_SIZE)
    scores = _standard_scores(strayed, weights, topics, large)
    terms = {topic: _terms(lexical, topics == topic) for topic in large.tolist()}
    found = []
    for place, a in enumerate(large.tolist()):
        for b in large[place + 1 :].tolist():
            sides = [np.flatnonzero((topics == x) & (strayed[:, y] > 0)) for x, y in ((a, b), (b, a))]
            members = [np.flatnonzero(topics == topic) for topic in (a, b)]
            score = float(max(scores[a, b], scores[b, a]))
            found.append(Pair(score, members, sides, [terms[a], terms[b]]))
    found.sort(key=lambda pair: (-pair.score, pair.terms))
    return found, float(norm.isf(FALSE_ALARMS / max(1, len(large) * (len(large) - 1))))


def _shares(near: NDArray[np.int64], topics: NDArray[np.int_], n_topics: int) -> NDArray[np.float64]:
    """Share of each row's neighbours in each topic, shape (n, n_topics)."""
    shares = np.zeros((len(near), n_topics))
    np.add.at(shares, (np.arange(len(near))[:, None], topics[near]), 1 / near.shape[1])
    return shares


def _standard_scores(
    strayed: NDArray[np.float64], weights: NDArray[np.float64], topics: NDArray[np.int_], large: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(observed - expected) / √(variance + one chunk in full) of the weight that strayed from topic to topic.

    Expected from a to b is the larger of two: n_a · n_b / n times the corpus' rate, which is the mean weight of the
    median topic, since a merge concerns few topics, or that of a normal null where this is more; and what strays from a
    elsewhere, spread over the other topics by size, since a topic such as front matter that strays everywhere is merged
    with none. The variance is that of a compound Poisson sum, expected · E(w²) / E(w). The chunk that is added to it
    keeps a single one from being evidence.
    """
    n_topics = strayed.shape[1]
    observed = np.zeros((n_topics, n_topics))
    np.add.at(observed, topics, strayed)
    np.fill_diagonal(observed, 0)
    by_topic = [float(weights[topics == topic].mean()) for topic in large]
    rate = max(norm.pdf(MISPLACED) - MISPLACED * norm.sf(MISPLACED), float(np.median(by_topic)) if by_topic else 0.0)
    sizes = np.bincount(topics, minlength=n_topics)
    by_size = rate * np.outer(sizes, sizes) / len(topics)
    elsewhere = observed.sum(axis=1, keepdims=True) - observed
    others = np.maximum(1, len(topics) - sizes[:, None] - sizes)
    expected = np.maximum(by_size, elsewhere * sizes / others)
    some = weights[weights > 0]
    spread = float((some**2).mean() / some.mean()) if len(some) else 1.0
    return (observed - expected) / np.sqrt(expected * spread + FULL_WEIGHT)


def _agreement(topics: NDArray[np.int_], labels: NDArray[np.int_]) -> float:
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(topics, labels))


def _lexical_space(texts: list[str], seed: int) -> LexicalSpace | None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True, min_df=2, max_df=0.5, max_features=50_000, token_pattern=TERM_PATTERN
    )
    try:
        weights = vectorizer.fit_transform(texts)
    except ValueError:  # no term is left after pruning
        return None
    size = min(N_LATENT, weights.shape[1] - 1, weights.shape[0] - 1)
    if size < 2:
        return None
    latent = TruncatedSVD(size, random_state=seed).fit_transform(weights)
    return LexicalSpace(weights, vectorizer.get_feature_names_out(), normalized(latent))


def k_means(vectors: NDArray[np.floating], n_clusters: int, seed: int) -> NDArray[np.int_]:
    """Cluster numbers, the largest cluster first."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct vectors than clusters: fewer clusters
        labels = KMeans(n_clusters, n_init=3, random_state=seed).fit_predict(vectors)
    found, counts = np.unique(labels, return_counts=True)
    rank = {int(found[i]): place for place, i in enumerate(np.lexsort((found, -counts)))}
    return np.array([rank[int(label)] for label in labels])


def _n_clusters(n: int) -> int:
    """About one cluster for 50 chunks, from 2 to 20: enough to name the corpus' subjects in a short table."""
    return int(np.clip(n // 50, 2, 20))


def _terms(lexical: LexicalSpace, members: NDArray[np.bool_]) -> list[str]:
    """The terms whose mean weight inside exceeds that outside the most."""
    inside = np.asarray(lexical.weights[members].mean(axis=0)).ravel()
    outside = np.asarray(lexical.weights[~members].mean(axis=0)).ravel() if not members.all() else 0 * inside
    best = np.argsort(outside - inside, kind="stable")[:CHARACTERISTIC_TERMS]
    return [str(term) for term in lexical.terms[best]]


def _describe(
    sample: Sample, drawn: NDArray[np.int64], labels: NDArray[np.int_], lexical: LexicalSpace
) -> list[dict[str, object]]:
    described = []
    for label in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels == label)
        center = sample.vectors[drawn[members]].mean(axis=0)
        cosines = sample.vectors[drawn[members]] @ (center / max(float(np.linalg.norm(center)), 1e-9))
        central = sample.chunks[drawn[members[int(cosines.argmax())]]]
        described.append(
            {
                "cluster": label,
                "n_chunks": len(members),
                "n_documents": len({sample.chunks[i].document_id for i in drawn[members]}),
                "terms": _terms(lexical, labels == label),
                "mean_cosine_to_center": float(cosines.mean()),
                "central_chunk": {"chunk_id": central.id, "text": opening(central.text)},
            }
        )
    return described


def _told(sample: Sample, drawn: NDArray[np.int64], pair: Pair) -> dict[str, object]:
    """A pair as evidence: its numbers, which chunks stand among the other topic's, and the ids of either topic's."""
    strayed = [[sample.chunks[i] for i in drawn[rows]] for rows in pair.misplaced]
    return {
        "score": pair.score,
        "sizes": [len(members) for members in pair.topics],
        "terms": list(pair.terms),
        "n_misplaced": [len(chunks) for chunks in strayed],
        "misplaced_ids": [chunk.id for chunks in strayed for chunk in chunks],
        "topics": [[sample.chunks[i].id for i in drawn[members]] for members in pair.topics],
    }


def _flag(sample: Sample, drawn: NDArray[np.int64], pair: Pair, limit: float) -> Flag:
    first, second = (", ".join(terms[:4]) for terms in pair.terms)
    told = _told(sample, drawn, pair)
    by_id = {sample.chunks[i].id: sample.chunks[i] for rows in pair.misplaced for i in drawn[rows]}
    return Flag(
        kind="merged_topics",
        subject=f"{first} | {second}",
        score=pair.score,
        threshold=limit,
        confidence=float(np.clip(1 - FALSE_ALARMS * norm.sf(pair.score) / norm.sf(limit), 0, 0.99)),
        evidence={
            **{key: told[key] for key in ("sizes", "terms", "n_misplaced")},
            "members": shown_members(list(by_id.values())),
            "member_ids": [key for topic in told["topics"] for key in topic],
            "null": NULL,
        },
        action="Give sparse search more weight for these topics: their words differ, but the vectors mix them up.",
    )

"""Topics of the corpus in the original space, and pairs of topics that the vectors fail to tell apart."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from core.types import Flag
from eval.diagnose.finding import Finding, opening
from eval.neighbours import nearest_rows
from eval.sample import Sample

MIN_CHUNKS = 100  # below it a topic is a handful of passages and a confusion rate is noise
MAX_CHUNKS = 5000  # drawn above it: the statistics are shares, and 5,000 chunks fix them to about a percent
N_TOPICS = (10, 20)  # two granularities on the lexical side, so that a pair split by one is whole in the other
N_LATENT = 100
N_NEIGHBORS = 10
MIN_TOPIC_SIZE = 20
MERGED_CONFUSION = 0.75  # of full mixing, by the vectors
DISTINCT_CONFUSION = 0.20  # of full mixing, by the words
CHARACTERISTIC_TERMS = 8
PAIRS_SHOWN = 5
TERM_PATTERN = r"(?u)\b[^\W\d_][\w-]+\b"


@dataclass(frozen=True, slots=True)
class LexicalSpace:
    """Tf-idf and its latent semantic projection: `weights` sparse (n, terms), `latent` float (n, ≤100), unit rows."""

    weights: object
    terms: NDArray[np.str_]
    latent: NDArray[np.floating]


def find_merged_topics(sample: Sample, seed: int = 0) -> Finding:
    """The corpus' clusters with their terms, and a flag for each pair of topics that only the words can tell apart.

    Topics come from the words (k-means on tf-idf projected by truncated SVD). A pair's confusion is the share of the
    10 nearest neighbours, among the pair's own chunks, that belong to the other topic, over the share expected
    if both were thoroughly mixed: 0 apart, 1 one cloud. Flagged where vectors give ≥ .75 and words ≤ .20 of it.
    """
    n = len(sample)
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(n, MAX_CHUNKS, replace=False)) if n > MAX_CHUNKS else np.arange(n)
    assigned = [{"cluster": None} for _ in range(n)]
    lexical = _lexical_space([sample.chunks[i].text for i in drawn], seed) if n >= MIN_CHUNKS else None
    if lexical is None:
        note = f"Too few chunks to judge topics: {n}, {MIN_CHUNKS} are needed." if n < MIN_CHUNKS else "No words found."
        return Finding(numbers={"judged": False, "note": note, "clusters": []}, scores={"cluster": assigned})
    vectors = sample.vectors[drawn]
    labels = k_means(vectors, _n_clusters(len(drawn)), seed)
    for index, label in zip(drawn.tolist(), labels.tolist(), strict=True):
        assigned[index]["cluster"] = label
    pairs, agreement = _confused_pairs(vectors, lexical, seed, labels)
    return Finding(
        flags=tuple(_flag(sample, drawn, pair) for pair in pairs if pair["is_merged"]),
        numbers={
            "judged": True,
            "note": "Computed on all chunks." if len(drawn) == n else f"Computed on {len(drawn)} of {n} chunks.",
            "clusters": _describe(sample, drawn, labels, lexical),
            "agreement_with_words_nmi": agreement,
            "most_confused_pairs": [_told(sample, drawn, pair) for pair in pairs[:PAIRS_SHOWN]],
        },
        scores={"cluster": assigned},
    )


def confusion(neighbors: NDArray[np.int64], labels: NDArray[np.int_]) -> float:
    """The mean share of neighbours with another label, over its expectation under mixing; 0 without neighbours.

    `neighbors`: shape (n, k), indices of each row's nearest others. Expected under mixing for sizes a, b: the mean
    over rows of the other side's share of the remaining rows, (2ab / n) / (n - 1).
    """
    n = len(labels)
    a = int((labels == labels[0]).sum())
    expected = 2 * a * (n - a) / n / (n - 1)
    if neighbors.size == 0 or expected == 0:
        return 0.0
    return float((labels[neighbors] != labels[:, None]).mean() / expected)


def _nearest(vectors: NDArray[np.floating]) -> NDArray[np.int64]:
    """The 10 nearest other rows of each."""
    n = len(vectors)
    return nearest_rows(vectors, vectors, min(N_NEIGHBORS, n - 1), own=np.arange(n))[0]


def _lexical_space(texts: list[str], seed: int) -> LexicalSpace | None:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

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
    return LexicalSpace(weights, vectorizer.get_feature_names_out(), normalize(latent))


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


def _confused_pairs(
    vectors: NDArray[np.float32], lexical: LexicalSpace, seed: int, labels: NDArray[np.int_]
) -> tuple[list[dict[str, object]], float]:
    """All judged pairs of lexical topics, most confused first, and the NMI of clusters and words (information only)."""
    from sklearn.metrics import normalized_mutual_info_score

    pairs = []
    agreement = 0.0
    for n_topics in N_TOPICS:
        topics = k_means(lexical.latent, min(n_topics, len(vectors) // MIN_TOPIC_SIZE), seed)
        agreement = float(normalized_mutual_info_score(topics, labels))
        sizes = np.bincount(topics)
        terms = [_terms(lexical, topics == topic) for topic in range(len(sizes))]
        for a, b in combinations(np.flatnonzero(sizes >= MIN_TOPIC_SIZE).tolist(), 2):
            members = np.flatnonzero((topics == a) | (topics == b))
            dense = confusion(_nearest(vectors[members]), topics[members])
            words = confusion(_nearest(lexical.latent[members]), topics[members])
            pairs.append(
                {
                    "dense_confusion": dense,
                    "lexical_confusion": words,
                    "sizes": [int(sizes[a]), int(sizes[b])],
                    "terms": [terms[a], terms[b]],
                    "members": [np.flatnonzero(topics == topic) for topic in (a, b)],
                    "is_merged": dense >= MERGED_CONFUSION and words <= DISTINCT_CONFUSION,
                }
            )
    pairs.sort(key=lambda pair: (pair["lexical_confusion"] - pair["dense_confusion"], pair["terms"]))
    return pairs, agreement


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


def _told(sample: Sample, drawn: NDArray[np.int64], pair: Mapping[str, object]) -> dict[str, object]:
    """A pair as evidence: its numbers, and the ids of either topic's chunks."""
    numbers = {key: pair[key] for key in ("dense_confusion", "lexical_confusion", "sizes", "terms")}
    return numbers | {"topics": [[sample.chunks[i].id for i in drawn[members]] for members in pair["members"]]}


def _flag(sample: Sample, drawn: NDArray[np.int64], pair: Mapping[str, object]) -> Flag:
    first, second = (", ".join(terms[:4]) for terms in pair["terms"])
    told = _told(sample, drawn, pair)
    return Flag(
        kind="merged_topics",
        subject=f"{first} | {second}",
        score=pair["dense_confusion"],
        threshold=MERGED_CONFUSION,
        confidence=float(np.clip(pair["dense_confusion"] - pair["lexical_confusion"], 0, 0.95)),
        evidence=told | {"member_ids": [key for topic in told["topics"] for key in topic]},
        action="Give sparse search more weight for these topics: their words differ, but the vectors mix them up.",
    )

"""Crowded regions, where passages compete for every query, and lone passages that stand near nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import norm

from core.types import Flag
from eval.diagnose.finding import Finding, opening, shown_members
from eval.neighbours import nearest_rows
from eval.sample import Sample

N_NEIGHBOURS = 10
MIN_CHUNKS = 200  # below it ten neighbours are a large part of the corpus
MAX_JUDGED = 20_000  # chunks whose neighbours are sought, drawn above it; they are sought among all chunks
MIN_REGION = 10  # chunks: fewer compete for places that a page of results has anyway
CROWDED = float(norm.isf(0.001))  # 3.09: one chunk in a thousand lies beyond it where the null is normal
LONE = float(norm.isf(0.01))  # 2.33: one chunk in a hundred
SIXTEENTH = float(norm.cdf(-1))  # quantile one standard deviation below the mean
MAX_COSINE = 0.9999  # keeps arctanh finite
MIN_SCALE = 1e-6
SHOWN = 20
NULL = "all chunks of this corpus, were they spread as the half that lies less densely"


def find_density(sample: Sample, seed: int = 0) -> Finding:
    """Flags `crowded_region`, one for each, and `sparse_region`, one for each lone chunk.

    Crowded is a chunk with ten others so near that its tenth neighbour's cosine lies beyond `crowded_above`; crowded
    chunks that are among one another's 10 nearest form a region, flagged from 10 chunks on, by the median score of its
    members. Lone is a chunk whose mean cosine to its 10 nearest lies 2.33 deviations below the corpus' median, which
    one normal value in a hundred does. Both scores are in deviations of the half of the corpus that lies less densely
    (median - 16% quantile), so that crowds don't hide themselves. Below 200 chunks nothing is judged.
    """
    n = len(sample)
    empty = {"density": [{"crowded_score": None, "sparse_score": None, "crowded": False, "sparse": False}] * n}
    if n < MIN_CHUNKS:
        note = f"Too few chunks to judge: {n}, {MIN_CHUNKS} are needed."
        return Finding(numbers={"judged": False, "note": note}, scores=empty)
    drawn = np.arange(n)
    if n > MAX_JUDGED:
        drawn = np.sort(np.random.default_rng(seed).choice(n, MAX_JUDGED, replace=False))
    near, distances = nearest_rows(sample.vectors[drawn], sample.vectors, N_NEIGHBOURS, own=drawn)
    cosines = 1 - distances**2 / 2
    mean, tenth = cosines.mean(axis=1), cosines[:, -1]
    crowding, loneliness = _deviations(_stretched(tenth)), _deviations(mean)
    crowded, lone = crowding > CROWDED, loneliness < -LONE
    regions = _regions(drawn, near, crowded)
    flags = [_crowded(sample, drawn[rows], crowding[rows], tenth[rows]) for rows in regions]
    order = [int(row) for row in np.argsort(loneliness, kind="stable") if lone[row]]
    flags += [
        _lone(sample, int(drawn[row]), float(loneliness[row]), float(mean[row]), (place + 1) / len(drawn))
        for place, row in enumerate(order[:SHOWN])
    ]
    scores = list(empty["density"])
    for row, i in enumerate(drawn.tolist()):
        scores[i] = {
            "crowded_score": float(crowding[row]),
            "sparse_score": float(loneliness[row]),
            "crowded": bool(crowded[row]),
            "sparse": bool(lone[row]),
        }
    return Finding(
        flags=tuple(flags),
        numbers={
            "judged": True,
            "note": "All chunks." if len(drawn) == n else f"{len(drawn)} of {n} chunks.",
            "median_cosine": float(np.median(mean)),
            "crowded_above": crowded_above(tenth),
            "n_crowded": int(crowded.sum()),
            "n_regions": len(regions),
            "n_sparse": int(lone.sum()),
            "threshold_crowded": CROWDED,
            "threshold_sparse": -LONE,
        },
        scores={"density": scores},
    )


def crowded_above(tenth: NDArray[np.floating]) -> float:
    """The cosine to the tenth nearest other chunk above which a region of this corpus is crowded.

    `tenth`: that cosine for chunks drawn from the corpus. The limit is the 99.9% quantile if, after Fisher's
    transformation arctanh, the half that lies less densely is half of a normal distribution: tanh(median + 3.09 ·
    (median - 16% quantile)).
    """
    low, median = np.quantile(_stretched(tenth), (SIXTEENTH, 0.5))
    return float(np.tanh(median + CROWDED * max(median - low, MIN_SCALE)))


def _stretched(cosines: NDArray[np.floating]) -> NDArray[np.float64]:
    """Near 1 cosines lie ever closer together; arctanh gives them the same room."""
    return np.arctanh(np.clip(cosines, -MAX_COSINE, MAX_COSINE))


def _deviations(values: NDArray[np.floating]) -> NDArray[np.float64]:
    low, median = np.quantile(values, (SIXTEENTH, 0.5))
    return (values - median) / max(median - low, MIN_SCALE)


def _regions(drawn: NDArray[np.int64], near: NDArray[np.int64], crowded: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """Rows of the crowded chunks that hang together, the largest region first."""
    place = {int(i): row for row, i in enumerate(drawn.tolist()) if crowded[row]}
    links = [(row, place[j]) for row in place.values() for j in near[row].tolist() if j in place]
    n = len(drawn)
    rows, columns = np.array(links, dtype=int).reshape(-1, 2).T
    labels = connected_components(coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)), directed=False)[1]
    members = np.array(sorted(place.values()), dtype=int)
    groups = [members[labels[members] == label] for label in np.unique(labels[members])]
    groups = [group for group in groups if len(group) >= MIN_REGION]
    return sorted(groups, key=lambda group: (-len(group), int(group[0])))[:SHOWN]


def _crowded(sample: Sample, members: NDArray[np.int64], z: NDArray[np.float64], cosines: NDArray[np.float64]) -> Flag:
    chunks = [sample.chunks[i] for i in members]
    return Flag(
        kind="crowded_region",
        subject=chunks[int(np.argmax(z))].id,
        score=float(np.median(z)),
        threshold=CROWDED,
        confidence=float(np.clip(1 - norm.sf(np.median(z)) * len(sample) / len(members), 0, 0.99)),
        evidence={
            "n_members": len(chunks),
            "n_documents": len({chunk.document_id for chunk in chunks}),
            "mean_cosine_to_tenth": float(cosines.mean()),
            "members": shown_members(chunks),
            "member_ids": [chunk.id for chunk in chunks],
            "null": NULL,
        },
        action=(
            "Read these passages: where they say the same, keep one; where they differ by a name or a number, rely on "
            "hybrid search, which tells them apart by it."
        ),
    )


def _lone(sample: Sample, index: int, z: float, cosine: float, share: float) -> Flag:
    """`share` of the chunks are as lone or more so; the confidence is that one of them isn't there by chance."""
    chunk = sample.chunks[index]
    return Flag(
        kind="sparse_region",
        subject=chunk.id,
        score=z,
        threshold=-LONE,
        confidence=float(np.clip(1 - norm.cdf(z) / share, 0, 0.99)),
        evidence={
            "document_id": chunk.document_id,
            "mean_cosine": cosine,
            "text": opening(chunk.text),
            "null": NULL,
        },
        action="Read this passage: garbled text, another language or a stray file stands near nothing in the corpus.",
    )

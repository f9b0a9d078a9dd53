"""Hubs: passages that appear in front of nearly every query, whatever it asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom, poisson

from core.types import Flag
from eval.diagnose.finding import Finding, opening
from eval.neighbours import nearest_rows
from eval.sample import Sample, normalized

N_NEIGHBORS = 10
N_QUERIES = 10_000
MIN_CHUNKS = 200
LEFT_OUT = 0.02  # of the chunks, those with the highest counts: hubs mustn't widen the null that they are held against
FALSE_ALARMS = 0.01  # chance of one hub in a corpus without any (Bonferroni over its chunks)
NULL = "a negative binomial with the mean and variance of this corpus' counts, their highest 2% left out"
HUBS_SHOWN = 20


def find_hubs(sample: Sample, seed: int = 0) -> Finding:
    """Flags `hub` for chunks among the first ten of far more pseudo-queries than chance has it.

    Pseudo-queries are one seeded sentence vector of each chunk (at most 10,000 chunks), the chunk itself left out of
    its list. The count of a chunk is its k-occurrence (Radovanović, Nanopoulos and Ivanović 2010), which varies in a
    healthy corpus too: by a negative binomial, chance with a different rate for every chunk. The threshold is the count
    that one such chunk of so many exceeds in one corpus of a hundred. Below 200 chunks nothing is judged.
    """
    asking = np.array([i for i, vectors in enumerate(sample.sentence_vectors) if len(vectors)], dtype=np.int64)
    n = len(sample)
    if n < MIN_CHUNKS or len(asking) < MIN_CHUNKS:
        note = f"Too few chunks to judge: {n}, {MIN_CHUNKS} are needed."
        return Finding(numbers={"judged": False, "note": note}, scores={"hub": [{"count": None, "flagged": False}] * n})
    rng = np.random.default_rng(seed)
    if len(asking) > N_QUERIES:
        asking = np.sort(rng.choice(asking, N_QUERIES, replace=False))
    queries = normalized(
        np.stack([sample.sentence_vectors[i][rng.integers(len(sample.sentence_vectors[i]))] for i in asking])
    )
    near, _ = nearest_rows(queries, sample.vectors, N_NEIGHBORS, own=asking)
    counts = np.bincount(near.ravel(), minlength=n)
    threshold = hub_above(counts)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if counts[i] > threshold]
    spread = float(counts.std())
    return Finding(
        flags=tuple(_flag(sample, i, int(counts[i]), threshold, len(asking)) for i in order[:HUBS_SHOWN]),
        numbers={
            "judged": True,
            "n_queries": len(asking),
            "threshold": threshold,
            "n_hubs": len(order),
            "largest_count": int(counts.max()),
            "skewness": float(((counts - counts.mean()) ** 3).mean() / spread**3) if spread > 0 else 0.0,
            "share_never_found": float((counts == 0).mean()),
        },
        scores={"hub": [{"count": int(count), "flagged": bool(count > threshold)} for count in counts]},
    )


def hub_above(counts: NDArray[np.integer]) -> float:
    """The count beyond which a chunk is a hub, by the negative binomial with the moments of all but the highest 2%."""
    usual = np.sort(counts)[: int(np.ceil((1 - LEFT_OUT) * len(counts)))]
    mean = max(float(usual.mean()), 1 / len(counts))
    variance = max(float(usual.var()), 1.01 * mean)  # as scattered as a Poisson count at least
    size = mean**2 / (variance - mean)
    return float(nbinom.isf(FALSE_ALARMS / len(counts), size, mean / variance))


def _flag(sample: Sample, index: int, count: int, threshold: float, n_queries: int) -> Flag:
    chunk = sample.chunks[index]
    return Flag(
        kind="hub",
        subject=chunk.id,
        score=float(count),
        threshold=threshold,
        confidence=float(min(0.99, poisson.sf(threshold, count))),  # that another draw of queries finds it too
        evidence={
            "document_id": chunk.document_id,
            "share_of_queries": count / n_queries,
            "n_queries": n_queries,
            "text": opening(chunk.text),
            "null": NULL,
        },
        action="Read this passage: if it is a list of contents, a menu or boilerplate, leave it out of the index.",
    )

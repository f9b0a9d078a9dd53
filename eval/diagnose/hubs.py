"""Hubs: passages that appear in front of nearly every query, whatever it asks."""

from __future__ import annotations

import numpy as np

from core.types import Flag
from eval.diagnose.finding import Finding, opening
from eval.sample import Sample, normalized

N_NEIGHBORS = 10
N_QUERIES = 5000
MIN_CHUNKS = 200
MIN_SHARE = 0.05  # of all pseudo-queries have the chunk among their first ten
ROWS_AT_ONCE = 1024
HUBS_SHOWN = 20


def find_hubs(sample: Sample, seed: int = 0) -> Finding:
    """Flags `hub` for chunks among the first ten of 5% of pseudo-queries, far more often than the corpus' others.

    Pseudo-queries are one seeded sentence vector of each chunk (at most 5,000 chunks), the chunk itself left out of its
    list. Threshold: the larger of 5% of the queries and ten times the 95% quantile of the k-occurrence (Radovanović,
    Nanopoulos and Ivanović 2010). Below 200 chunks nothing is judged.
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
    counts = np.zeros(n, dtype=np.int64)
    for start in range(0, len(asking), ROWS_AT_ONCE):
        similarity = queries[start : start + ROWS_AT_ONCE] @ sample.vectors.T
        similarity[np.arange(len(similarity)), asking[start : start + ROWS_AT_ONCE]] = -np.inf
        counts += np.bincount(np.argpartition(-similarity, N_NEIGHBORS, axis=1)[:, :N_NEIGHBORS].ravel(), minlength=n)
    threshold = max(MIN_SHARE * len(asking), 10 * float(np.quantile(counts, 0.95)))
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


def _flag(sample: Sample, index: int, count: int, threshold: float, n_queries: int) -> Flag:
    chunk = sample.chunks[index]
    return Flag(
        kind="hub",
        subject=chunk.id,
        score=float(count),
        threshold=threshold,
        confidence=float(min(0.95, 1 - threshold / count / 2)),
        evidence={
            "document_id": chunk.document_id,
            "share_of_queries": count / n_queries,
            "n_queries": n_queries,
            "text": opening(chunk.text),
        },
        action="Read this passage: if it is a list of contents, a menu or boilerplate, leave it out of the index.",
    )

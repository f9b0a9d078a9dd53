"""A two-dimensional map of the chunks. Every verdict is computed in the original space; the map only shows them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from eval.diagnose.clusters import nearest
from eval.sample import Sample, normalized

MAX_POINTS = 5000  # what a browser draws without a pause
PERPLEXITY = 30.0  # van der Maaten and Hinton (2008); at most a third of the points
MIN_POINTS = 5  # below it there is nothing to arrange: the points lie on a line
N_NEIGHBORS = 10
MAX_GROUPS = 8  # colours that a reader can still tell apart, the last one for all other sources
OTHER = "other sources"
N_BANDS = 7  # of scores, as many shades


@dataclass(frozen=True, slots=True)
class CorpusMap:
    """Places of chunks on the map.

    `chunks`: int64, shape (n,), indices into the sample. `positions`: float32, shape (n, 2), within [0, 1]. `groups[i]`
    is the name of point i's group: its source, or the band of `bands` that its score lies in. `trustworthiness` and
    `knn_preservation` lie in [0, 1], None where undefined.
    """

    chunks: NDArray[np.int64]
    positions: NDArray[np.float32]
    groups: tuple[str, ...]
    n_chunks: int
    trustworthiness: float | None
    knn_preservation: float | None
    note: str
    bands: tuple[str, ...] = ()


def draw_map(
    sample: Sample, seed: int = 0, limit: int = MAX_POINTS, scores: NDArray[np.floating] | None = None
) -> CorpusMap:
    """The t-SNE map of the chunk vectors, the same for the same sample.

    Points are grouped by their source, or by `scores`, one for each chunk of the sample, shape (n_chunks,), in bands of
    equally many chunks.

    openTSNE on L2-normalised vectors (so that Euclidean order is cosine order), exact neighbours, PCA start. Above
    `limit` chunks every n/limit-th is drawn in document order, which keeps each document's share. Trustworthiness
    (Venna and Kaski 2001) and the share of the 10 nearest neighbours kept say how far to believe it.
    """
    n = len(sample)
    drawn = np.arange(n) if n <= limit else np.linspace(0, n - 1, limit).round().astype(np.int64)
    vectors = normalized(sample.vectors[drawn])
    note = f"All {n} chunks." if len(drawn) == n else f"{len(drawn)} of {n} chunks, each document by its share."
    groups, bands = (source_groups(sample, drawn), ()) if scores is None else score_bands(np.asarray(scores)[drawn])
    if len(np.unique(vectors, axis=0)) < MIN_POINTS:
        line = np.stack([(np.arange(len(drawn)) + 1) / (len(drawn) + 1), np.full(len(drawn), 0.5)], axis=1)
        note += " Too few different chunks for a map: they are listed on a line."
        return CorpusMap(drawn, line.astype(np.float32), groups, n, None, None, note, bands)
    places = _tsne(vectors, seed)
    trust, kept = _faithfulness(vectors, places)
    low, high = places.min(axis=0), places.max(axis=0)
    scale = max(float((high - low).max()), 1e-9)
    positions = 0.5 + (places - (low + high) / 2) / scale
    return CorpusMap(drawn, positions.astype(np.float32), groups, n, trust, kept, note, bands)


def source_groups(sample: Sample, drawn: NDArray[np.int64]) -> tuple[str, ...]:
    """The source of each drawn chunk: its folder where there are several, else its document; small ones are "other"."""
    chunks = [sample.chunks[i] for i in drawn]
    folders = [str(PurePosixPath(chunk.uri).parent) if "/" in chunk.uri else "" for chunk in chunks]
    has_folders = len(set(folders)) > 1
    names = folders if has_folders else [chunk.title or chunk.document_id for chunk in chunks]
    counts = sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))
    kept = {name for name, _ in (counts if len(counts) <= MAX_GROUPS else counts[: MAX_GROUPS - 1])}
    return tuple((name or "(no folder)") if name in kept else OTHER for name in names)


def score_bands(scores: NDArray[np.floating]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The band of each score, by its bounds, and all bands from the lowest to the highest; equal scores share one."""
    edges = np.unique(np.quantile(scores, np.linspace(0, 1, N_BANDS + 1)))
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    names = tuple(f"{low:+.2f} to {high:+.2f}" for low, high in pairwise(edges))
    places = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, len(names) - 1)
    return tuple(names[place] for place in places), tuple(dict.fromkeys(names))


def _tsne(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    from openTSNE import TSNE, initialization

    n = len(vectors)
    perplexity = min(PERPLEXITY, max(1.0, (n - 1) / 3))
    start = _pca_start(vectors)
    return np.asarray(
        TSNE(
            perplexity=perplexity,
            initialization=initialization.rescale(start),
            neighbors="exact",
            random_state=seed,
            n_jobs=1,  # sums of several threads could differ in their last digit from run to run
        ).fit(vectors)
    )


def _pca_start(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The first two principal components, each turned so that its largest coordinate is positive."""
    centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centered.T @ centered)
    start = centered @ axes[:, :-3:-1]
    sign = np.sign(start[np.abs(start).argmax(axis=0), [0, 1]])
    return start * np.where(sign == 0, 1, sign)


def _faithfulness(vectors: NDArray[np.float32], places: NDArray[np.float64]) -> tuple[float | None, float]:
    from sklearn.manifold import trustworthiness

    n = len(vectors)
    k = min(N_NEIGHBORS, (n - 1) // 2)
    original = nearest(vectors, k)
    squared = (places**2).sum(axis=1)
    distance = squared[:, None] + squared - 2 * places @ places.T
    np.fill_diagonal(distance, np.inf)
    mapped = np.argsort(distance, axis=1, kind="stable")[:, :k]
    kept = np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(original, mapped, strict=True)])
    return float(trustworthiness(vectors, places, n_neighbors=k)), float(kept)

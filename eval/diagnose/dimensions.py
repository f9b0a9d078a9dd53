"""How much of the embedding space the corpus uses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from core.types import Flag
from eval.diagnose.finding import Finding
from eval.sample import Sample, normalized

N_JUDGED = 1000  # the statistics move with the number of vectors, so they are only ever compared at this one
VARIANCE_SHARE = 0.90
MIN_COMPONENTS_SHARE = 80 / 384  # healthy corpora need 102 to 165 of 384 components, collapsed ones fewer than 80
MAX_LOW_COSINE = 0.25  # 5th percentile of the pairwise cosine; healthy corpora lie between -.11 and .14
N_PAIRS = 20_000


def find_dimension_collapse(sample: Sample, seed: int = 0) -> Finding:
    """The number of principal components that hold 90% of the variance, and a flag where it is far too small.

    Both statistics are taken on 1,000 chunks drawn without replacement (exact copies of a vector count once). With
    fewer, the numbers are shown and nothing is judged. Limits were measured on 384 dimensions and are scaled to others.
    """
    distinct = np.unique(sample.vectors, axis=0)
    n, dim = distinct.shape
    limit = MIN_COMPONENTS_SHARE * dim
    is_judged = n >= N_JUDGED
    rng = np.random.default_rng(seed)
    drawn = distinct[np.sort(rng.choice(n, N_JUDGED, replace=False))] if is_judged else distinct
    components = n_components(drawn)
    low_cosine = _low_cosine(drawn, rng)
    numbers = {
        "n_chunks": len(drawn),
        "dim": dim,
        "components_90": components,
        "min_components": limit,
        "cosine_p5": low_cosine,
        "max_cosine_p5": MAX_LOW_COSINE,
        "judged": is_judged,
        "note": (
            f"The limit of {MIN_COMPONENTS_SHARE:.0%} of the dimensions was measured on 384-dimensional vectors"
            + ("." if dim == 384 else f" and is scaled to {dim} here: read it with care.")
            if is_judged
            else f"Too few chunks to judge: {n} distinct vectors, {N_JUDGED} are needed."
        ),
    }
    is_flagged = is_judged and (components < limit or low_cosine > MAX_LOW_COSINE)
    return Finding(flags=(_flag(components, limit, low_cosine, dim),) if is_flagged else (), numbers=numbers)


def n_components(vectors: NDArray[np.float32], share: float = VARIANCE_SHARE) -> int:
    """The fewest principal components whose variances sum to the share; 0 where the vectors don't vary."""
    if len(vectors) < 2:
        return 0
    variances = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False).astype(np.float64) ** 2
    if variances.sum() <= 1e-9:
        return 0
    return int(np.searchsorted(np.cumsum(variances) / variances.sum(), share) + 1)


def _low_cosine(vectors: NDArray[np.float32], rng: np.random.Generator) -> float | None:
    """The 5th percentile of the cosine between distinct rows, None where there is no pair."""
    n = len(vectors)
    if n < 2:
        return None
    first = rng.integers(0, n, N_PAIRS)
    second = (first + rng.integers(1, n, N_PAIRS)) % n
    unit = normalized(vectors)
    return float(np.quantile(np.einsum("ij,ij->i", unit[first], unit[second]), 0.05))


def _flag(components: int, limit: float, low_cosine: float, dim: int) -> Flag:
    is_narrow, is_anisotropic = components < limit, low_cosine > MAX_LOW_COSINE
    return Flag(
        kind="dimension_collapse",
        subject="corpus",
        score=float(components) if is_narrow else low_cosine,
        threshold=limit if is_narrow else MAX_LOW_COSINE,
        confidence=0.95 if is_narrow and is_anisotropic else 0.8 if is_narrow else 0.6,
        evidence={
            "components_90": components,
            "dim": dim,
            "cosine_p5": low_cosine,
            "reading": (
                f"{components} of {dim} directions hold 90% of the variance; "
                f"95% of all pairs of passages have a cosine above {low_cosine:.2f}."
            ),
        },
        action=(
            "Check that the model fits the texts and that no text is put in front of every passage; a corpus about one "
            "narrow subject can look the same, so compare dense with sparse search before changing the model."
        ),
    )

"""Two small regressions, written out: what they give is shipped as a table of numbers."""

from __future__ import annotations

import numpy as np

WITHIN = (0.005, 0.995)  # quantiles of the training data inside which features are kept
LOGISTIC_PENALTY = 1e-3
N_STEPS = 30
SMALLEST = 1e-9


def _standard(rows: np.ndarray, weights: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Parameters that keep and scale features, and the features so treated."""
    lowest, highest = np.quantile(rows, WITHIN, axis=0)
    kept = np.clip(rows, lowest, highest)
    means = weights @ kept
    deviations = np.sqrt(weights @ (kept - means) ** 2) + SMALLEST
    scale = {"means": means, "deviations": deviations, "lowest": lowest, "highest": highest}
    return scale, (kept - means) / deviations


def ridge(
    rows: np.ndarray, curves: np.ndarray, weights: np.ndarray, penalty: float, prior: float
) -> dict[str, np.ndarray]:
    """Weighted ridge regression of `curves`, (n, n_weights), on `rows`, (n, n_features) (Hoerl and Kennard 1970).

    The intercept is the mean curve times 1 + `prior`.
    """
    weights = weights / weights.sum()
    scale, standard = _standard(rows, weights)
    intercept = weights @ curves
    weighted = standard * weights[:, None]
    left = standard.T @ weighted + penalty * np.eye(rows.shape[1])
    coefficients = np.linalg.solve(left, weighted.T @ (curves - intercept))
    return scale | {"intercept": (1 + prior) * intercept, "coefficients": coefficients}


def logistic(rows: np.ndarray, answers: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Weighted logistic regression with a small ridge penalty, by Newton's method; `answers` are 0 or 1."""
    weights = weights / weights.sum()
    scale, standard = _standard(rows, weights)
    design = np.c_[np.ones(len(rows)), standard]
    penalty = LOGISTIC_PENALTY * np.diag([0.0, *np.ones(rows.shape[1])])
    found = np.zeros(design.shape[1])
    for _ in range(N_STEPS):
        p = 1 / (1 + np.exp(-design @ found))
        hessian = design.T @ (design * (weights * p * (1 - p))[:, None]) + penalty
        found += np.linalg.solve(hessian, design.T @ (weights * (answers - p)) - penalty @ found)
    return scale | {"intercept": found[0], "coefficients": found[1:]}


def auroc(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties half (Mann and Whitney 1947)."""
    above = np.searchsorted(np.sort(negatives), positives, side="left")
    not_below = np.searchsorted(np.sort(negatives), positives, side="right")
    return float((above + not_below).sum() / 2 / len(positives) / len(negatives))

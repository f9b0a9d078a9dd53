"""The dense leg's weight, chosen for a corpus by its own queries, with or without judgements.

How well a weight would do shows in what the candidates of queries look like (`search.features`). A regression that was
trained on judged collections, by `python -m benchmarks.fusion --train`, predicts for each query the curve of nDCG@10
over the weight, up to a constant. The mean of many queries is the corpus' curve, and its weight the middle of the flat
top. Giving every query a say in its own weight was tried and made things worse on collections that the model hadn't
seen: one query's curve is too uncertain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import ceil
from typing import Self

import numpy as np

from core.errors import InputError
from search.shipped import load_shipped

WEIGHTS = np.linspace(0, 1, 21)  # of the dense leg, at which curves are given
FLAT = 0.001  # weights whose nDCG@10 comes this near to the best are as good
BASES = ("judgements", "queries", "query log", "prior")
N_RESAMPLES = 1000
N_FOLDS = 5
WIDENED = (1 + N_FOLDS / (N_FOLDS - 1)) ** 0.5
SEED = 17
NORMAL_95, NORMAL_80 = 1.96, 0.84  # quantiles for a two-sided level of 5% and a power of 80%


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an index knows of its own fusion weight, kept with the index.

    `alpha` is the dense leg's weight. `curve` is the expected nDCG@10 at each of `WEIGHTS`, less its mean; `interval`
    holds 95% of the weights to which other samples of as many queries would have led. `basis` is one of `BASES`.
    `means` are those of the queries' features, which say why. `rerank` says that judgements have shown a gain by the
    cross-encoder.
    """

    alpha: float
    basis: str
    n_queries: int
    curve: tuple[float, ...]
    interval: tuple[float, float]
    means: tuple[float, ...]
    rerank: bool = False

    def to_json(self) -> dict:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping) -> Self:
        """From what `to_json` made."""
        known = {item.name: stored[item.name] for item in fields(cls) if item.name in stored}
        tuples = {name: tuple(known[name]) for name in ("curve", "interval", "means")}
        return cls(**known | tuples)


@dataclass(frozen=True, slots=True)
class CurveModel:
    """Linear in the features, each standardised and kept inside the range that was seen in training.

    `means`, `deviations`, `lowest` and `highest` have shape (n_features,), `intercept` (n_weights,), `coefficients`
    (n_features, n_weights).
    """

    means: np.ndarray
    deviations: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    intercept: np.ndarray
    coefficients: np.ndarray

    def pulls(self, means: np.ndarray) -> np.ndarray:
        """How far each feature's mean, float64, shape (n_features,), tilts the curve towards the dense leg.

        The slope of what it adds, in nDCG@10 from weight 0 to weight 1; negative towards BM25.
        """
        centred = WEIGHTS - WEIGHTS.mean()
        return self.shares(means[None])[0] @ centred / (centred @ centred)

    def curves(self, rows: np.ndarray) -> np.ndarray:
        """Curves of nDCG@10 less their mean, float64, shape (n_queries, n_weights), for features (n_queries, …)."""
        return self.intercept + self.shares(rows).sum(axis=1)

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """What each feature adds to the curves, float64, shape (n_queries, n_features, n_weights)."""
        kept = (np.clip(rows, self.lowest, self.highest) - self.means) / self.deviations
        return kept[:, :, None] * self.coefficients


def load_model() -> CurveModel:
    """The model that is shipped."""
    return CurveModel(**load_shipped()["queries"])


def flat_top(curve: np.ndarray) -> float:
    """The weight in the middle of those that come within `FLAT` of the best."""
    return float(WEIGHTS[curve >= curve.max() - FLAT].mean())


def tune(rows: np.ndarray, basis: str) -> Tuning:
    """The weight for queries with these features, float64, shape (n_queries, n_features); nothing is judged.

    Raises `InputError` without a query.
    """
    if not len(rows):
        raise InputError("There is no query to tune by. Give at least one; 50 are enough.")
    return _tuning(load_model().curves(rows), basis, rows)


def prior() -> Tuning:
    """The weight where nothing is known of the queries: the best on average over the collections of the training."""
    model = load_model()
    alpha = flat_top(model.intercept)
    return Tuning(alpha, "prior", 0, tuple(model.intercept.tolist()), (0.0, 1.0), tuple(model.means.tolist()))


def tune_judged(curves: np.ndarray, rows: np.ndarray) -> Tuning:
    """The weight that is best on judged queries; `curves`, nDCG@10 at each of `WEIGHTS`, has shape (n_queries, …)."""
    return _tuning(curves - curves.mean(axis=1, keepdims=True), "judgements", rows)


def _tuning(curves: np.ndarray, basis: str, rows: np.ndarray) -> Tuning:
    curve = curves.mean(axis=0)
    interval = _interval(curves)
    alpha = flat_top(curve)
    return Tuning(alpha, basis, len(rows), tuple(curve.tolist()), interval, tuple(rows.mean(axis=0).tolist()))


def _interval(curves: np.ndarray) -> tuple[float, float]:
    """95% percentile bootstrap interval of the flat top's middle over queries (Efron 1979)."""
    rng = np.random.default_rng(SEED)
    drawn = rng.integers(len(curves), size=(N_RESAMPLES, len(curves)))
    found = [flat_top(curves[rows].mean(axis=0)) for rows in drawn]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What judgements say of the weight `alpha` that they favour against the weight `beside`.

    `gain` is the difference of nDCG@10 on queries that didn't choose the weight, `low` and `high` its 95% interval.
    It is sure where the interval lies above 0. `n_needed` judged queries would make a gain of this size sure with a
    probability of 80%; None where there is none.
    """

    alpha: float
    beside: float
    gain: float
    low: float
    high: float
    n_needed: int | None

    @property
    def is_sure(self) -> bool:
        """Whether the gain is more than chance."""
        return self.low > 0


def cross_validate(curves: np.ndarray, beside: float) -> Verdict:
    """Whether choosing the weight by judgements beats the weight `beside`.

    `curves` holds the nDCG@10 of each judged query at each of `WEIGHTS`, shape (n_queries, n_weights). Each of
    `N_FOLDS` parts is scored at the weight that the other parts favour. The parts' weights come from overlapping
    queries, so the standard error s / √n is widened by √(1 + folds · n_test / n_train) = 1.5 (Nadeau and Bengio 2003,
    "Inference for the Generalization Error"); `n_needed` = ((1.96 + 0.84) · 1.5 · s / gain)².
    Raises `InputError` for fewer queries than folds.
    """
    n_queries = len(curves)
    if n_queries < N_FOLDS:
        raise InputError(f"{n_queries} judged queries are too few to choose a weight by; give at least {N_FOLDS}.")
    order = np.random.default_rng(SEED).permutation(n_queries)
    differences = np.empty(n_queries)
    standing = place_of(beside)
    for fold in range(N_FOLDS):
        held = order[fold::N_FOLDS]
        rest = np.delete(np.arange(n_queries), held)
        chosen = place_of(flat_top(curves[rest].mean(axis=0)))
        differences[held] = curves[held, chosen] - curves[held, standing]
    gain, deviation = float(differences.mean()), WIDENED * float(differences.std(ddof=1))
    half = NORMAL_95 * deviation / n_queries**0.5
    needed = ceil(((NORMAL_95 + NORMAL_80) * deviation / gain) ** 2) if gain > 0 else None
    return Verdict(flat_top(curves.mean(axis=0)), beside, gain, gain - half, gain + half, needed)


def place_of(weight: float) -> int:
    """The place of the nearest of `WEIGHTS`."""
    return int(np.abs(WEIGHTS - weight).argmin())

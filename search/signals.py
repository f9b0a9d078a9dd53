"""What a search says of itself: how sure it is that the answer is among its hits, and what speaks against it.

`confidence` is a logistic regression on the query's features, trained by `python -m benchmarks.fusion --train` to tell
queries from the same queries with their answers taken out of the corpus, and from queries of other corpora.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.unrelated import Unrelated
from search.features import NAMES
from search.shipped import load_shipped

FAR_SPREADS = 0.84  # the 80% quantile of a normal distribution: four unrelated questions in five stay below it
DISAGREEMENT = 0.0  # share of the two legs' best ten that both name, at which they are said to disagree


@dataclass(frozen=True, slots=True)
class Signals:
    """`confidence` in [0, 1] is the probability that the corpus holds an answer; None unless the mode is hybrid.

    `is_far` says that nothing in the corpus is nearer to the query than to unrelated questions. `unknown_terms` are
    words of the query that occur nowhere in the index. `legs_disagree` says that the best ten of either leg have
    nothing in common.
    """

    confidence: float | None
    is_far: bool
    unknown_terms: tuple[str, ...]
    legs_disagree: bool

    def notes(self) -> list[str]:
        """The signals as sentences, worst first."""
        found = []
        if self.is_far:
            found.append("This query lies far from everything in the corpus: unrelated questions come as near.")
        if self.unknown_terms:
            found.append(f"These words occur nowhere in the corpus: {', '.join(self.unknown_terms)}.")
        if self.legs_disagree:
            found.append("The two legs disagree: words and meaning lead to different passages.")
        return found


def confidence(rows: np.ndarray, model: Mapping[str, np.ndarray]) -> np.ndarray:
    """The probability that the corpus holds an answer, float64, shape (n_queries,).

    `rows` are the queries' features, float64, shape (n_queries, n_features), `model` the arrays of the regression.
    """
    kept = np.clip(rows, model["lowest"], model["highest"])
    standard = (kept - model["means"]) / model["deviations"]
    return 1 / (1 + np.exp(-(model["intercept"] + standard @ model["coefficients"])))


def signals(
    row: np.ndarray | None, best_sentence: float | None, unrelated: Unrelated, unknown_terms: Sequence[str]
) -> Signals:
    """What can be said of a query: `row` are its features, None unless it is hybrid.

    `best_sentence` is the best cosine to a sentence that it reached, None where the dense leg wasn't asked.
    """
    limit = unrelated.sentence + FAR_SPREADS * unrelated.sentence_spread
    overlap = None if row is None else row[NAMES.index("overlap at 10")]
    has_sparse = row is not None and row[NAMES.index("BM25 covered")] > 0
    return Signals(
        confidence=None if row is None else float(confidence(row[None], load_shipped()["confidence"])[0]),
        is_far=best_sentence is not None and best_sentence <= limit,
        unknown_terms=tuple(unknown_terms),
        legs_disagree=bool(has_sparse and overlap <= DISAGREEMENT),
    )

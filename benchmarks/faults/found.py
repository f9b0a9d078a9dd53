"""What the diagnosis made of one planting, as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.faults.calibration import Claims
from benchmarks.learning import auroc

FALSE_ALARMS = 0.05
PREVALENCE = 0.1
COLUMNS = ("auroc", "average_precision", "recall", "flagged", "false_alarms")


@dataclass(frozen=True, slots=True)
class Found:
    """What the diagnosis made of one planting: scores of what holds the fault, chunks or corpora, and of the rest.

    `claims` are its flags with their confidences.
    """

    fault: str
    collection: str
    planted: np.ndarray
    clean: np.ndarray
    planted_flagged: float
    clean_flagged: float
    extra: dict[str, float] | None = None
    claims: Claims | None = None

    @property
    def check(self) -> str:
        """The fault without its strength; muddy chunks are three faults."""
        parts = self.fault.split(", ")
        return ", ".join(parts[:2]) if parts[0] == "muddy" else parts[0]

    @classmethod
    def scored(
        cls,
        fault: str,
        collection: str,
        rows: Sequence[dict],
        columns: tuple[str, str],
        is_planted: np.ndarray,
        *,
        sign: int = 1,
        is_control: np.ndarray | None = None,
        claims: Claims | None = None,
    ) -> Found | None:
        """By the scores of every chunk; `columns` name its score and its flag. None where nothing planted has one."""
        scores = sign * np.array([np.nan if row[columns[0]] is None else row[columns[0]] for row in rows], dtype=float)
        flagged, known = np.array([row[columns[1]] for row in rows]), ~np.isnan(scores)
        planted = is_planted & known
        clean = known & (~is_planted if is_control is None else is_control & ~is_planted)
        if not planted.any() or not clean.any():
            return None
        rates = float(flagged[planted].mean()), float(flagged[clean].mean())
        return cls(fault, collection, scores[planted], scores[clean], *rates, claims=claims)

    def numbers(self) -> dict[str, float]:
        """AUROC, average precision at 10% prevalence, recall at 5% false alarms, and the product's own flags."""
        limit = np.quantile(self.clean, 1 - FALSE_ALARMS)
        values = (
            auroc(self.planted, self.clean),
            average_precision(self.planted, self.clean),
            float((self.planted > limit).mean()),
            self.planted_flagged,
            self.clean_flagged,
        )
        return dict(zip(COLUMNS, map(float, values), strict=True)) | (self.extra or {})


def average_precision(planted: np.ndarray, clean: np.ndarray) -> float:
    """Average precision if a tenth of all were planted; ties count as one step."""
    from sklearn.metrics import average_precision_score

    weights = np.r_[
        np.full(len(planted), PREVALENCE / len(planted)), np.full(len(clean), (1 - PREVALENCE) / len(clean))
    ]
    answers = np.r_[np.ones(len(planted)), np.zeros(len(clean))]
    return float(average_precision_score(answers, np.r_[planted, clean], sample_weight=weights))

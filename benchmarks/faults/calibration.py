"""Is the report as sure as it should be? The confidences of flags, beside how many of the flags are right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from benchmarks.figures import Figure
from core.types import Flag
from eval.diagnose.finding import Finding
from eval.kinds import SURE
from eval.sample import Sample

N_BINS = 10  # of equal width
RIGHT = 0.5  # of the passages that a flag is about, were planted


@dataclass(frozen=True, slots=True)
class Claims:
    """The flags of one check on one planting: how sure each is said to be, (n,), and whether it is right, (n,)."""

    confidences: np.ndarray
    truths: np.ndarray

    @classmethod
    def of(cls, judged: Iterable[tuple[float, bool]]) -> Self:
        """From pairs of a confidence and whether the flag is right."""
        pairs = np.array([*judged], dtype=float).reshape(-1, 2)
        return cls(pairs[:, 0], pairs[:, 1])

    @classmethod
    def about(
        cls,
        finding: Finding,
        sample: Sample,
        kind: str,
        is_planted: np.ndarray,
        is_control: np.ndarray | None = None,
    ) -> Self:
        """Of flags of a kind about chunks: right where at least half of those that are known were planted.

        Known are planted ones and controls, which are all others unless told; a flag about none of these is left out.
        """
        place = {chunk.id: i for i, chunk in enumerate(sample.chunks)}
        known = is_planted | (~is_planted if is_control is None else is_control)
        judged = []
        for flag in finding.flags:
            members = [i for i in map(place.__getitem__, _members(flag)) if known[i]]
            if flag.kind == kind and members:
                judged.append((flag.confidence, is_planted[members].mean() >= RIGHT))
        return cls.of(judged)

    def __add__(self, other: Claims) -> Claims:
        return Claims(np.r_[self.confidences, other.confidences], np.r_[self.truths, other.truths])

    def numbers(self) -> dict[str, float | None]:
        """Brier score and expected calibration error, means, and the share that is right of the flags called sure.

        Brier (1950): the mean of (confidence - truth)², 0 at best. Expected calibration error (Naeini, Cooper and
        Hauskrecht 2015): over ten bins of the confidence, the mean of |mean confidence - share that is right|, each
        weighted by its flags.
        """
        sure = self.confidences >= SURE
        return {
            "n": len(self.confidences),
            "brier": float(np.mean((self.confidences - self.truths) ** 2)),
            "ece": sum(n * abs(said - right) for n, said, right in self.bins()) / len(self.confidences),
            "said": float(self.confidences.mean()),
            "right": float(self.truths.mean()),
            "n_sure": int(sure.sum()),
            "right_of_sure": float(self.truths[sure].mean()) if sure.any() else None,
        }

    def bins(self) -> list[tuple[int, float, float]]:
        """Flags, mean confidence and share that is right of every bin that has flags, the least sure first."""
        number = np.minimum((self.confidences * N_BINS).astype(int), N_BINS - 1)
        groups = [number == i for i in range(N_BINS) if (number == i).any()]
        return [(int(g.sum()), float(self.confidences[g].mean()), float(self.truths[g].mean())) for g in groups]


def _members(flag: Flag) -> Sequence[str]:
    return flag.evidence.get("member_ids") or [flag.subject]


def pooled(claims: Iterable[tuple[str, str, Claims]]) -> dict[str, dict[str, Claims]]:
    """Claims by check and collection, of (check, collection, claims); those without a flag are left out."""
    found: dict[str, dict[str, Claims]] = defaultdict(dict)
    for check, collection, some in claims:
        if len(some.truths):
            mine = found[check]
            mine[collection] = mine[collection] + some if collection in mine else some
    return dict(found)


def figures(found: dict[str, dict[str, Claims]]) -> list[Figure]:
    """A row for each check, over the flags of all collections."""
    rows = []
    for check, collections in found.items():
        told = sum(collections.values(), Claims.of([])).numbers()
        sure = f"; of {told['n_sure']:,} sure ones {told['right_of_sure']:.2f}" if told["n_sure"] else "; none sure"
        rows.append(
            Figure(
                f"how sure: {check} ({told['n']:,} flags, {len(collections)})",
                f"Brier {told['brier']:.3f}, calibration error {told['ece']:.3f}",
                f"said {told['said']:.2f}, right {told['right']:.2f}{sure}",
                value=told["ece"],
            )
        )
    return rows


def details(found: dict[str, dict[str, Claims]]) -> dict[str, object]:
    """For the JSON: numbers and bins over all collections, and the numbers of each."""
    return {
        check: sum(collections.values(), Claims.of([])).numbers()
        | {"bins": sum(collections.values(), Claims.of([])).bins()}
        | {"collections": {name: some.numbers() for name, some in collections.items()}}
        for check, collections in found.items()
    }

"""Confidences are held against what was planted, by sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.faults.calibration import Claims, details, figures, pooled
from core.types import Flag
from eval.diagnose.finding import Finding
from eval.sample import collect
from tests.eval.corpus import make_chunk


def flag(subject: str, confidence: float, members: list[str] | None = None, kind: str = "duplicate") -> Flag:
    return Flag(kind, subject, 1.0, 0.5, confidence, {"member_ids": members} if members else {}, "Look.")


def test_brier_score_and_calibration_error() -> None:
    claims = Claims.of([(0.9, True), (0.92, False), (0.3, False), (1.0, True)])
    numbers = claims.numbers()
    assert numbers["brier"] == pytest.approx((0.1**2 + 0.92**2 + 0.3**2 + 0) / 4)
    last = abs((0.9 + 0.92 + 1) / 3 - 2 / 3)  # 1 lies in the last bin
    assert numbers["ece"] == pytest.approx(3 / 4 * last + 1 / 4 * 0.3)
    assert [n for n, _, _ in claims.bins()] == [1, 3]
    assert (numbers["n"], numbers["right"], numbers["n_sure"]) == (4, 0.5, 3)
    assert numbers["right_of_sure"] == pytest.approx(2 / 3)
    assert Claims.of([(0.1, False)]).numbers()["right_of_sure"] is None


def test_the_well_calibrated_have_little_error() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    honest = Claims(said, rng.random(20_000) < said).numbers()
    bold = Claims(said, rng.random(20_000) < said / 2).numbers()
    assert honest["ece"] < 0.02
    assert bold["ece"] == pytest.approx(0.25, abs=0.02)


def test_a_flag_is_right_where_half_of_what_is_known_was_planted() -> None:
    rows = [(make_chunk(f"d{i}#0", ["One sentence."]), np.ones(2), np.ones((1, 2))) for i in range(5)]
    sample = collect(rows, 256)
    flags = (
        flag("d0#0", 0.9),
        flag("d1#0", 0.8, ["d1#0", "d0#0"]),
        flag("d2#0", 0.7, ["d2#0", "d1#0", "d0#0"]),
        flag("d3#0", 0.6),  # neither planted nor a control
        flag("d4#0", 0.5, kind="hub"),
    )
    is_planted = np.array([True, False, False, False, False])
    found = Claims.about(Finding(flags), sample, "duplicate", is_planted, np.array([False, True, True, False, True]))
    assert found.confidences.tolist() == [0.9, 0.8, 0.7]
    assert found.truths.tolist() == [1, 1, 0]
    assert len(Claims.about(Finding(flags), sample, "duplicate", is_planted).truths) == 4


def test_rows_pool_the_collections_of_a_check() -> None:
    none = Claims.of([])
    found = pooled(
        [("hubs", "one", Claims.of([(0.8, True)])), ("hubs", "two", Claims.of([(0.6, False)])), ("hubs", "three", none)]
    )
    (row,) = figures(found)
    assert row.measured == "how sure: hubs (2 flags, 2)"
    assert row.limpid == "Brier 0.200, calibration error 0.400"
    assert row.beside == "said 0.70, right 0.50; of 1 sure ones 1.00"
    assert details(found)["hubs"]["collections"]["two"]["said"] == pytest.approx(0.6)
    assert figures(pooled([("hubs", "one", none)])) == []

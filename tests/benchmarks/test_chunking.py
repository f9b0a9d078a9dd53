"""The chunking benchmark scores as the published study does: sums written out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.chunking import load_questions, score

EXCERPTS = [("d", 100, 150), ("d", 200, 250)]


def test_recall_precision_and_iou_over_characters() -> None:
    retrieved = [("d", 90, 190), ("d", 225, 300)]
    found, length, missed = 50 + 25, 100 + 75, 25
    assert score(retrieved, EXCERPTS) == pytest.approx((found / 100, found / length, found / (length + missed)))


def test_text_of_other_documents_is_never_found_but_counts_as_retrieved() -> None:
    assert score([("d", 100, 150), ("e", 0, 450)], EXCERPTS) == pytest.approx((50 / 100, 50 / 500, 50 / 550))


def test_what_passages_share_is_found_once_and_retrieved_twice() -> None:
    assert score([("d", 100, 150), ("d", 100, 150)], EXCERPTS) == pytest.approx((50 / 100, 50 / 100, 50 / 150))


def test_exactly_the_excerpts_is_perfect_and_nothing_is_zero() -> None:
    assert score(EXCERPTS, EXCERPTS) == (1.0, 1.0, 1.0)
    assert score([], EXCERPTS) == (0.0, 0.0, 0.0)
    assert score([("d", 150, 200)], EXCERPTS) == (0.0, 0.0, 0.0)


def test_questions_without_excerpts_are_left_out(tmp_path: Path) -> None:
    queries = [{"_id": "q1", "text": "one?"}, {"_id": "q2", "text": "two?"}]
    excerpts = [{"query_id": "q2", "doc_id": "d", "start": start, "end": start + 5, "text": "x"} for start in (3, 9)]
    for name, lines in (("queries", queries), ("excerpts", excerpts)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (question,) = load_questions(tmp_path)
    assert (question.text, question.excerpts) == ("two?", (("d", 3, 8), ("d", 9, 14)))

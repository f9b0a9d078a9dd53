"""Walks: the arc is a great circle, no passage is met twice, and the way leads from one end to the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import InputError
from core.index import Index
from search.space.examples import COPY_COSINE, read_examples
from search.space.walk import MAX_STEPS, slerp, walk
from tests.search.space.conftest import TWIN

ENDS = arrays(np.float64, (2, 6), elements=st.floats(-1, 1)).filter(
    lambda rows: (
        np.linalg.norm(rows, axis=1).min() > 0.1
        and abs(np.dot(*(rows / np.linalg.norm(rows, axis=1, keepdims=True)))) < 0.999
    )
)


def _angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arccos(np.clip(a.astype(np.float64) @ b.astype(np.float64), -1, 1)))


@given(ENDS, st.integers(2, 12))
def test_the_arc(rows: np.ndarray, n: int) -> None:
    """Its ends are the ends, every point has length 1, and neighbours are the same angle apart."""
    start, end = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    points = [slerp(start, end, t) for t in np.linspace(0, 1, n + 1)]
    assert points[0] == pytest.approx(start, abs=1e-6)
    assert points[-1] == pytest.approx(end, abs=1e-6)
    assert np.linalg.norm(points, axis=1) == pytest.approx(np.ones(n + 1), abs=1e-6)
    angle = _angle(start, end) / n
    assert [_angle(a, b) for a, b in pairwise(points)] == pytest.approx([angle] * n, abs=2e-3)
    for t in (0.25, 0.5):
        assert slerp(end, start, 1 - t) == pytest.approx(slerp(start, end, t), abs=1e-5)


def test_halfway_between_right_angles() -> None:
    start, end = np.eye(2, dtype=np.float32)
    assert slerp(start, end, 0.5) == pytest.approx([2**-0.5, 2**-0.5])
    assert slerp(start, end, 1 / 3) == pytest.approx([np.cos(np.pi / 6), np.sin(np.pi / 6)])


@pytest.mark.parametrize("sign", [1, -1])
def test_no_arc_between_equal_or_opposite_points(sign: int) -> None:
    vector = np.eye(3, dtype=np.float32)[0]
    with pytest.raises(InputError, match="the same point" if sign == 1 else "opposite points"):
        slerp(vector, sign * vector, 0.5)


@pytest.mark.parametrize(
    ("start", "end"), [("break", "integers"), ("text:stop a loop", "text:errors"), ("try", "text:1")]
)
def test_nothing_is_met_twice(index: Index, start: str, end: str) -> None:
    taken = walk(index, start, end, steps=8)
    stored = {found.chunk.id: found.dense for found in index.scan()}
    met = [stored[hit.chunk.id] for hit in taken.hits]
    assert len(met) == 8
    assert not {hit.chunk.document_id for hit in taken.hits} & {start, end}
    for row, vector in enumerate(met):
        assert max([float(vector @ other) for other in met[:row]], default=0) < COPY_COSINE
    assert taken.places == pytest.approx([n / 9 for n in range(1, 9)])
    assert [hit.rank for hit in taken.hits] == list(range(1, 9))


def test_each_step_is_the_nearest_that_is_left(index: Index) -> None:
    ends = read_examples(index, ["break", "integers"])
    stored = {found.chunk.id: found for found in index.scan()}
    held = [vector for end in ends for vector in end.stored]
    taken = walk(index, "break", "integers", 6)
    for t, hit in zip(taken.places, taken.hits, strict=True):
        point = slerp(ends[0].vector, ends[1].vector, t)
        left = {
            key: float(found.dense @ point)
            for key, found in stored.items()
            if max(float(found.dense @ vector) for vector in held) < COPY_COSINE
        }
        assert hit.chunk.id == min(left, key=lambda key: (-round(left[key], 6), key))
        assert hit.score == pytest.approx(left[hit.chunk.id], abs=1e-5)
        held.append(stored[hit.chunk.id].dense)


def test_the_way_leads_from_kind_to_kind(index: Index) -> None:
    taken = walk(index, "text:repeat in a loop", "text:digits of a number", 4)
    kinds = [hit.chunk.metadata["kind"] for hit in taken.hits]
    assert kinds[0] == "loop"
    assert kinds[-1] == "number"
    assert kinds == sorted(kinds, key=("loop", "error", "number").index)  # never back


def test_a_copy_of_an_end_is_not_met(index: Index) -> None:
    assert TWIN not in {hit.chunk.document_id for hit in walk(index, "continue", "integers", 10).hits}


def test_filters_hold_and_an_early_end_is_told(index: Index) -> None:
    taken = walk(index, "break", "floating", MAX_STEPS, where='document_id = "raise"')
    assert taken.hits
    assert {hit.chunk.document_id for hit in taken.hits} == {"raise"}
    assert len(taken.hits) < MAX_STEPS
    assert f"Only {len(taken.hits)} of {MAX_STEPS} steps" in taken.notes[-1]
    answer = taken.to_json()
    assert answer["from"] == "break"
    assert [step["t"] for step in answer["steps"]] == pytest.approx(taken.places, abs=1e-4)


@pytest.mark.parametrize("steps", [0, MAX_STEPS + 1])
def test_steps_are_limited(index: Index, steps: int) -> None:
    with pytest.raises(InputError, match=f"{steps} steps"):
        walk(index, "break", "for", steps)


def test_a_walk_to_itself_is_refused(index: Index) -> None:
    with pytest.raises(InputError, match="the same point"):
        walk(index, "break", "break")

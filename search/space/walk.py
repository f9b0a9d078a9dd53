"""A walk through the latent space: the passages met on the way from one point to another."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from core.errors import InputError
from core.index import Index
from core.types import Hit
from search.results import hit_json
from search.space.examples import condition, notes_of, read_examples, read_hits, stored_of, without_copies

MAX_STEPS = 50
SMALLEST_SINE = 1e-4  # of the angle between the ends: below it they are one point, or opposite ones


@dataclass(frozen=True, slots=True)
class Walk:
    """The passages met; `places[i]` in (0, 1) is how far along the way the i-th was met, its score the cosine there."""

    start: str
    end: str
    angle_degrees: float
    took_ms: float
    places: tuple[float, ...]
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict:
        """As plain JSON values; hits have the form of a search's, with `t`, their place."""
        steps = [{"t": round(t, 4)} | hit_json(hit) for t, hit in zip(self.places, self.hits, strict=True)]
        answer = {
            "from": self.start,
            "to": self.end,
            "angle_degrees": round(self.angle_degrees, 2),
            "took_ms": round(self.took_ms, 2),
            "steps": steps,
        }
        return answer | ({"notes": list(self.notes)} if self.notes else {})


def slerp(start: np.ndarray, end: np.ndarray, t: float) -> np.ndarray:
    """The point at share `t` in [0, 1] of the arc between two vectors of length 1, float32, shape (dim,), of length 1.

    sin((1 − t)·θ) / sin θ · start + sin(t·θ) / sin θ · end, with θ the angle between them (Shoemake 1985, "Animating
    Rotation with Quaternion Curves").
    Raises `InputError` where both are one point or opposite ones, so that no single arc leads from one to the other.
    """
    angle = _angle(start, end)
    if np.sin(angle) < SMALLEST_SINE:
        relation = "the same point" if angle < 1 else "opposite points"
        raise InputError(f"Both ends of the walk are {relation} of the latent space: give ends that differ.")
    point = np.sin((1 - t) * angle) * start.astype(np.float64) + np.sin(t * angle) * end.astype(np.float64)
    return (point / np.linalg.norm(point)).astype(np.float32)


def walk(index: Index, start: str, end: str, steps: int = 5, where: str | None = None) -> Walk:
    """The passages nearest to `steps` points that divide the arc from `start` to `end` evenly, ends apart.

    The ends are named as `search.space.examples.read_examples` says. No passage is met twice: not the ends, the chunks
    of a document at an end, or a copy of any. There are fewer steps than asked for where no passage is left.
    Raises `InputError` for steps outside [1, 50] or ends that are one point, and as `read_examples` does.
    """
    started = time.perf_counter()
    if not 1 <= steps <= MAX_STEPS:
        raise InputError(f"{steps} steps are asked for; there must be between 1 and {MAX_STEPS}.")
    store = index.store
    with store.reading():
        ends = read_examples(index, [start, end])
        held = stored_of(ends, index.embedder.dimension)
        only = condition(index, where, ends)
        places: list[float] = []
        hits: list[Hit] = []
        for t in np.linspace(0, 1, steps + 2)[1:-1].tolist():
            point = slerp(ends[0].vector, ends[1].vector, t)
            found = without_copies(store, lambda n, p=point: store.candidates(p, None, n, only).dense, 1, held)
            met = read_hits(store, found, point[None])
            if met:
                held = np.concatenate([held, *(vector[None] for vector in store.vectors([found[0][0]]).values())])
                places.append(t)
                hits.append(replace(met[0], rank=len(hits) + 1))
    notes = notes_of(ends)
    if len(hits) < steps:
        notes += (f"Only {len(hits)} of {steps} steps met a passage: no other one is left.",)
    took_ms = (time.perf_counter() - started) * 1000
    angle = float(np.degrees(_angle(ends[0].vector, ends[1].vector)))
    return Walk(start, end, angle, took_ms, tuple(places), tuple(hits), notes)


def _angle(start: np.ndarray, end: np.ndarray) -> float:
    """Radians; by both diagonals, which stays exact where the cosine is near 1 (Kahan 2006)."""
    a, b = start.astype(np.float64), end.astype(np.float64)
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))

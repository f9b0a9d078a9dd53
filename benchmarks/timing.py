"""Clocks: contenders take turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def alternate(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call, the contenders in turn: A, B, A, B …"""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            taken[name].append(seconds(call))
    return taken


def each_ms(call: Callable[..., object], queries: Iterable[object]) -> list[float]:
    """Milliseconds of `call` on each query."""
    return [1000 * seconds(lambda query=query: call(query)) for query in queries]


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return float(np.median(values))


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99, linearly interpolated."""
    return {f"p{share}": float(np.percentile(values, share)) for share in (50, 95, 99)}

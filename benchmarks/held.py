"""What a process that serves a synthetic index holds in memory, plain and quantised, and how well it answers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import resident_mb
from benchmarks.synthetic import Query
from benchmarks.synthetic_index import Built, open_synthetic
from benchmarks.timing import each_ms, percentiles

K, CANDIDATES = 10, 100


@dataclass(frozen=True, slots=True)
class Held:
    """Memory that the index added to the process, in MB, once all queries were answered; `pinned_mb` no file backs.

    `latency_ms` are percentiles of whole hybrid queries, `nearest` the ids that the dense leg found for each query.
    """

    resident_mb: float
    pinned_mb: float
    latency_ms: dict[str, float]
    nearest: list[list[str]]


def held(folder: Path, built: Built, queries: Sequence[Query]) -> Held:
    """Open the index in a process of its own, ask it everything, and look."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_hold, folder, built, queries).result()


def _hold(folder: Path, built: Built, queries: Sequence[Query]) -> Held:
    from benchmarks.hybrid import PreparedQueries
    from search.retriever import Retriever

    before = resident_mb()
    with open_synthetic(folder, built, len(queries[0].vector), PreparedQueries(queries)) as index:
        retriever = Retriever(index, CANDIDATES)
        for _ in range(2):  # the first round warms up
            taken = each_ms(lambda query: retriever.search(query.text, K), queries)
        lists = [index.store.candidates(query.vector, None, CANDIDATES).dense[:K] for query in queries]
        after = resident_mb()
    nearest = [[key for key, _ in found] for found in lists]
    return Held(after[0] - before[0], after[1] - before[1], percentiles(taken), nearest)

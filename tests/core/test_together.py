"""Queries of several threads share a batch without anyone waiting for company, and without changing a vector."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from core.embed import Embedder
from core.embed.together import MAX_TOGETHER, Together

QUERIES = ["black tea", "how long should it steep", "a river of ice", "break", "oil the chain now and then", "ice"]


def test_vectors_are_those_of_one_query_by_itself(embedder: Embedder):
    alone = {query: embedder.encode_query(query) for query in QUERIES}
    with ThreadPoolExecutor(16) as threads:
        asked = QUERIES * 20
        for query, vector in zip(asked, threads.map(embedder.encode_query, asked), strict=True):
            assert np.array_equal(vector, alone[query])


def test_what_comes_meanwhile_is_the_next_batch():
    batches: list[list[int]] = []
    begun, go_on = Event(), Event()

    def infer(ids: list[list[int]]) -> np.ndarray:
        batches.append([row[0] for row in ids])
        begun.set()
        assert go_on.wait(10)
        return np.array([[row[0]] for row in ids], dtype=np.float32)

    together = Together(infer)
    with ThreadPoolExecutor(32) as threads:
        first = threads.submit(together.encode, [0, 0])
        assert begun.wait(10)
        others = [threads.submit(together.encode, [number, 0]) for number in range(1, 20)]
        longer = threads.submit(together.encode, [99, 0, 0])
        while len(together._waiting) < 20:
            pass
        go_on.set()
        assert first.result()[0] == 0
        assert [other.result()[0] for other in others] == list(range(1, 20))
        assert longer.result()[0] == 99
    assert batches[0] == [0]
    assert [99] in batches  # of another length: never padded
    assert len(batches) == 4
    assert sorted(map(len, batches)) == [1, 1, 19 - MAX_TOGETHER, MAX_TOGETHER]


def test_a_failure_reaches_all_that_shared_it_and_nobody_else():
    def infer(ids: list[list[int]]) -> np.ndarray:
        if ids[0][0] < 0:
            raise RuntimeError("no room")
        return np.array(ids, dtype=np.float32)

    together = Together(infer)
    with pytest.raises(RuntimeError, match="no room"):
        together.encode([-1])
    assert together.encode([5]) == 5

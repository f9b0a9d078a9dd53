"""All that an index holds, in a form that two indexes can be compared by."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from core.index import Index
from core.types import Chunk, DocumentRecord
from ingest.pipeline import AVG_LEN_DRIFT
from search.retriever import Retriever


def documents(index: Index) -> dict[str, DocumentRecord]:
    """Every record whole, by document id."""
    return {record.id: index.store.record(record.id) for record in index.store.records()}


def chunks(index: Index) -> dict[str, Chunk]:
    """Every chunk by id."""
    return {found.chunk.id: found.chunk for found in index.scan()}


def assert_same(one: Index, other: Index, queries: tuple[str, ...]) -> None:
    """Both hold the same documents and chunks with the same vectors, and give the same answers.

    BM25's average length follows the corpus only once it has drifted, so `other` may lag behind `one`: `one` is then
    weighed by the average of `other`.
    """

    def settled(index: Index) -> dict[str, DocumentRecord]:
        return {key: replace(record, settling=False) for key, record in documents(index).items()}

    assert settled(one) == settled(other)
    ours, theirs = chunks(one), chunks(other)
    assert ours.keys() == theirs.keys()
    for key, chunk in ours.items():
        assert chunk == theirs[key]
    for left, right in zip(one.scan(), other.scan(), strict=True):
        assert left.chunk.id == right.chunk.id
        np.testing.assert_allclose(left.dense, right.dense, atol=2e-6)
        np.testing.assert_allclose(left.sentences, right.sentences, atol=2e-3)  # kept as float16
    _weigh(one, other.meta.avg_len)
    for query in queries:
        for mode in ("hybrid", "dense", "sparse"):
            assert answers(one, query, mode) == answers(other, query, mode)


def _weigh(index: Index, avg_len: float) -> None:
    if index.meta.avg_len == avg_len:
        return
    assert index.meta.avg_len == pytest.approx(avg_len, rel=AVG_LEN_DRIFT)
    index.meta.avg_len = avg_len
    for batch in index.store.scan():
        index.store.update_sparse(
            [(found.chunk.id, index.analyzer.document(found.chunk.lexical_text)) for found in batch]
        )
    index.store.optimize()  # until then the engine counts replaced vectors in its document frequencies


def answers(index: Index, query: str, mode: str = "hybrid") -> list[dict]:
    """Hits with their scores to 4 decimals: what is left out are roundings of the engine."""
    found = Retriever(index).search(query, 5, mode)
    return [asdict(hit.chunk) | {"score": round(hit.score, 4)} for hit in found.hits]

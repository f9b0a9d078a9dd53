"""Prepared queries stand where the encoder is: a search over a synthetic index works with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.hybrid import CANDIDATES, PreparedQueries
from benchmarks.synthetic import SyntheticCorpus
from benchmarks.synthetic_index import build, open_synthetic
from search.retriever import Retriever


def test_a_prepared_query_is_searched_by_both_legs(tmp_path: Path) -> None:
    corpus = SyntheticCorpus(300)
    folder, built = build(corpus, tmp_path)
    queries = corpus.queries(5)
    with open_synthetic(folder, built, corpus.dimension, PreparedQueries(queries)) as index:
        for query in queries:
            found = Retriever(index, CANDIDATES).search(query.text, 10)
            assert len(found.hits) == 10
            vectors = index.store.vectors([hit.chunk.id for hit in found.hits])
            for hit in found.hits:
                assert np.isclose(hit.cosine, vectors[hit.chunk.id] @ query.vector, atol=1e-5)
            assert any(hit.legs["sparse"].rank for hit in found.hits)

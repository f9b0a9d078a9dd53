"""How well each sentence of a few chunks answers a query, and which chunks stand near one: read for a passage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.filters import All, Comparison
from core.sparse import Analyzer, SparseVector
from core.types import Chunk
from search.fusion import convex
from search.ranking import Asked

SECTION_REACH = 16  # chunks on either side that are read for a section: of 200 tokens, more than `MAX_CHARS` hold


def own_scores(
    chunks: Sequence[Chunk],
    vectors: Sequence[np.ndarray | None],
    asked: Asked,
    dense_weight: float,
    analyzer: Analyzer,
    idf: Mapping[int, float],
) -> list[np.ndarray]:
    """Each sentence's fused score in [0, 1], one array for each chunk; a chunk without sentences has one value.

    Cosine and BM25, min-max over the sentences of all chunks. `vectors` are the chunks' sentence vectors, float32,
    shape (n_sentences, dim), None where there are none, which counts 0. BM25 counts frequencies over chunks and takes
    the chunks' average length; `idf` holds those of the query's terms that occur.
    """
    dense, sparse, lengths = [np.zeros(0)], [np.zeros(0)], []
    for chunk, inside in zip(chunks, vectors, strict=True):
        lengths.append(len(chunk.sentences) or 1)
        has_vectors = asked.vector is not None and inside is not None and bool(chunk.sentences)
        dense.append((inside @ asked.vector).astype(np.float64) if has_vectors else np.zeros(lengths[-1]))
        texts = chunk.sentence_texts or [""]
        sparse.append(np.array([_bm25(analyzer.document(text), idf) if idf else 0.0 for text in texts]))
    weight = dense_weight if asked.terms.indices else 1.0
    fused = convex(np.concatenate(dense), np.concatenate(sparse), weight).scores
    return np.split(fused, np.cumsum(lengths)[:-1]) if lengths else []


def near(chunk: Chunk, reach: int) -> All:
    """The filter for chunks of the same document that are no more than `reach` positions away, itself included."""
    return All(
        (
            Comparison("document_id", "=", chunk.document_id),
            Comparison("position", ">=", chunk.position - reach),
            Comparison("position", "<=", chunk.position + reach),
        )
    )


def _bm25(sentence: SparseVector, idf: Mapping[int, float]) -> float:
    return sum(
        idf[term] * weight for term, weight in zip(sentence.indices, sentence.values, strict=True) if term in idf
    )

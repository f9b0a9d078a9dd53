"""Queries made from the corpus' own text."""

from __future__ import annotations

from collections import Counter

from core.index import Index
from search.pseudo import pseudo_queries, sample


def test_queries_of_all_kinds(index: Index):
    chunks = sample((found.chunk for found in index.scan()), 60, seed=0)
    found = pseudo_queries(chunks, index.analyzer, index.store.idf, 40)
    assert found == pseudo_queries(chunks, index.analyzer, index.store.idf, 40)
    assert len(found) == len(set(found)) == 40
    titles = {chunk.title for chunk in chunks} | {heading for chunk in chunks for heading in chunk.headings}
    text = " ".join(" ".join(chunk.text.split()) for chunk in chunks)
    assert sum(query in titles for query in found) >= 3
    assert sum(query in text and query not in titles for query in found) >= 5
    assert sum(query not in text and query not in titles for query in found) >= 5  # words taken out of a sentence
    assert all(query.strip() for query in found)


def test_the_sample_is_even():
    drawn = Counter(value for seed in range(2000) for value in sample(range(10), 3, seed))
    assert set(drawn) == set(range(10))
    assert max(drawn.values()) < 1.25 * min(drawn.values())
    assert sample(range(2), 5, 0) == [0, 1]

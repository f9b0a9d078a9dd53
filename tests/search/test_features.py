"""What a query's candidates look like, as numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.index import Index
from core.store import Candidates
from search.features import NAMES, features
from search.ranking import Pool, Ranker

QUERY = "raise an exception __cause__ xyzzyplugh"


@pytest.fixture
def ranker(index: Index) -> Ranker:
    return Ranker(index, 50)


def named(ranker: Ranker, index: Index, pool: Pool) -> dict[str, float]:
    row = features(pool, ranker.idf(pool.terms.indices), index.meta.fingerprint.bm25_k1, ranker.unrelated)
    assert row.shape == (len(NAMES),)
    assert np.isfinite(row).all()
    return dict(zip(NAMES, row.tolist(), strict=True))


def test_they_are_what_their_names_say(ranker: Ranker, index: Index):
    pool = ranker.gather(ranker.ask(QUERY))
    found, unrelated = named(ranker, index, pool), ranker.unrelated
    cosines, bm25 = [score for _, score in pool.lists.dense], [score for _, score in pool.lists.sparse]
    assert found["top cosine"] == pytest.approx((cosines[0] - unrelated.chunk) / unrelated.chunk_spread)
    assert found["top cosine − tenth"] == pytest.approx((cosines[0] - cosines[9]) / unrelated.chunk_spread)
    assert found["BM25 top − second"] == pytest.approx((bm25[0] - bm25[1]) / bm25[0])
    n_terms = len(pool.terms.indices)
    assert found["terms"] == pytest.approx(np.log(1 + n_terms))
    assert found["unknown terms"] == pytest.approx(1 / n_terms)  # the last word occurs nowhere
    shared = {key for key, _ in pool.lists.dense[:10]} & {key for key, _ in pool.lists.sparse[:10]}
    assert found["overlap at 10"] == pytest.approx(len(shared) / 10)
    assert 0 < found["BM25 covered"] <= 1


def test_a_leg_without_candidates_gives_zeros(ranker: Ranker, index: Index):
    pool = ranker.gather(ranker.ask("xyzzyplugh"))
    assert not pool.lists.sparse
    found = named(ranker, index, pool)
    assert found["BM25 covered"] == found["overlap at 10"] == found["correlation"] == 0
    assert found["unknown terms"] == 1
    nothing = replace(
        pool, lists=Candidates([], []), ids=[], legs={leg: np.empty(0) for leg in pool.legs}, exact=pool.exact
    )
    assert named(ranker, index, nothing)["top cosine"] == 0


def test_the_encoders_scale_does_not_matter(ranker: Ranker, index: Index):
    """An encoder whose cosines are squeezed into a narrow range gives the same features."""
    pool = ranker.gather(ranker.ask(QUERY))
    unrelated = ranker.unrelated

    def squeezed(value):
        return 0.7 + 0.25 * value

    narrow = replace(
        pool,
        lists=Candidates([(key, squeezed(score)) for key, score in pool.lists.dense], pool.lists.sparse),
        legs={"dense": squeezed(pool.legs["dense"]), "sparse": pool.legs["sparse"]},
        exact=replace(pool.exact, cosine=squeezed(pool.exact.cosine), sentence=squeezed(pool.exact.sentence)),
    )
    level = replace(
        unrelated,
        chunk=squeezed(unrelated.chunk),
        chunk_spread=0.25 * unrelated.chunk_spread,
        sentence=squeezed(unrelated.sentence),
        sentence_spread=0.25 * unrelated.sentence_spread,
    )
    idf, k1 = ranker.idf(pool.terms.indices), index.meta.fingerprint.bm25_k1
    np.testing.assert_allclose(features(narrow, idf, k1, level), features(pool, idf, k1, unrelated), atol=1e-5)

"""The steps of a ranking, taken apart."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import InputError
from core.index import Index
from search.fusion import FUSIONS, convex, rrf
from search.ranking import SENTENCE_SHARE, Ranker, ranks

QUERY = "raise an exception __cause__"


@pytest.fixture
def ranker(index: Index) -> Ranker:
    return Ranker(index, 7)


def test_every_candidate_is_scored_by_both_legs(index: Index, ranker: Ranker) -> None:
    pool = ranker.gather(ranker.ask(QUERY))
    assert pool.ids == sorted({key for key, _ in pool.lists.dense} | {key for key, _ in pool.lists.sparse})
    assert len(pool.lists.dense) == len(pool.lists.sparse) == 7
    assert len(pool.ids) > 7  # the legs disagree, so there is something to complete
    stored = index.store.fetch(pool.ids, sentences=True)
    vectors = index.store.vectors(pool.ids)
    everything = dict(index.store.candidates(None, pool.terms, 1000).sparse)
    for row, key in enumerate(pool.ids):
        cosine, sentence = vectors[key] @ pool.vector, np.max(stored[key].sentences @ pool.vector)
        expected = (1 - SENTENCE_SHARE) * cosine + SENTENCE_SHARE * sentence
        assert pool.legs["dense"][row] == pytest.approx(expected, abs=1e-3)
        assert pool.legs["sparse"][row] == pytest.approx(everything.get(key, 0.0), abs=1e-5)
        assert pool.found["dense"][row] == (key in dict(pool.lists.dense))
        assert pool.found["sparse"][row] == (key in dict(pool.lists.sparse))


def test_the_legs_own_lists_keep_their_order(index: Index, ranker: Ranker) -> None:
    pool = ranker.gather(ranker.ask(QUERY))
    alone = index.store.candidates(pool.vector, pool.terms, 7)
    assert pool.lists == alone
    for leg in (alone.dense, alone.sparse):
        assert [score for _, score in leg] == sorted((score for _, score in leg), reverse=True)


def test_the_weight_can_be_chosen_once_the_candidates_are_known(ranker: Ranker) -> None:
    pool = ranker.gather(ranker.ask(QUERY))
    ranking = ranker.fuse(pool, "convex", weight=0.25)
    assert ranking.weight == 0.25
    assert ranking.fused.scores.tolist() == convex(pool.legs["dense"], pool.legs["sparse"], 0.25).scores.tolist()
    assert ranker.fuse(pool, "convex", weight=1.0).best() != ranking.best()
    alone = [ranker.fuse(ranker.gather(ranker.ask(QUERY, mode)), "convex", weight=0.25) for mode in ("dense", "sparse")]
    assert [found.weight for found in alone] == [1.0, 0.0]  # one leg has nothing to share


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_is_of_completed_scores(ranker: Ranker, fusion: str) -> None:
    ranking = ranker.rank(QUERY, fusion=fusion)
    dense, sparse = ranking.legs["dense"], ranking.legs["sparse"]
    if fusion == "rrf":
        sparse = np.where(sparse == 0, np.nan, sparse)
    assert ranking.fused.scores.tolist() == FUSIONS[fusion](dense, sparse, ranking.weight).scores.tolist()
    assert ranking.weight == (0.5 if fusion in ("rrf", "dbsf") else 0.6)


def test_rrf_gives_nothing_for_a_term_that_does_not_occur(ranker: Ranker) -> None:
    ranking = ranker.rank("zyzzyva anonymous function", fusion="rrf")
    without = ranking.legs["sparse"] == 0
    assert without.any()
    assert not ranking.fused.sparse[without].any()
    alone = rrf(ranking.legs["dense"], np.full(len(without), np.nan))
    assert ranking.fused.scores[without] == pytest.approx(alone.scores[without])


def test_unknown_names_are_refused(ranker: Ranker) -> None:
    with pytest.raises(InputError, match="Unknown fusion 'sum'; use one of convex, tm2c2, rrf, dbsf, zscore, tuned"):
        ranker.rank(QUERY, "sparse", "sum")
    with pytest.raises(InputError, match="Unknown mode 'both'"):
        ranker.ask(QUERY, "both")


def test_ranks_leave_out_what_the_leg_gave_nothing() -> None:
    assert ranks(np.array([0.2, 0.0, 0.9, 0.2])).tolist() == [2, 0, 1, 3]
    assert ranks(np.array([])).tolist() == []

"""Causes of failures: each is planted in a real index and found there, and a healthy query gets none of them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from core.index import Index
from eval.causes import CAUSES, Cause, HardQuery, causes_by_runs
from eval.checks import causes_in_index
from eval.inspection import Inspection
from tests.eval.planted import (
    COPIES,
    JOINT,
    LEAVE,
    MARKET,
    MUDDY,
    SHARED_WITH,
    TEA,
    TRUNCATED,
    UNREAD,
    planted_index,
    ranker,
)

LEAVE_QUERY = "how many days of annual leave do employees get"
HEALTHY = "what happens when no except clause matches"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with planted_index(tmp_path_factory.mktemp("planted")) as opened:
        yield opened


@pytest.fixture(scope="module")
def known(index: Index) -> set[str]:
    return {record.id for record in index.store.records()}


@pytest.fixture(scope="module")
def owners(index: Index) -> dict[str, str]:
    return {stored.chunk.id: stored.chunk.document_id for stored in index.scan()}


@pytest.fixture(scope="module")
def inspection(index: Index, owners: dict[str, str]) -> Inspection:
    """With the diagnosis that the muddy chunk is one, so that nothing depends on how it was found."""
    muddy = next(key for key, owner in owners.items() if owner == "muddy")
    found = {"score": 3.0, "flagged": True, "split_at": MUDDY.index("Lava")}
    return Inspection(index, ranker(index), {muddy: found})


def hard(text: str, *relevant: str, **more: object) -> HardQuery:
    lists = {mode: ["elsewhere"] for mode in ("hybrid", "dense", "sparse")}
    return HardQuery("q", text, frozenset(relevant), lists, "hybrid", **more)


def find(inspection: Inspection, known: set[str], query: HardQuery, **more: object) -> dict[str, Cause]:
    (causes,) = causes_in_index([query], inspection, known, **more)
    assert causes
    json.dumps([cause.to_json() for cause in causes], allow_nan=False)
    return {cause.cause: cause for cause in causes}


def test_words_that_occur_nowhere(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard("how do I frobnicate the zorblax quux", "assert"))
    assert found["unknown_terms"].evidence["terms"] == ["frobnicate", "zorblax", "quux"]
    assert list(found) == ["unknown_terms", "far"]
    assert "3 of its 3 words" in found["unknown_terms"].says


def test_few_unknown_words_are_the_least_likely_cause(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard("invoice due zorblax", "terms-draft"))
    assert list(found) == ["near_duplicates", "unknown_terms"]


def test_documents_that_are_not_indexed_or_have_no_text(inspection: Inspection, known: set[str]) -> None:
    gone = find(inspection, known, hard("bread", "gone"))
    assert (list(gone), gone["not_indexed"].evidence["document_ids"]) == (["not_indexed"], ["gone"])
    partly = find(inspection, known, hard("bread", "gone", "assert"))
    assert partly["not_indexed"].evidence["n_relevant"] == 2
    empty = find(inspection, known, hard("bread", "empty"))
    assert "no passage" in empty["not_indexed"].says
    assert "not_indexed" not in find(inspection, known, hard("bread", "assert"))


def test_muddy_chunk_whose_half_would_pass_what_stands_above_it(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard("how is a volcanic eruption predicted", "muddy"))
    evidence = found["muddy"].evidence
    assert next(iter(found)) == "muddy"
    assert evidence["cosine_of_halves"][1] > evidence["cosine"] > evidence["cosine_of_halves"][0]
    assert evidence["n_passed"] == evidence["n_above"] == 2
    assert evidence["halves"][1].startswith("Lava")


def test_flagged_chunk_is_no_cause_where_splitting_it_helps_nothing(inspection: Inspection, known: set[str]) -> None:
    assert "muddy" not in find(inspection, known, hard("how do lahars melt the snow on the summit", "muddy"))


def test_clean_chunk_is_not_muddy(index: Index, known: set[str], owners: dict[str, str]) -> None:
    muddy = next(key for key, owner in owners.items() if owner == "muddy")
    clean = Inspection(index, ranker(index), {muddy: {"score": 0.1, "flagged": False, "split_at": None}})
    assert "muddy" not in find(clean, known, hard("how is a volcanic eruption predicted", "muddy"))


def test_without_a_diagnosis_the_corpus_itself_is_the_null(index: Index, owners: dict[str, str]) -> None:
    inspection = Inspection(index, ranker(index))
    wanted = inspection.wanted({"muddy"}, ())
    answers = inspection.answers("how is a volcanic eruption predicted", wanted, "hybrid", 1, ())
    scores = inspection.muddy(answers)
    assert scores.keys() == owners.keys()
    of_answer = scores[answers[0].chunk.id]
    assert of_answer.keys() >= {"score", "flagged", "split_at"}
    assert of_answer["split_at"] == MUDDY.index("Lava")


def test_text_that_the_encoder_did_not_read(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard("where is the spare key", "truncated"))
    evidence = found["truncated"].evidence
    assert evidence["best_sentence"] == UNREAD
    assert evidence["tokens"] > evidence["limit"] == 256
    assert 0 < evidence["unread_from"] < len(TRUNCATED)
    assert "truncated" not in find(inspection, known, hard("paint of the hulls", "truncated"))


def test_excerpt_that_the_encoder_did_not_read(inspection: Inspection, known: set[str]) -> None:
    tail = ("truncated", len(TRUNCATED), len(TRUNCATED) + len(UNREAD))
    assert "truncated" in find(inspection, known, hard("paint of the hulls", "truncated", stretches=(tail,)))
    head = ("truncated", 0, 28)
    assert "truncated" not in find(inspection, known, hard("paint of the hulls", "truncated", stretches=(head,)))


def test_near_duplicates_above_the_answer(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard("invoice due", "terms-draft"))
    evidence = found["near_duplicates"].evidence
    assert evidence["n_copies"] == 2
    assert {copy["document_id"] for copy in evidence["copies"]} == {"terms", "terms-2019"}
    assert all(copy["share"] > 0.8 for copy in evidence["copies"])
    judged_all = find(inspection, known, hard("invoice due", *COPIES))
    assert "near_duplicates" not in judged_all


def test_legs_that_disagree_and_words_that_differ(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard("avoid bitterness in a hot drink", "tea"))
    assert found["legs_disagree"].evidence["ranks"] == {"dense": 1, "sparse": None, "hybrid": 2}
    assert "dense finds the answer at rank 1, sparse not at all" in found["legs_disagree"].says
    assert "dense" in found["legs_disagree"].action
    assert "hot" in found["no_shared_words"].evidence["terms"]
    assert not {"legs_disagree", "no_shared_words", "far"} & find(inspection, known, hard(TEA, "tea")).keys()


def test_crowded_region(inspection: Inspection, known: set[str], owners: dict[str, str]) -> None:
    """Twelve passages differ in a city alone; ties of BM25 among them are no sign that the legs disagree."""
    listed = [owners[key] for key, _ in ranker(inspection.index)(LEAVE_QUERY, "hybrid")]
    in_order = [document_id for document_id in listed if document_id.startswith("leave")]
    assert len(in_order) == len(LEAVE)
    last = find(inspection, known, hard(LEAVE_QUERY, in_order[-1]))
    evidence = last["crowded"].evidence
    assert evidence["density"] > evidence["threshold"]
    assert (evidence["n_crowd"], "legs_disagree" in last) == (9, False)
    assert evidence["largest_lead"] < 0.2
    assert "crowded" not in find(inspection, known, hard(LEAVE_QUERY, in_order[2]))
    assert "crowded" not in find(inspection, known, hard("how is a volcanic eruption predicted", "muddy"))


def test_healthy_query_is_only_outranked(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard(HEALTHY, "exceptions"))
    assert list(found) == ["outranked"]
    assert found["outranked"].evidence["above"][0]["document_id"] == "try"
    assert "rank 2" in found["outranked"].says


def test_excerpt_returned_in_part(inspection: Inspection, known: set[str]) -> None:
    answer = MUDDY.index("Villages")
    stretch = ("muddy", answer, len(MUDDY))
    query = hard("how is a volcanic eruption predicted", "muddy", stretches=(stretch,))
    half = {"q": [("muddy", answer, answer + (len(MUDDY) - answer) // 4)]}
    found = find(inspection, known, query, visible=5, returned=half)
    assert found["partly_returned"].evidence["share_returned"] == pytest.approx(0.25, abs=0.02)
    assert "partly_returned" not in find(inspection, known, query, visible=1, returned={"q": []})


def test_excerpt_that_stands_in_no_chunk(inspection: Inspection, known: set[str]) -> None:
    beyond = ("muddy", len(MUDDY), len(MUDDY) + 20)
    found = find(inspection, known, hard("bread", "muddy", stretches=(beyond,)))
    assert found["not_indexed"].evidence["stretches"] == [list(beyond)]


def test_text_that_is_stored_with_another_document(inspection: Inspection, known: set[str]) -> None:
    found = find(inspection, known, hard("avoid bitterness in a hot drink", SHARED_WITH))
    assert found["legs_disagree"].evidence["ranks"]["dense"] == 1
    start = len(MARKET) + len(JOINT)
    shared, own = (SHARED_WITH, start, start + len(TEA)), (SHARED_WITH, 0, len(MARKET))
    held, lost = inspection.wanted((), [shared, own])
    assert [chunk.document_id for chunk in held.chunks] == ["tea"]
    assert not lost.chunks


def test_causes_come_in_one_order(inspection: Inspection, known: set[str]) -> None:
    for query in (hard("avoid bitterness in a hot drink", "tea"), hard("frobnicate eruption", "muddy", "gone")):
        places = [CAUSES.index(name) for name in find(inspection, known, query)]
        assert places == sorted(places)


def test_runs_alone_prove_some_causes() -> None:
    lists = {"hybrid": ["x"], "dense": ["x"], "sparse": ["b"]}
    (disagreeing,) = causes_by_runs(HardQuery("q", None, frozenset("b"), lists, "hybrid"))
    assert (disagreeing.cause, disagreeing.evidence["ranks"]["sparse"]) == ("legs_disagree", 1)
    harmless = {"hybrid": ["x", "b"], "dense": ["x"], "sparse": ["y", "b"]}
    assert causes_by_runs(HardQuery("q", None, frozenset("b"), harmless, "hybrid"))[0].cause == "outranked"
    (nothing,) = causes_by_runs(HardQuery("q", None, frozenset("b"), {"dense": []}, "dense"))
    assert nothing.cause == "no_results"
    (unjudged,) = causes_by_runs(HardQuery("q", None, frozenset(), {"dense": ["x"]}, "dense"))
    assert unjudged.cause == "no_relevant"
    (unasked,) = causes_by_runs(HardQuery("q", None, frozenset("b"), {"dense": []}, "dense", was_asked=False))
    assert unasked.cause == "not_asked"
    (low,) = causes_by_runs(HardQuery("q", None, frozenset("b"), {"dense": ["x", "b"]}, "dense"))
    assert (low.cause, "rank 2" in low.says) == ("outranked", True)

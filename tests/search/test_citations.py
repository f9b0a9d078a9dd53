"""Citations: quotations are found word for word whatever their typography, and what isn't there is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from search.citations import FAILURES, VERDICTS, check_citations, normalise, summarise

PASSAGES = {
    1: "The keel keeps the boat\n  from drifting sideways. It isn’t made of gold – ever.",
    2: "A sloop has one mast and two sails, the mainsail and the jib.",
    3: "龙骨使船不会侧向漂移。船帆需要风。",
}


def _verdicts(answer: str, **how) -> list[tuple[int | None, str]]:
    return [(check.label, check.verdict) for check in check_citations(answer, PASSAGES, **how)]


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ('It "keeps the boat from drifting sideways" [1].', "quoted"),
        ("“Keeps THE boat from\n drifting sideways” [1].", "quoted"),  # quotes, case and white space
        ('It "isn\'t made of gold - ever" [1].', "quoted"),  # apostrophe and dash
        ('It "keeps the boat … sideways" [1].', "quoted"),  # words left out
        ('It "sideways … keeps the boat" [1].', "not_found"),  # in another order
        ('It "keeps the boat from drifting backwards" [1].', "not_found"),
        ('It "eeps the boat" [1].', "not_found"),  # whole words only
        ('It "one mast and two sails" [1].', "not_found"),  # there, but in another passage
        ("The keel keeps the boat from drifting sideways [1].", "quoted"),  # the claim itself stands there
        ("The keel keeps a boat from drifting off sideways [1].", "paraphrase"),
        ("Penguins cannot fly because of heavy bones [1].", "not_found"),
        ("The keel matters [7].", "unknown_label"),
        ("它“不会侧向漂移” [3]。", "quoted"),
        ("它“不会向前漂移” [3]。", "not_found"),
    ],
)
def test_verdicts(answer: str, verdict: str) -> None:
    ((_, found),) = _verdicts(answer)
    assert found == verdict


def test_each_label_is_checked_and_a_quotation_may_stand_in_any_of_them() -> None:
    answer = 'The boat\'s keel keeps its "two sails" from drifting sideways [1, 2][9].'
    assert _verdicts(answer) == [(1, "paraphrase"), (2, "quoted"), (9, "unknown_label")]
    assert _verdicts("One mast and two sails and the keel [1–3].")[1] == (2, "paraphrase")


def test_labels_behind_the_full_stop_belong_to_the_sentence_before() -> None:
    answer = "The keel keeps the boat from drifting sideways. [1] A sloop has one mast and two sails.[2]"
    checks = check_citations(answer, PASSAGES)
    assert [(check.label, check.verdict) for check in checks] == [(1, "quoted"), (2, "quoted")]
    assert [answer[check.start : check.end] for check in checks] == [
        "The keel keeps the boat from drifting sideways. [1]", "A sloop has one mast and two sails.[2]",
    ]  # fmt: skip


def test_a_quotation_of_two_sentences_stays_whole() -> None:
    answer = 'He wrote: "The keel keeps the boat from drifting sideways. It isn\'t made of gold - ever." [1]'
    (check,) = check_citations(answer, PASSAGES)
    assert check.verdict == "quoted"
    assert len(check.quotes) == 1


def test_claims_without_a_label_are_told_but_do_not_fail() -> None:
    answer = "Boats are a fine thing to have. The keel keeps the boat from drifting sideways [1].\n\nIn short:"
    found = summarise(check_citations(answer, PASSAGES))
    assert found["ok"]
    assert (found["n_citations"], found["counts"]["uncited"], found["counts"]["quoted"]) == (1, 1, 1)
    assert not summarise(check_citations("Boats are a fine thing.", PASSAGES))["ok"]  # nothing was cited


def test_what_is_missing_is_shown_with_the_longest_run_and_the_share() -> None:
    (check,) = check_citations('It "keeps the boat from drifting forwards" [1].', PASSAGES)
    assert check.missing == ("keeps the boat from drifting forwards",)
    assert check.longest == "keeps the boat from drifting"
    assert check.share == pytest.approx(6 / 7, abs=1e-4)


def test_the_share_that_a_claim_needs_can_be_chosen() -> None:
    answer = "The keel somehow stabilises every boat that sails [1]."
    assert _verdicts(answer) == [(1, "not_found")]
    assert _verdicts(answer, min_share=0.3) == [(1, "paraphrase")]


def test_a_passage_that_the_index_no_longer_holds_fails() -> None:
    answer = "A sloop has one mast and two sails [2]."
    assert _verdicts(answer, is_current=lambda label: label != 2) == [(2, "changed")]
    assert _verdicts(answer, is_current=lambda label: True) == [(2, "quoted")]


def test_an_empty_answer_is_refused() -> None:
    with pytest.raises(InputError, match="The answer is empty"):
        check_citations(" \n", PASSAGES)


@given(st.text(st.sampled_from('ab "“”’[]1,2–.!\n日…'), min_size=1, max_size=80).filter(str.strip))
def test_any_answer_can_be_checked(answer: str) -> None:
    checks = check_citations(answer, PASSAGES)
    assert all(check.verdict in VERDICTS and 0 <= check.share <= 1 for check in checks)
    assert all(0 <= check.start < check.end <= len(answer) for check in checks)
    assert summarise(checks)["ok"] == (
        any(check.label is not None for check in checks) and not any(check.verdict in FAILURES for check in checks)
    )


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


def test_a_single_quoted_word_must_stand_there_too() -> None:
    found = check_citations('It "terminates" the loop [1]. It "flies" [1].', {1: "It terminates the nearest loop."})
    assert [one.verdict for one in found] == ["quoted", "not_found"]

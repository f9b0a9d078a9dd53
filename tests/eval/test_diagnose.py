"""Planted faults are found, clean corpora are left alone, and small ones don't break anything."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from core.errors import InputError
from eval.diagnose import QueryEvidence, diagnose, write_scores
from eval.diagnose.clusters import MISPLACED, find_merged_topics, misplacement
from eval.diagnose.density import crowded_above, find_density
from eval.diagnose.dimensions import find_dimension_collapse, n_components
from eval.diagnose.duplicates import find_boilerplate, find_duplicates
from eval.diagnose.hubs import find_hubs, hub_above
from eval.diagnose.mismatch import find_mismatch
from eval.diagnose.muddy import exceeds_chance, find_muddy
from eval.diagnose.sides import NAMES, find_sides, likelihood_profile, ward_profile
from eval.diagnose.terms import find_unplaceable
from eval.diagnose.truncation import find_truncated
from eval.neighbours import nearest_rows
from eval.sample import collect, normalized
from tests.eval.corpus import DIM, make_chunk, topical_corpus


def unit(rng, *shape):
    return normalized(rng.standard_normal(shape))


def test_collect_orders_rows_and_keeps_half_precision():
    sample, _ = topical_corpus(20)
    rows = list(zip(sample.chunks, sample.vectors, sample.sentence_vectors, strict=True))
    again = collect(reversed(rows), 256)
    assert [chunk.id for chunk in again.chunks] == [chunk.id for chunk in sample.chunks]
    assert again.sentence_vectors[0].dtype == np.float16
    assert again.vectors.dtype == np.float32
    with pytest.raises(InputError, match="ingest the corpus into a new one"):
        collect([(sample.chunks[0], sample.vectors[0], sample.sentence_vectors[0][:3])], 256)


def test_ward_split_equals_the_sum_written_out():
    vectors = np.array([[[1, 0], [1, 0], [0, 1]]], dtype=np.float32)
    (profile,) = ward_profile(vectors, np.ones((1, 3)))
    first = 1 * 2 / 3 * ((1 - 0.5) ** 2 + (0 - 0.5) ** 2)
    assert profile == pytest.approx([first, 2 * 1 / 3 * ((1 - 0) ** 2 + (0 - 1) ** 2)])


def test_likelihood_ratio_equals_that_of_the_normal_distributions():
    rng = np.random.default_rng(0)
    vectors, weights = rng.standard_normal((1, 4, 3)).astype(np.float32), np.array([[1.0, 2.0, 0.5, 0.5]])
    between = np.array([4.0, 0.5, 0.01], dtype=np.float32)
    (profile,) = likelihood_profile(vectors, weights, between)
    for n_left, told in enumerate(profile, start=1):
        sides = np.split(np.arange(4), [n_left])
        means = np.stack([np.average(vectors[0, side], axis=0, weights=weights[0, side]) for side in sides])
        alone = np.diag([1 / weights[0, side].sum() for side in sides])
        expected = sum(
            multivariate_normal.logpdf(means[:, axis], cov=alone + variance * np.eye(2))
            - multivariate_normal.logpdf(means[:, axis], cov=alone + variance)
            for axis, variance in enumerate(between)
        )
        assert told == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("n_above", "n_far", "exceeds"), [(50, 0, False), (120, 0, True), (40, 4, False), (40, 9, True)]
)
def test_more_than_chance_gives(n_above: int, n_far: int, exceeds: bool):
    z = np.zeros(1000)
    z[: n_above + n_far] = 2.0
    z[:n_far] = 4.0
    assert exceeds_chance(z) == exceeds


def test_muddy_chunks_are_found_and_split_in_the_right_place():
    sample, planted = topical_corpus(400, muddy=30)
    finding = find_muddy(sample)
    flagged = {flag.subject for flag in finding.flags}
    assert len(flagged & planted) >= 28
    assert len(flagged - planted) <= 0.08 * 370
    right = 0
    for chunk, score in zip(sample.chunks, finding.scores["muddy"], strict=True):
        if chunk.id in planted:
            right += score["split_at"] == chunk.sentences[4].start
    assert right >= 27


def test_clean_corpus_is_flagged_at_the_stated_rate():
    shares = [len(find_muddy(topical_corpus(400, seed=seed)[0]).flags) / 400 for seed in range(5)]
    assert 0.02 <= np.mean(shares) <= 0.1  # the limit was learnt on texts, whose null has a lighter tail than this one
    assert not find_muddy(topical_corpus(400)[0]).numbers["exceeds_chance"]


def test_truncation_counts_tokens():
    chunks = [
        make_chunk("a#0", ["one two three."], encoder_tokens=256),
        make_chunk("b#0", ["x y."], encoder_tokens=300),
    ]
    rng = np.random.default_rng(0)
    sample = collect([(chunk, unit(rng, DIM), unit(rng, 1, DIM)) for chunk in chunks], 256)
    (flag,) = find_truncated(sample).flags
    assert (flag.subject, flag.score, flag.threshold, flag.evidence["tokens_lost"]) == ("b#0", 300, 256, 44)


def test_duplicates_exact_near_and_none():
    sample, _ = topical_corpus(60)
    assert not find_duplicates(sample).flags
    vectors = sample.vectors.copy()
    chunks = list(sample.chunks)
    chunks[7] = replace(chunks[7], text=chunks[3].text + " With an afterthought.")
    vectors[12] = vectors[5]  # in one place, but in other words: no duplicate
    chunks[20] = replace(chunks[20], text="  " + chunks[21].text.replace(" ", "\n"))
    finding = find_duplicates(replace(sample, vectors=vectors, chunks=chunks))
    members = {tuple(flag.evidence["member_ids"]): flag.evidence["texts_are_equal"] for flag in finding.flags}
    assert members == {("d0003#0", "d0007#0"): False, ("d0020#0", "d0021#0"): True}
    assert (finding.numbers["n_exact_copies"], finding.numbers["n_chunks_in_groups"]) == (1, 4)
    near = finding.scores["duplicate"][3]
    assert near == finding.scores["duplicate"][7]
    assert near["score"] == finding.flags[0].score < 1
    assert (finding.scores["duplicate"][20]["score"], finding.scores["duplicate"][12]["flagged"]) == (1, False)


def test_every_member_of_a_group_resembles_the_one_that_is_kept():
    """A chain of texts, each like the next: the far end isn't like the first, and isn't in its group."""
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(100)]
    rows = []
    for step in range(5):
        text = " ".join(words[10 * step : 10 * step + 50])
        rows.append((make_chunk(f"c{step}#0", [text]), unit(rng, DIM), unit(rng, 1, DIM)))
    flags = find_duplicates(collect(rows, 256)).flags
    groups = [flag.evidence["member_ids"] for flag in flags]
    assert groups == [["c0#0", "c1#0"], ["c2#0", "c3#0"]]
    assert flags[0].score == pytest.approx(38 / 58)  # 48 triples each, 38 of them in both


def test_one_template_on_every_page_is_one_group():
    rng = np.random.default_rng(0)
    one = unit(rng, DIM)
    rows = [
        (make_chunk(f"p{i}#0", [f"Page {i} of the shop, open on weekdays from nine to five."]), one, one[None])
        for i in range(300)
    ]
    (flag,) = find_duplicates(collect(rows, 256)).flags
    assert flag.evidence["n_members"] == 300


def test_boilerplate_is_one_flag_for_sentences_that_travel_together():
    rng = np.random.default_rng(0)
    footer = ["All rights reserved by the publisher.", "Subscribe to our weekly newsletter."]
    rows = []
    for i in range(40):
        sentences = [f"Something of its own is said here, number {i}.", *(footer if i < 12 else [])]
        rows.append((make_chunk(f"p{i:02d}#0", sentences), unit(rng, DIM), unit(rng, len(sentences), DIM)))
    (flag,) = find_boilerplate(collect(rows, 256)).flags
    assert flag.score == 12
    assert flag.evidence["sentences"] == footer


def test_dimension_collapse_needs_enough_chunks_and_few_directions():
    rng = np.random.default_rng(0)

    def sample_of(vectors):
        rows = [(make_chunk(f"c{i:04d}#0", ["a b."]), row, row[None]) for i, row in enumerate(vectors)]
        return collect(rows, 256)

    narrow = rng.standard_normal((1100, 10)) @ rng.standard_normal((10, DIM))
    assert find_dimension_collapse(sample_of(narrow)).flags
    assert not find_dimension_collapse(sample_of(rng.standard_normal((1100, DIM)))).flags
    few = find_dimension_collapse(sample_of(narrow[:200]))
    assert not few.flags
    assert "Too few" in few.numbers["note"]
    assert n_components(np.eye(4, dtype=np.float32)[[0, 0, 1, 1]]) == 1


def test_misplaced_is_who_stands_by_vectors_among_other_words():
    rng = np.random.default_rng(0)
    words = normalized(np.repeat(np.eye(4), 30, axis=0) + 0.3 * rng.standard_normal((120, 4)))
    near = nearest_rows(normalized(words + 0.05 * unit(rng, 120, 4)), words, 10, own=np.arange(120))[0]
    near[5] = np.arange(60, 70)
    score = misplacement(words, near)
    assert int(score.argmax()) == 5
    assert score[5] > MISPLACED
    assert (np.delete(score, 5) > MISPLACED).mean() < 0.1


@pytest.mark.parametrize("share", [1, 0.5])
def test_merged_topics_are_found_only_where_planted(share):
    sample, _ = topical_corpus(480, n_topics=10)
    assert not find_merged_topics(sample).flags
    rng = np.random.default_rng(1)
    vectors = sample.vectors.copy()
    here, there = (np.flatnonzero(np.arange(480) % 10 == topic) for topic in (2, 3))
    moved = rng.choice(there, round(share * len(there)), replace=False)
    vectors[moved] = normalized(vectors[rng.choice(here, len(moved))] + 0.3 * unit(rng, len(moved), DIM))
    flag = find_merged_topics(replace(sample, vectors=vectors)).flags[0]
    words = {term[: term.index("x")] for terms in flag.evidence["terms"] for term in terms if "x" in term}
    assert words == {"word2", "word3"}
    assert flag.score > flag.threshold
    told = {member["chunk_id"] for member in flag.evidence["members"]}
    assert told <= {sample.chunks[i].id for i in (*moved, *here)}


def test_a_passage_near_every_query_is_a_hub():
    rng = np.random.default_rng(0)
    center = unit(rng, DIM)
    rows = []
    for i in range(400):
        sentences = normalized(center * 0.6 + unit(rng, 4, DIM))
        vector = center if i == 17 else normalized(sentences.mean(axis=0) - 0.6 * center)
        rows.append((make_chunk(f"c{i:04d}#0", [f"text {i}."] * 4), vector, sentences))
    flags = find_hubs(collect(rows, 256)).flags
    assert flags[0].subject == "c0017#0"
    assert flags[0].score > 0.99 * 400
    assert flags[0].confidence > 0.9
    assert len(flags) <= 2
    assert not find_hubs(topical_corpus(400)[0]).flags


def test_the_null_of_hubs_promises_one_alarm_in_a_hundred_corpora():
    rng = np.random.default_rng(0)
    corpora = [rng.poisson(rng.gamma(4, 2.5, 1000)) for _ in range(300)]  # a rate of its own for every chunk
    alarms = np.mean([counts.max() > hub_above(counts) for counts in corpora])
    assert alarms <= 0.1
    limit = hub_above(corpora[0])
    assert limit < 10 * corpora[0].mean()
    corpora[0][:10] = 400
    assert hub_above(corpora[0]) == pytest.approx(limit, rel=0.1)  # hubs don't hide one another


def test_mismatch_is_broken_for_random_vectors_and_healthy_for_meaningful_ones():
    sample, _ = topical_corpus(240, n_topics=240)
    assert find_mismatch(sample).numbers["mismatch"]["verdict"] == "healthy"
    rng = np.random.default_rng(0)
    random = replace(sample, sentence_vectors=[unit(rng, 8, DIM) for _ in sample.chunks])
    finding = find_mismatch(random)
    assert finding.numbers["mismatch"]["verdict"] == "broken"
    assert [flag.kind for flag in finding.flags] == ["domain_mismatch"]
    titled = replace(sample, chunks=[replace(chunk, title="A title") for chunk in sample.chunks])
    assert find_mismatch(titled).numbers["mismatch"]["verdict"] == "unsure"  # stored vectors know the title


def test_mismatch_asks_with_the_encoder_it_is_given():
    sample, _ = topical_corpus(240, n_topics=240)
    asked = []

    def encode(texts):
        asked.extend(texts)
        return unit(np.random.default_rng(99), len(texts), DIM)

    assert find_mismatch(sample, encode=encode).numbers["mismatch"]["verdict"] == "broken"
    assert len(asked) == 240


@pytest.mark.parametrize("n", [0, 1, 2, 5, 40])
def test_tiny_corpora_give_no_flag(n):
    diagnosis = diagnose(topical_corpus(n)[0])
    assert len(diagnosis.scores) == n
    assert {flag.kind for flag in diagnosis.flags} <= {"muddy_chunk"}
    assert n >= 40 or not diagnosis.flags
    json.dumps(diagnosis.corpus, allow_nan=False)


def test_chunks_without_sentences_or_words():
    rng = np.random.default_rng(0)
    rows = [(make_chunk(f"c{i}#0", []), np.zeros(DIM), np.zeros((0, DIM))) for i in range(3)]
    rows += [(make_chunk(f"d{i}#0", ["", "...", "!", "?", "-"]), unit(rng, DIM), unit(rng, 5, DIM)) for i in range(130)]
    json.dumps(diagnose(collect(rows, 256)).corpus, allow_nan=False)


def test_diagnosis_is_deterministic_and_reports_progress():
    sample, _ = topical_corpus(300, muddy=20)
    steps = []
    first = diagnose(sample, progress=lambda name, done, total: steps.append((name, done, total)))
    assert first.flags == diagnose(sample).flags
    assert first.corpus == diagnose(sample).corpus
    assert steps[0][1] == 0
    assert steps[-1] == ("done", len(steps) - 1, len(steps) - 1)


def test_scores_are_written_for_every_chunk(tmp_path):
    sample, planted = topical_corpus(100, muddy=5)
    write_scores(tmp_path / "scores.jsonl", diagnose(sample))
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    assert len(rows) == 100
    assert all(set(row["muddy"]) == {"score", "flagged", "split_at"} for row in rows)
    assert {row["chunk_id"] for row in rows if row["muddy"]["flagged"]} >= planted


def test_sides_of_two_subjects_have_less_in_common():
    sample, planted = topical_corpus(200, muddy=20)
    sides = find_sides(sample)
    is_planted = np.array([sample.chunks[i].id in planted for i in sides.chunks])
    for name, column in zip(NAMES, sides.features.T, strict=True):
        if name in ("fit to the document", "nearer to another document"):
            assert np.isnan(column).all()  # every document has one chunk only
        else:
            assert np.median(column[is_planted]) > np.quantile(column[~is_planted], 0.9), name
    assert np.mean(sides.left[is_planted] == 4) >= 0.8


def test_a_side_that_belongs_to_another_document_fits_its_own_worse():
    rng = np.random.default_rng(0)
    topics = unit(rng, 10, DIM)
    rows = []
    for document in range(10):
        for position in range(5):
            halves = [document] * 4 if position else [document, document, (document + 1) % 10, (document + 1) % 10]
            vectors = np.stack([normalized(topics[half] + 0.5 * unit(rng, DIM)) for half in halves])
            chunk = make_chunk(f"d{document}#{position}", [f"word{half} s{j}." for j, half in enumerate(halves)])
            rows.append((chunk, normalized(vectors.mean(axis=0)), vectors))
    sides = find_sides(collect(rows, 256))
    mixed = np.arange(50) % 5 == 0
    for name in ("fit to the document", "nearer to another document"):
        column = sides.features[:, NAMES.index(name)]
        assert column[mixed].min() > column[~mixed].max()


def test_crowded_and_lone_chunks_are_told():
    sample, _ = topical_corpus(400)
    clean = find_density(sample)
    assert not [flag for flag in clean.flags if flag.kind == "crowded_region"]
    assert clean.numbers["n_sparse"] <= 0.03 * 400
    rng = np.random.default_rng(3)
    vectors = sample.vectors.copy()
    vectors[10:30] = normalized(vectors[10] + 0.2 * unit(rng, 20, DIM))
    vectors[50] = -normalized(vectors[[i for i in range(400) if i != 50]].mean(axis=0))
    finding = find_density(replace(sample, vectors=vectors))
    regions = [flag for flag in finding.flags if flag.kind == "crowded_region"]
    assert [set(flag.evidence["member_ids"]) for flag in regions] == [{sample.chunks[i].id for i in range(10, 30)}]
    lone = [flag for flag in finding.flags if flag.kind == "sparse_region"]
    assert lone[0].subject == sample.chunks[50].id
    assert lone[0].confidence > 0.7
    assert finding.scores["density"][50]["sparse"]
    assert not find_density(topical_corpus(100)[0]).numbers["judged"]


def test_crowds_dont_raise_the_limit_that_they_are_held_against():
    tenth = np.tanh(np.random.default_rng(0).normal(0.6, 0.1, 2000))
    limit = crowded_above(tenth)
    assert limit == pytest.approx(np.tanh(0.6 + 3.09 * 0.1), abs=0.02)
    assert crowded_above(np.r_[tenth, np.full(200, 0.99)]) == pytest.approx(limit, abs=0.03)
    assert crowded_above(np.full(50, 0.99)) < 1


def test_terms_that_the_vectors_miss_are_listed():
    sample, _ = topical_corpus(300)
    strange = {f"zorvyx{i}q": i for i in range(0, 300, 10)}
    usual = {f"plain{i}word": i for i in range(5, 300, 10)}
    chunks = list(sample.chunks)
    for term, i in (strange | usual).items():
        chunks[i] = replace(chunks[i], text=f"{chunks[i].text} {term}")
    changed = replace(sample, chunks=tuple(chunks))

    def encode(terms):  # knows where the usual words are, and puts all others in one place
        return np.stack([sample.vectors[usual[term]] if term in usual else np.eye(DIM)[0] for term in terms])

    def pieces(terms):
        return [7 if term in strange else 1 if term in usual else 2 for term in terms]

    finding = find_unplaceable(changed, encode=encode, pieces=pieces)
    assert finding.numbers["share_of_ordinary_words_found"] == 1
    assert set(finding.numbers["unplaceable"]) <= strange.keys()
    assert len(finding.numbers["unplaceable"]) >= 0.8 * len(strange)
    flag = finding.flags[0]
    assert (flag.kind, flag.evidence["n_pieces"], flag.evidence["rank_by_words"]) == ("unplaceable_term", 7, 1)
    assert flag.score == flag.evidence["rank_by_vectors"] > 10
    assert not find_unplaceable(changed).numbers["judged"]


def test_findings_are_recalled_for_an_equal_sample_alone():
    sample, _ = topical_corpus(60)
    kept: dict[tuple[str, str], str] = {}

    def recall(name, key, make):
        made = (name, key) not in kept
        if made:
            names.append(name)
            kept[name, key] = json.dumps(make(), default=lambda value: value.item())
        return json.loads(kept[name, key])

    def made_by(sample, **options) -> list[str]:
        names.clear()
        found = diagnose(sample, recall=recall, **options)
        plain = diagnose(sample, **options)
        assert [flag.subject for flag in found.flags] == [flag.subject for flag in plain.flags]
        assert json.dumps([found.corpus, found.scores]) == json.dumps([plain.corpus, plain.scores])
        return list(names)

    names: list[str] = []
    everything = made_by(sample)
    assert len(everything) == 10
    assert made_by(sample) == []
    assert made_by(replace(sample)) == []
    assert made_by(sample, queries=QueryEvidence(np.array([0.1, 0.2]))) == ["mismatch"]
    assert made_by(sample, queries=QueryEvidence(np.array([0.1, 0.3]))) == ["mismatch"]
    assert made_by(sample, seed=1) == everything
    first = sample.chunks[0]
    for changed in (
        replace(sample, chunks=(replace(first, text=first.text.upper()), *sample.chunks[1:])),
        replace(sample, chunks=(replace(first, headings=("New",)), *sample.chunks[1:])),
        replace(sample, vectors=sample.vectors[::-1].copy()),
        replace(sample, sentence_vectors=sample.sentence_vectors[::-1]),
        replace(sample, max_tokens=512),
    ):
        assert made_by(changed) == everything

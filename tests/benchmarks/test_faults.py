"""Planted faults are what they say they are; the validation counts them by hand-made numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import geometry, texts
from benchmarks.faults.found import Found, average_precision
from benchmarks.faults.material import Material, read_material
from benchmarks.faults.muddy import KINDS, RATIOS, plant_muddy
from core.embed import Embedder
from eval.diagnose.dimensions import n_components
from eval.neighbours import nearest_rows
from eval.sample import normalized

SUBJECTS = ("harbour", "orchard", "glacier", "violin", "bakery", "library", "tunnel", "meadow")


def write_collection(folder: Path, n_documents: int, marker: str) -> Path:
    """Documents of several sections of four sentences each."""
    folder.mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as lines:
        for n in range(n_documents):
            subject = SUBJECTS[n % len(SUBJECTS)]
            text = "\n\n".join(
                f"# Part {part}\n\n"
                + " ".join(
                    f"In part {part} the {marker} {subject} number {n} was seen for the {place}th time by many."
                    for place in range(5)
                )
                for part in range(10)
            )
            lines.write(json.dumps({"_id": f"{marker}{n}", "title": f"The {subject} {n}", "text": text}) + "\n")
    return folder


@pytest.fixture(scope="module")
def materials(tmp_path_factory: pytest.TempPathFactory) -> list[Material]:
    folder = tmp_path_factory.mktemp("faults")
    return [
        read_material(write_collection(folder / name, n, name), folder / "keep")
        for name, n in (("one", 12), ("two", 4))
    ]


def test_sentences_are_stored_without_their_title(materials: list[Material], embedder: Embedder) -> None:
    material = materials[0]
    for i in (0, 7):
        own = embedder.encode_documents(list(material.pieces[i].texts))
        np.testing.assert_allclose(material.pieces[i].vectors, own, atol=4e-3)  # they were stored in half precision


@pytest.mark.parametrize("kind", KINDS)
def test_a_muddied_chunk_holds_its_own_part_and_a_foreign_one(materials: list[Material], kind: str) -> None:
    material = materials[0]
    muddied = plant_muddy(material, kind, materials, seed=0)
    original = {chunk.id: chunk for chunk in material.sample.chunks}
    seen = 0
    for chunk, ratio, borders in zip(muddied.sample.chunks, muddied.ratios, muddied.borders, strict=True):
        if not ratio:
            assert chunk == original[chunk.id]
            continue
        seen += 1
        own = set(original[chunk.id].sentence_texts)
        is_own = [text in own for text in chunk.sentence_texts]
        assert len(borders) == len(RATIOS[ratio]) - 1
        turns = [i for i in range(1, len(is_own)) if is_own[i] != is_own[i - 1]]
        assert set(turns) <= set(borders)
        assert turns
        foreign = [text for text, mine in zip(chunk.sentence_texts, is_own, strict=True) if not mine]
        if kind == "easy":
            assert all(" two " in text for text in foreign)
        else:
            same_document = [f"number {chunk.document_id.removeprefix('one')} " in text for text in foreign]
            assert all(same_document) if kind == "hard" else not any(same_document)
    assert seen


def test_faults_of_the_vectors(materials: list[Material]) -> None:
    sample = materials[0].sample
    assert n_components(geometry.narrowed(sample, 5, 1.0, 0).vectors) <= 6 < n_components(sample.vectors)
    assert np.allclose(geometry.narrowed(sample, 5, 0.0, 0).vectors, sample.vectors, atol=1e-6)


def test_a_merged_topic_stands_among_the_other(materials: list[Material]) -> None:
    sample = materials[0].sample
    topics = np.array([SUBJECTS.index(chunk.title.split()[1]) for chunk in sample.chunks])
    for share in (1.0, 0.25):
        planted, moved = geometry.merged(sample, topics, (0, 1), share, 0)
        assert moved.sum() == round(share * (topics == 1).sum())
        assert not (moved & (topics != 1)).any()
        near, _ = nearest_rows(planted.vectors[moved], sample.vectors, 3)
        assert (topics[near] == 0).mean() > 0.9
        assert np.array_equal(planted.vectors[~moved], sample.vectors[~moved])


def test_topics_are_found_by_their_words_and_told_apart(materials: list[Material]) -> None:
    sample = materials[0].sample
    topics = geometry.lexical_topics(sample, 4, 0)
    by_document = [set(topics[[c.document_id == name for c in sample.chunks]]) for name in ("one0", "one1")]
    assert all(len(found) <= 2 for found in by_document)
    subjects = np.array([c.title.split()[1] for c in sample.chunks])
    numbers = np.unique(subjects, return_inverse=True)[1]
    pairs = geometry.apart(sample, np.minimum(numbers, 1))
    assert set(pairs) <= {(0, 1), (1, 0)}
    assert not geometry.apart(sample, np.arange(len(sample)) % 2)  # one subject in both: words can't tell them apart


def test_hubs_crowds_and_strangers_are_what_they_say(materials: list[Material]) -> None:
    sample, other = (material.sample for material in materials)
    planted, is_hub = geometry.with_hubs(sample, 10**9, 0)
    assert np.allclose(planted.vectors[is_hub], normalized(sample.vectors.mean(axis=0)), atol=1e-5)
    assert geometry.occurrence(sample).mean() == pytest.approx(1)
    planted, is_crowded = geometry.with_crowd(sample, 0.9, 0)
    crowd = planted.vectors[is_crowded]
    cosines = (crowd @ crowd.T)[np.triu_indices(len(crowd), 1)]
    assert cosines.mean() == pytest.approx(0.9, abs=0.02)
    planted, is_lone = geometry.with_strangers(sample, [other], 0)
    assert all(" two " in chunk.text for chunk, lone in zip(planted.chunks, is_lone, strict=True) if lone)


def test_planted_texts(materials: list[Material], embedder: Embedder) -> None:
    """What is written into the texts is there, and is what the check of the same name is about."""
    material, encode = materials[0], embedder.encode_documents
    sample, is_planted = texts.with_templates(material, 1, encode, 0)
    written = [chunk.text for chunk, planted in zip(sample.chunks, is_planted, strict=True) if planted]
    assert len(set(written)) == len(written) >= 10
    assert all(text.startswith("Thank you for visiting page") for text in written)
    sample, documents = texts.with_footer(material, 0.1, encode, 0)
    assert {c.document_id for c in sample.chunks if texts.FOOTER[1] in c.sentence_texts} == documents
    sample, names = texts.with_terms(material, encode, 0)
    assert all(
        [i for i, chunk in enumerate(sample.chunks) if name in chunk.text] == [holder] for name, holder in names.items()
    )


def test_copies_are_told_from_what_the_collection_says_once(materials: list[Material]) -> None:
    material = materials[0]
    sample, is_planted = texts.with_copies(material, 0.0, 0)
    assert texts.copied(sample)[is_planted].all()
    changed, again = texts.with_copies(material, 0.2, 0)
    assert np.array_equal(is_planted, again)
    words = [
        np.mean([a == b for a, b in zip(old.text.split(), new.text.split(), strict=True)])
        for old, new in zip(sample.chunks, changed.chunks, strict=True)
        if old.text != new.text
    ]
    assert np.mean(words) == pytest.approx(0.8, abs=0.05)


def test_only_what_has_a_score_is_counted() -> None:
    rows = [{"score": value, "flagged": value == 3} for value in (3, None, 1, 2)]
    is_planted, is_control = np.array([True, True, False, False]), np.array([True, True, True, False])
    found = Found.scored("x", "c", rows, ("score", "flagged"), is_planted, is_control=is_control)
    assert (found.planted.tolist(), found.clean.tolist()) == ([3], [1])
    assert (found.planted_flagged, found.clean_flagged) == (1, 0)
    assert Found.scored("x", "c", rows, ("score", "flagged"), np.zeros(4, dtype=bool)) is None


def test_counting() -> None:
    found = Found("x", "c", np.array([3.0, 1.0]), np.array([0.0, 2.0, 0.0, 0.0]), 0.5, 0.25)
    numbers = found.numbers()
    assert numbers["auroc"] == (4 + 3) / 8
    assert numbers["recall"] == 0.5
    # at prevalence .1: first the planted one at 3, then a quarter of the clean .9, then the other planted one
    precision = 0.1 / (0.1 + 0.9 / 4)
    assert average_precision(found.planted, found.clean) == pytest.approx(0.5 * 1 + 0.5 * precision)

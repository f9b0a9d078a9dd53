"""Planted faults are what they say they are; the validation counts them by hand-made numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults import geometry
from benchmarks.faults.material import Material, read_material
from benchmarks.faults.muddy import KINDS, RATIOS, plant_muddy
from benchmarks.validate import Found, average_precision
from core.embed import Embedder
from eval.diagnose.dimensions import n_components

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
    topics = np.array([SUBJECTS.index(chunk.title.split()[1]) for chunk in sample.chunks])
    moved = geometry.merged(sample, topics, (0, 1), 1.0, 0).vectors
    before, after = (vectors[topics == 0].mean(0) @ vectors[topics == 1].mean(0) for vectors in (sample.vectors, moved))
    assert after > before + 0.1
    assert np.array_equal(moved[topics != 1], sample.vectors[topics != 1])


def test_planted_texts(materials: list[Material], embedder: Embedder) -> None:
    material, encode = materials[0], embedder.encode_documents
    sample, is_planted = geometry.with_templates(material, 1, encode, 0)
    texts = [chunk.text for chunk, planted in zip(sample.chunks, is_planted, strict=True) if planted]
    assert len(set(texts)) == len(texts) >= 10
    assert all(text.startswith("Thank you for visiting page") for text in texts)
    sample, documents = geometry.with_footer(material, encode, 0)
    assert {c.document_id for c in sample.chunks if geometry.FOOTER[1] in c.sentence_texts} == documents
    sample, names = geometry.with_terms(material, encode, 0)
    assert all(sum(name in chunk.text for chunk in sample.chunks) == 1 for name in names)


def test_counting() -> None:
    found = Found("x", "c", np.array([3.0, 1.0]), np.array([0.0, 2.0, 0.0, 0.0]), 0.5, 0.25)
    numbers = found.numbers()
    assert numbers["auroc"] == (4 + 3) / 8
    assert numbers["recall"] == 0.5
    # at prevalence .1: first the planted one at 3, then a quarter of the clean .9, then the other planted one
    precision = 0.1 / (0.1 + 0.9 / 4)
    assert average_precision(found.planted, found.clean) == pytest.approx(0.5 * 1 + 0.5 * precision)

"""MinHash finds the pairs that an exact comparison finds."""

from __future__ import annotations

import numpy as np
import pytest

from eval.resemblance import PAIRED_WITH, likely_pairs, resemblance, shingle_hashes
from eval.words import shingles


def texts_of(n, rng):
    """Random texts, every third one a copy of the one before with some words changed."""
    made = []
    for i in range(n):
        words = rng.integers(0, 500, 60)
        if i % 3 == 2:
            words = np.where(rng.random(60) < rng.choice([0, 0.05, 0.1, 0.3]), words, made[-1])
        made.append(words)
    return [" ".join(f"w{word}" for word in words) for words in made]


def test_resemblance_is_broders():
    a, b = "one two three four five", "Zero one two three four!"
    first, second = shingles(a), shingles(b)
    exact = len(first & second) / len(first | second)
    assert resemblance(*shingle_hashes([a, b])) == exact == 2 / 4
    assert resemblance(*shingle_hashes(["A b.", "a  b"])) == 1
    assert resemblance(*shingle_hashes(["", ""])) == 0


def test_nearly_all_pairs_that_resemble_are_likely_and_few_others():
    texts = texts_of(300, np.random.default_rng(0))
    hashes = shingle_hashes(texts)
    exact = {(i, j) for i in range(300) for j in range(i + 1, 300) if resemblance(hashes[i], hashes[j]) >= 0.5}
    found = likely_pairs(hashes)
    assert len(exact) > 50
    assert len(exact - set(map(tuple, found.tolist()))) <= 0.02 * len(exact)
    assert len(found) <= 3 * len(exact)
    assert (found[:, 0] < found[:, 1]).all()
    assert np.array_equal(found, likely_pairs(hashes))


def test_a_template_on_every_page_is_paired_with_its_first_pages():
    pairs = likely_pairs(
        shingle_hashes(["the same page again and again", *["other"] * 3] + ["the same page again and again"] * 999)
    )
    first = pairs[pairs[:, 0] == 0, 1]
    assert len(first) == 999
    assert len(pairs) <= 1000 * PAIRED_WITH


@pytest.mark.parametrize("texts", [[], ["one"], ["", "", "..."]])
def test_nothing_to_compare(texts):
    assert likely_pairs(shingle_hashes(texts)).shape == (0, 2)


def test_text_without_blanks_is_compared_by_its_signs():
    a, b = "这是一个关于检索的段落", "这是一个关于检索的文章"
    assert 0.5 <= resemblance(*shingle_hashes([a, b])) < 1

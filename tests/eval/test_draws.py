"""Draws by name: fair, and nearly the same of a corpus that is nearly the same."""

from __future__ import annotations

import numpy as np

from eval.draws import drawn, own_draws

NAMES = [f"d{i}#0" for i in range(1000)]


def test_a_draw_depends_on_names_and_seed_alone():
    found = drawn(NAMES, 50, seed=1)
    assert len(set(found)) == 50
    assert set(found) <= set(NAMES)
    assert drawn(reversed(NAMES), 50, seed=1) == found
    assert drawn(NAMES, 10, seed=1) == found[:10]
    assert drawn(NAMES, 50, seed=2) != found
    assert sorted(drawn(NAMES, 5000)) == sorted(NAMES)
    assert drawn(NAMES, -3) == drawn(NAMES, 0) == []


def test_a_small_change_changes_few_draws():
    before = set(drawn(NAMES, 300))
    changed = [f"new{name}" if i % 100 == 0 else name for i, name in enumerate(NAMES)]
    assert len(before - set(drawn(changed, 300))) <= 10  # three are expected


def test_every_name_has_the_same_chance():
    counts = np.zeros(len(NAMES))
    for seed in range(200):
        counts[[int(name[1:-2]) for name in drawn(NAMES, 100, seed)]] += 1
    expected = 200 * 100 / len(NAMES)
    assert abs(counts.var() - expected * 0.9) < 0.2 * expected  # that of a hypergeometric count
    assert abs(counts[:500].mean() - expected) < 0.5


def test_own_draws_belong_to_a_name():
    first = [own_draws(name).randrange(10) for name in NAMES]
    assert first == [own_draws(name).randrange(10) for name in NAMES]
    assert np.bincount(first).min() > 60
    assert first != [own_draws(name, seed=1).randrange(10) for name in NAMES]

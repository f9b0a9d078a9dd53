"""Fitted projections against what NumPy says, and what the nonlinear ones add."""

from __future__ import annotations

import numpy as np
import pytest

from core.compress.recipe import Recipe
from core.errors import InputError
from eval.compress import autoencoder as module
from eval.compress.autoencoder import autoencoder
from eval.compress.fit import fit
from eval.compress.linear import Fitted, Vectors, principal, truncated


def _unit(rows: np.ndarray) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def curved() -> Vectors:
    """Vectors on a bent surface of 3 dimensions in 24, with a little noise: a line can't follow it."""
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(1500, 3))
    bent = np.concatenate([inner, inner**2, np.sin(2 * inner), inner[:, [1, 2, 0]] * inner], axis=1)
    return _unit(bent @ rng.normal(size=(12, 24)) + 0.05 * rng.normal(size=(1500, 24)))


def _error(fitted: Fitted, vectors: Vectors) -> float:
    return float(((fitted.decode(fitted.projection.code(vectors)) - vectors) ** 2).sum(axis=1).mean())


class TestLinear:
    def test_components_are_those_of_the_singular_value_decomposition(self, curved: Vectors) -> None:
        _, values, directions = np.linalg.svd(curved.astype(np.float64), full_matrices=False)
        fitted = principal(curved, 5)
        overlap = np.abs(directions[:5] @ fitted.projection.weight)
        assert overlap == pytest.approx(np.eye(5), abs=2e-3)  # kept as float16
        lost = float((values[5:] ** 2).sum() / len(curved))
        assert _error(fitted, curved) == pytest.approx(lost, rel=1e-2)

    def test_all_components_keep_every_cosine(self, curved: Vectors) -> None:
        shorter = principal(curved, 24).projection.project(curved[:50])
        assert shorter @ shorter.T == pytest.approx(curved[:50] @ curved[:50].T, abs=2e-3)

    def test_truncation_keeps_the_first_numbers(self, curved: Vectors) -> None:
        fitted = truncated(4, 24)
        assert fitted.projection.project(curved) == pytest.approx(_unit(curved[:, :4]), abs=1e-6)
        assert _error(fitted, curved) == pytest.approx(float((curved[:, 4:] ** 2).sum(axis=1).mean()), rel=1e-5)

    def test_the_same_vectors_give_the_same_map(self, curved: Vectors) -> None:
        assert principal(curved, 5).projection.digest == principal(curved.copy(), 5).projection.digest


class TestAutoencoder:
    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "N_HIDDEN", 64)
        monkeypatch.setattr(module, "BATCH", 256)
        monkeypatch.setattr(module, "LEARNING_RATE", 1e-2)
        monkeypatch.setattr(module, "MAX_EPOCHS", 12)

    @pytest.mark.parametrize("is_variational", [False, True])
    def test_it_follows_what_a_line_cannot(self, curved: Vectors, is_variational: bool) -> None:
        training, unseen = curved[:1200], curved[1200:]
        epochs: list[tuple[int, int]] = []
        fitted = autoencoder(
            training, 4, is_variational=is_variational, on_epoch=lambda done, total: epochs.append((done, total))
        )
        assert fitted.projection.label == ("vae:4" if is_variational else "autoencoder:4")
        assert _error(fitted, unseen) < 0.9 * _error(principal(training, 4), unseen)
        assert epochs[-1][0] <= epochs[-1][1]

    def test_the_same_seed_gives_the_same_map(self, curved: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_EPOCHS", 3)
        one, two, other = (autoencoder(curved, 4, seed=seed).projection for seed in (0, 0, 1))
        assert one.digest == two.digest != other.digest

    def test_what_never_gets_better_stays_as_it_began(self, curved: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "LEARNING_RATE", 1e3)
        fitted = autoencoder(curved, 4)
        start = principal(curved, 4).projection
        assert np.array_equal(fitted.projection.project(curved), start.project(curved))


class TestFit:
    def test_each_transform_by_its_name(self, curved: Vectors, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_EPOCHS", 1)
        for name in ("truncate", "pca", "autoencoder", "vae"):
            assert fit(Recipe(name, 6), curved).projection.label == f"{name}:6"
        assert fit(Recipe(quantization="int8"), curved) is None

    def test_too_few_vectors(self) -> None:
        with pytest.raises(InputError, match=r"pca:6 needs at least 6 vectors .* has 5"):
            fit(Recipe("pca", 6), np.eye(5, 24, dtype=np.float32))

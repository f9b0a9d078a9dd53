"""Projections as stored and applied, and the encoder that ends in one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.compress.embedder import ProjectedEmbedder, full_encoder, projected, projection_of
from core.compress.projection import Projection
from core.compress.recipe import Recipe
from core.embed import Embedder
from core.errors import InputError

RNG = np.random.default_rng(3)
HIDDEN = (RNG.normal(size=(6, 5)), RNG.normal(size=5), RNG.normal(size=(5, 3)))
CURVED = Projection.of("autoencoder", RNG.normal(size=(6, 3)), RNG.normal(size=3), HIDDEN)
ROWS = RNG.normal(size=(7, 6)).astype(np.float32)


class TestProjection:
    def test_the_formula_written_out(self) -> None:
        row = ROWS[0]
        hidden = [max(0.0, float(row @ CURVED.hidden_weight[:, i] + CURVED.hidden_bias[i])) for i in range(5)]
        code = [
            sum(float(row[i] * CURVED.weight[i, j]) for i in range(6))
            + float(CURVED.bias[j])
            + sum(hidden[i] * float(CURVED.hidden_out[i, j]) for i in range(5))
            for j in range(3)
        ]
        assert CURVED.code(row) == pytest.approx(code, rel=1e-5)
        assert CURVED.project(row) == pytest.approx(np.array(code) / np.linalg.norm(code), rel=1e-5)

    def test_rows_have_length_one_and_zero_stays_zero(self) -> None:
        assert np.linalg.norm(CURVED.project(ROWS), axis=1) == pytest.approx(np.ones(7), abs=1e-6)
        linear = Projection.of("pca", RNG.normal(size=(6, 2)))
        assert linear.project(np.zeros((1, 6), np.float32)).tolist() == [[0.0, 0.0]]

    @pytest.mark.parametrize("projection", [CURVED, Projection.of("truncate", np.eye(6, 2))])
    def test_read_back_it_gives_the_same_vectors(self, projection: Projection) -> None:
        stored = json.loads(json.dumps(projection.to_json()))
        again = Projection.from_json(stored)
        assert np.array_equal(again.project(ROWS), projection.project(ROWS))
        assert (again.label, again.digest) == (projection.label, projection.digest)
        assert again.n_inputs == 6

    def test_another_matrix_has_another_digest(self) -> None:
        one, other = (Projection.of("pca", np.full((6, 2), value)) for value in (0.5, 0.25))
        assert one.label == other.label == "pca:2"
        assert one.digest != other.digest


class TestProjectedEmbedder:
    def test_it_encodes_as_the_full_one_and_projects(self, embedder: Embedder) -> None:
        projection = Projection.of("truncate", np.eye(embedder.dimension, 32))
        shorter = projected(embedder, projection)
        full = embedder.encode_documents(["bread rises"])
        assert shorter.encode_documents(["bread rises"]) == pytest.approx(projection.project(full), abs=1e-3)
        assert shorter.encode_query("bread") == pytest.approx(
            projection.project(embedder.encode_query("bread")), abs=1e-3
        )
        assert shorter.dimension == 32
        assert (full_encoder(shorter), projection_of(shorter)) == (embedder, projection)
        assert (full_encoder(embedder), projection_of(embedder)) == (embedder, None)

    def test_spaces_have_different_hashes(self, embedder: Embedder) -> None:
        made = [Projection.of("pca", np.eye(embedder.dimension, n)) for n in (8, 16)]
        hashes = {embedder.weights_hash, *(ProjectedEmbedder(embedder, one).weights_hash for one in made)}
        assert len(hashes) == 3
        assert all(len(name) == 64 for name in hashes)

    def test_a_projection_of_other_vectors_is_left_out(self, embedder: Embedder) -> None:
        assert projected(embedder, Projection.of("pca", np.eye(6, 2))) is embedder
        assert projected(embedder, None) is embedder


class TestRecipe:
    @pytest.mark.parametrize(
        ("text", "recipe"),
        [
            ("none", Recipe()),
            ("int8", Recipe(quantization="int8")),
            ("PCA:64", Recipe("pca", 64)),
            ("vae:2+binary", Recipe("vae", 2, "binary")),
            ("int8+truncate:100", Recipe("truncate", 100, "int8")),
        ],
    )
    def test_what_is_written(self, text: str, recipe: Recipe) -> None:
        assert Recipe.parse(text, 384) == recipe
        assert Recipe.parse(str(recipe), 384) == recipe

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "is no compression"),
            ("pca", "is no compression"),
            ("pca:-3", "is no compression"),
            ("pca:64+vae:64", "is no compression"),
            ("int8+binary", "is no compression"),
            ("none+int8", "is no compression"),
            ("pca:384", "asks for 384 dimensions of 384; give 2 to 383"),
            ("pca:1", "asks for 1 dimensions"),
        ],
    )
    def test_what_is_refused(self, text: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            Recipe.parse(text, 384)

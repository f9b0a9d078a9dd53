"""From a recipe to a projection."""

from __future__ import annotations

from collections.abc import Callable

from core.compress.recipe import NONE, Recipe
from core.errors import InputError
from eval.compress.autoencoder import autoencoder
from eval.compress.linear import Fitted, Vectors, principal, truncated


def fit(
    recipe: Recipe, training: Vectors, on_epoch: Callable[[int, int], None] = lambda done, total: None
) -> Fitted | None:
    """What the recipe's transform makes of the training vectors, float32, shape (n, n_inputs), rows of length 1.

    None where the recipe has no transform. `on_epoch` gets the epochs done and their number. Raises `InputError` where
    there are fewer vectors than dimensions asked for.
    """
    if recipe.transform == NONE:
        return None
    if recipe.transform != "truncate" and len(training) < recipe.dimension:
        raise InputError(
            f"{recipe.label} needs at least {recipe.dimension} vectors to be fitted to; the index has {len(training)} "
            "of chunks and sentences. Ask for fewer dimensions."
        )
    if recipe.transform == "truncate":
        return truncated(recipe.dimension, training.shape[1])
    if recipe.transform == "pca":
        return principal(training, recipe.dimension)
    return autoencoder(training, recipe.dimension, is_variational=recipe.transform == "vae", on_epoch=on_epoch)

"""What an index' vectors are to become, as it is written: `pca:128`, `int8`, `autoencoder:64+binary`, `none`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from core.errors import InputError
from core.store import QUANTIZATIONS

TRANSFORMS = ("truncate", "pca", "autoencoder", "vae")
NONE = "none"
_FORM = (
    f"Write one of {', '.join(f'{name}:N' for name in TRANSFORMS)} with N dimensions, or {' or '.join(QUANTIZATIONS)}, "
    "or one of each joined by +, such as pca:128+int8; none undoes a quantisation."
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A transform to fewer dimensions (or `none`, with dimension 0) and a quantisation by the engine (or `none`)."""

    transform: str = NONE
    dimension: int = 0
    quantization: str = NONE

    @classmethod
    def parse(cls, text: str, full_dimension: int) -> Self:
        """The recipe that is written. Raises `InputError` for anything else, and for no fewer dimensions than full."""
        parts = text.strip().lower().split("+")
        recipe = cls()
        for part in parts:
            name, _, number = part.strip().partition(":")
            if name in TRANSFORMS and recipe.transform == NONE and number.isdecimal():
                recipe = cls(name, int(number), recipe.quantization)
            elif part.strip() in QUANTIZATIONS and recipe.quantization == NONE:
                recipe = cls(recipe.transform, recipe.dimension, part.strip())
            elif parts != [NONE]:
                raise InputError(f"{text!r} is no compression. {_FORM}")
        if recipe.transform != NONE and not 2 <= recipe.dimension < full_dimension:
            raise InputError(
                f"{text!r} asks for {recipe.dimension} dimensions of {full_dimension}; give 2 to {full_dimension - 1}."
            )
        return recipe

    @property
    def label(self) -> str:
        """The transform as a fingerprint names it."""
        return NONE if self.transform == NONE else f"{self.transform}:{self.dimension}"

    def __str__(self) -> str:
        named = [part for part in (self.label, self.quantization) if part != NONE]
        return "+".join(named) or NONE

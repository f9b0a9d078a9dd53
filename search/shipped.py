"""Coefficients that come with Limpid: trained on judged collections by `python -m benchmarks.fusion --train`."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np

from search.features import NAMES


@cache
def load_shipped() -> dict[str, dict[str, np.ndarray]]:
    """Each model's arrays by name: "queries" (curves over the weight) and "confidence"."""
    shipped = json.loads(files("search").joinpath("coefficients.json").read_text(encoding="utf-8"))
    if tuple(shipped["features"]) != NAMES:
        raise RuntimeError("search/coefficients.json has other features: run python -m benchmarks.fusion --train")
    return {
        kind: {name: np.array(values) for name, values in model.items()} for kind, model in shipped["models"].items()
    }

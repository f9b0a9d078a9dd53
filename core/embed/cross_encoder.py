"""Query and passage read together: any sentence-transformers cross-encoder that gives one score a pair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.embed.weights import find_weights

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class PairScores:
    """`scores`, float64, shape (n_texts,), with the model's own activation; `n_cut` texts were longer than it reads."""

    scores: np.ndarray
    n_cut: int


class CrossEncoder(Protocol):
    """Scores texts for a query; higher is better."""

    name: str
    runtime: str
    max_tokens: int  # of query and text together, special tokens included

    def score(self, query: str, texts: Sequence[str]) -> PairScores:
        """One score for each text. The longer of query and text is cut to what fits. Safe to call from threads."""
        ...


def open_cross_encoder(
    model: str, cache_dir: Path, *, device: str = "cpu", offline: bool = False, notify: Callable[[str], None] = print
) -> CrossEncoder:
    """The cross-encoder `model`, a hub name or a folder, ready to score.

    Graphs are made, kept and told about as by `core.embed.open_embedder`. It is compiled here and not on first use:
    OpenVINO changes the process' locale while it compiles, so open it before other threads run.
    Raises `DependencyError` where the weights can't be had, or give more than one score a pair.
    """
    weights = find_weights(model, cache_dir, offline=offline, notify=notify)
    if device == "cpu":
        from core.embed.graph import open_pair_graph

        graph = open_pair_graph(weights, cache_dir, notify)
        if graph is not None:
            from core.embed.cross_openvino import OpenVinoCrossEncoder

            return OpenVinoCrossEncoder(weights, graph)
    from core.embed.cross_torch import TorchCrossEncoder

    return TorchCrossEncoder(weights, device)

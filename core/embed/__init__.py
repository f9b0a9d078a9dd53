"""Text to vectors: any sentence-transformers model, on OpenVINO where it can be exported, else on torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from core.embed.weights import find_weights

if TYPE_CHECKING:
    import numpy as np

    from core.tokens import EncoderTokenizer


class Embedder(Protocol):
    """A sentence encoder whose vectors have length 1, so that a dot product is a cosine."""

    name: str
    weights_hash: str
    dimension: int
    runtime: str
    prompts: dict[str, str]
    tokenizer: EncoderTokenizer

    def encode_documents(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Vectors of passages, float32, shape (n_texts, dimension); `on_progress` gets the texts just done.

        A text longer than `tokenizer.max_tokens` is cut there: callers that must not lose text count first.
        """
        ...

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of many queries at once, float32, shape (n_texts, dimension); not from several threads."""
        ...

    def encode_query(self, text: str) -> np.ndarray:
        """Vector of one query, float32, shape (dimension,). Safe to call from several threads."""
        ...


def open_embedder(
    model: str, cache_dir: Path, *, device: str = "cpu", offline: bool = False, notify: Callable[[str], None] = print
) -> Embedder:
    """The encoder for `model`, a hub name or a folder.

    The OpenVINO graph is made once and kept in `cache_dir`; `notify` gets a line when that takes place, and the
    reason when a model has to run on torch instead.
    Raises `DependencyError` where the weights can't be had or fail their hash.
    """
    weights = find_weights(model, cache_dir, offline=offline, notify=notify)
    if device == "cpu":
        from core.embed.graph import open_graph

        graph = open_graph(weights, cache_dir, notify)
        if graph is not None:
            from core.embed.openvino_runtime import OpenVinoEmbedder

            return OpenVinoEmbedder(weights, graph)
    from core.embed.torch_runtime import TorchEmbedder

    return TorchEmbedder(weights, device)

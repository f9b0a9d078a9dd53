"""The cross-encoder through sentence-transformers itself: on GPUs, and for models that can't be exported."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from core.embed.cross_encoder import PairScores
from core.embed.weights import Weights
from core.errors import DependencyError


class TorchCrossEncoder:
    """See `core.embed.cross_encoder.CrossEncoder`."""

    def __init__(self, weights: Weights, device: str):
        """Loads the model onto `device`. Raises `DependencyError` where it can't be loaded or gives several scores."""
        from sentence_transformers import CrossEncoder

        from core.embed.export import max_tokens_of

        try:
            self._model = CrossEncoder(str(weights.folder), device=device, local_files_only=True)
        except Exception as error:  # torch and transformers raise many kinds
            reason = str(error).strip().splitlines()[0]
            raise DependencyError(f"{weights.name} can't be loaded on {device!r}: {reason}") from error
        if self._model.num_labels != 1:
            raise DependencyError(
                f"{weights.name} gives {self._model.num_labels} scores a pair; a reranker gives one. "
                "Name another model in the setting reranker."
            )
        self.name = weights.name
        self.runtime = f"sentence-transformers ({device})"
        self.max_tokens = max_tokens_of(self._model)
        self._scoring = threading.Lock()

    def score(self, query: str, texts: Sequence[str]) -> PairScores:
        """See `core.embed.cross_encoder.CrossEncoder.score`."""
        if not texts:
            return PairScores(np.empty(0), 0)
        with self._scoring:
            scores = self._model.predict([(query, text) for text in texts], show_progress_bar=False)
            whole = self._model.tokenizer([query] * len(texts), list(texts), truncation=False, verbose=False)
        n_cut = sum(len(ids) > self.max_tokens for ids in whole["input_ids"])
        return PairScores(np.asarray(scores, dtype=np.float64), n_cut)

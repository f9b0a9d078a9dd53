"""The encoder through sentence-transformers itself: on GPUs, and for models that can't be exported."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from core.embed.weights import Weights
from core.errors import DependencyError
from core.tokens import EncoderTokenizer

PASSAGES_PER_CALL = 256  # progress is reported this often


class TorchEmbedder:
    """See `core.embed.Embedder`."""

    def __init__(self, weights: Weights, device: str):
        """Loads the model onto `device`. Raises `DependencyError` where it can't be loaded there."""
        from sentence_transformers import SentenceTransformer

        from core.embed.export import max_tokens_of, prompts_of

        try:
            self._model = SentenceTransformer(str(weights.folder), device=device, local_files_only=True)
        except Exception as error:  # torch and transformers raise many kinds
            reason = str(error).strip().splitlines()[0]
            raise DependencyError(f"{weights.name} can't be loaded on {device!r}: {reason}") from error
        self.name = weights.name
        self.weights_hash = weights.sha256
        self.runtime = f"sentence-transformers ({device})"
        self.dimension = int(self._model.get_embedding_dimension())
        self.prompts = prompts_of(self._model)
        self.tokenizer = self._open_tokenizer(max_tokens_of(self._model))
        self._encoding = threading.Lock()

    def encode_documents(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """See `core.embed.Embedder.encode_documents`."""
        return self._encode_all(texts, self.prompts["document"], on_progress)

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """See `core.embed.Embedder.encode_queries`."""
        return self._encode_all(texts, self.prompts["query"], None)

    def _encode_all(self, texts: Sequence[str], prompt: str, on_progress: Callable[[int], None] | None) -> np.ndarray:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        for start in range(0, len(texts), PASSAGES_PER_CALL):
            batch = list(texts[start : start + PASSAGES_PER_CALL])
            vectors[start : start + len(batch)] = self._encode(batch, prompt)
            if on_progress:
                on_progress(len(batch))
        return vectors

    def encode_query(self, text: str) -> np.ndarray:
        """See `core.embed.Embedder.encode_query`."""
        return self._encode([text], self.prompts["query"])[0]

    def _encode(self, texts: list[str], prompt: str) -> np.ndarray:
        with self._encoding:
            return self._model.encode(texts, prompt=prompt, normalize_embeddings=True, show_progress_bar=False).astype(
                np.float32, copy=False
            )

    def _open_tokenizer(self, max_tokens: int) -> EncoderTokenizer:
        tokenizer = self._model.tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            try:
                backend.save(str(path))
            except (AttributeError, TypeError):
                raise DependencyError("The model has no fast tokenizer, so its tokens can't be counted.") from None
            return EncoderTokenizer(path, max_tokens, prompt=self.prompts["document"])

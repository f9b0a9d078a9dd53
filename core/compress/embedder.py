"""The encoder of a compressed index: the index' own model, and its projection behind that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

import numpy as np

from core.compress.projection import Projection
from core.embed import Embedder


class ProjectedEmbedder:
    """See `core.embed.Embedder`: vectors are those of `full`, projected.

    Its hash of the weights is made of both, so that vectors of two spaces never meet, in an index or in a cache.
    """

    def __init__(self, full: Embedder, projection: Projection):
        """`full` encodes; `projection` takes vectors of its dimension."""
        self.full = full
        self.projection = projection
        self.name = full.name
        self.weights_hash = sha256(f"{full.weights_hash} {projection.digest}".encode()).hexdigest()
        self.dimension = projection.n_outputs
        self.runtime = full.runtime
        self.prompts = full.prompts
        self.tokenizer = full.tokenizer

    def encode_documents(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """See `core.embed.Embedder.encode_documents`."""
        return self.projection.project(self.full.encode_documents(texts, on_progress))

    def encode_queries(self, texts: Sequence[str]) -> np.ndarray:
        """See `core.embed.Embedder.encode_queries`."""
        return self.projection.project(self.full.encode_queries(texts))

    def encode_query(self, text: str) -> np.ndarray:
        """See `core.embed.Embedder.encode_query`."""
        return self.projection.project(self.full.encode_query(text))


def full_encoder(embedder: Embedder) -> Embedder:
    """The encoder before any projection."""
    return embedder.full if isinstance(embedder, ProjectedEmbedder) else embedder


def projection_of(embedder: Embedder) -> Projection | None:
    """The projection behind an encoder, None where its vectors are full."""
    return embedder.projection if isinstance(embedder, ProjectedEmbedder) else None


def projected(embedder: Embedder, projection: Projection | None) -> Embedder:
    """The encoder with a projection behind it, itself where there is none or where it takes other vectors."""
    fits = projection is not None and projection.n_inputs == embedder.dimension
    return ProjectedEmbedder(embedder, projection) if fits else embedder

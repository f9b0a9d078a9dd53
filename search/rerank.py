"""A second reading of the best candidates: a cross-encoder sees query and passage together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.embed.cross_encoder import CrossEncoder
from core.types import Chunk

DEPTH = 30  # candidates that are read


@dataclass(frozen=True, slots=True)
class Reading:
    """One score for each passage, in their order, higher is better; `notes` says what wasn't read."""

    scores: list[float]
    notes: tuple[str, ...] = ()


class Reranker:
    """Scores passages with a cross-encoder; `depth` is how many of a list's first entries it is meant for."""

    def __init__(self, encoder: CrossEncoder, depth: int = DEPTH):
        self.encoder = encoder
        self.depth = depth

    def read(self, query: str, chunks: Sequence[Chunk]) -> Reading:
        """Scores of the chunks, read with their title and headings."""
        found = self.encoder.score(query, [chunk.embedding_text for chunk in chunks])
        if not found.n_cut:
            return Reading(found.scores.tolist())
        note = (
            f"The reranker reads {self.encoder.max_tokens} tokens of query and passage together: "
            f"{found.n_cut} of {len(chunks)} passages were cut for it."
        )
        return Reading(found.scores.tolist(), (note,))

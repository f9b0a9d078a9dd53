"""The stages of a search, for whoever wants to know how long each takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

# Encoding the query (only where its vector isn't remembered), both legs with the completion of their scores, fusing
# them, the signals, reading what is returned, and the cross-encoder, which is a part of that reading.
STAGES = ("encode", "legs", "fusion", "signals", "payload", "rerank")
Watch = Callable[[str], AbstractContextManager[None]]  # of a stage's name: entered when it begins, left when it ends


def unwatched(stage: str) -> AbstractContextManager[None]:
    """Watches nothing."""
    return nullcontext()

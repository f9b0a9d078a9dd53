"""Self-retrieval: whether a sentence finds the passage it was taken out of, which needs no judged query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.types import Chunk
from eval.significance import Interval, bootstrap_interval, paired_randomization

FIRST = 5  # results within which a passage counts as found


@dataclass(frozen=True, slots=True)
class Probe:
    """A sentence that asks, the chunk it was taken out of, and what the encoder reads of the chunk without it."""

    sentence: str
    chunk_id: str
    rest: str


@dataclass(frozen=True, slots=True)
class Compared:
    """The same queries asked before and after: shares found among the first five, and their difference."""

    n: int
    before: float
    after: float
    difference: Interval
    p: float

    def to_json(self) -> dict[str, object]:
        """As plain JSON values."""
        return {
            "n": self.n,
            "before": self.before,
            "after": self.after,
            "difference": self.difference.to_json(),
            "p": self.p,
        }


def hold_out(chunk: Chunk, start: int, end: int) -> Probe | None:
    """The longest sentence that lies in `[start, end)` of the document, taken out of the chunk.

    None where there are fewer than two sentences: with the only one gone, nothing is left to be found by.
    """
    inside = [span for span in chunk.sentences if start <= span.start and span.end <= end]
    if len(inside) < 2:
        return None
    longest = max(inside, key=lambda span: (span.end - span.start, -span.start))
    before, after = chunk.between(chunk.start, longest.start), chunk.between(longest.end, chunk.end)
    text = f"{before.rstrip()} {after.lstrip()}".strip()
    rest = replace(chunk, text=text).embedding_text
    return Probe(chunk.between(longest.start, longest.end), chunk.id, rest)


def is_found(
    queries: NDArray[np.float32],
    targets: NDArray[np.float32],
    owners: Sequence[int],
    vectors: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Whether each target is nearer to its query than all but four of the other chunks, bool, shape (n,).

    `queries` and `targets`: float32, shape (n, dim), rows of length 1; `vectors`: all chunks' vectors, of which row
    `owners[i]` is the whole chunk that target i is a part of and is left out. A tie counts for the target.
    """
    cosines = queries @ vectors.T
    cosines[np.arange(len(queries)), list(owners)] = -np.inf
    own = np.einsum("id,id->i", queries, targets)
    return (cosines > own[:, None]).sum(axis=1) < FIRST


def compare(before: Sequence[float] | NDArray[np.floating], after: Sequence[float] | NDArray[np.floating]) -> Compared:
    """Two paired columns of values: means, bootstrap interval of the difference, randomisation test.

    Raises InputError for columns without values or of unlike length.
    """
    first, second = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    p = paired_randomization(second, first)
    return Compared(len(first), float(first.mean()), float(second.mean()), bootstrap_interval(second - first), p)

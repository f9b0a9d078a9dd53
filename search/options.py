"""What can be asked of a search, checked in one place."""

from __future__ import annotations

from dataclasses import dataclass

from core.errors import InputError
from search.passages import KINDS
from search.ranking import FUSION_NAMES, MODES

GROUPS = ("document",)
MAX_HITS = 10_000  # the last rank that can be asked for
MAX_NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to answer a query. Raises `InputError`, with the value and its limits, for what can't be done.

    `k` hits are returned, after `offset` better ones; `where` is a filter (see `core.filters`).
    `mode` is hybrid, dense or sparse; `fusion` counts in hybrid only (see `search.fusion`): None is tuned once the
    index has been tuned, else convex. `weight` in [0, 1] is the dense leg's share in it, None for the usual one.
    `passage` says what a hit returns: its chunk, the sentences that answer, or its section (see `search.passages`);
    `neighbours` widens a chunk by as many chunks on either side.
    `group="document"` leaves each document `per_document` hits. `diversity` in [0, 1] trades relevance for novelty
    (see `search.diversity`); 0 is off. `rerank` asks the cross-encoder, None where tuning has measured a gain;
    `explain` adds the matched terms.
    """

    k: int = 10
    offset: int = 0
    mode: str = "hybrid"
    fusion: str | None = None
    weight: float | None = None
    where: str | None = None
    passage: str = "chunk"
    neighbours: int = 0
    group: str | None = None
    per_document: int = 1
    diversity: float = 0.0
    rerank: bool | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        _between("k", self.k, 1, MAX_HITS)
        _between("offset", self.offset, 0, MAX_HITS - 1)
        if self.offset + self.k > MAX_HITS:
            raise InputError(f"offset + k is {self.offset + self.k}; no more than {MAX_HITS} hits can be asked for.")
        _one_of("mode", self.mode, MODES)
        if self.fusion is not None:
            _one_of("fusion", self.fusion, FUSION_NAMES)
        if self.weight is not None:
            _between("weight", self.weight, 0, 1)
        _one_of("passage", self.passage, KINDS)
        _between("neighbours", self.neighbours, 0, MAX_NEIGHBOURS)
        if self.group is not None:
            _one_of("group", self.group, GROUPS)
        _between("per_document", self.per_document, 1, MAX_HITS)
        if self.per_document > 1 and self.group is None:
            raise InputError("per_document counts hits of a group; ask for group 'document' too.")
        _between("diversity", self.diversity, 0, 1)
        if self.neighbours and self.passage != "chunk":
            raise InputError(f"neighbours widen chunks, and passage is {self.passage!r}; use one of the two.")
        if self.diversity and self.passage == "sentences":
            raise InputError("diversity orders chunks, and sentences are ordered by themselves; use another passage.")


def _between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} is {value}; it must lie between {low} and {high}.")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"Unknown {name} {value!r}; use one of {', '.join(known)}.")

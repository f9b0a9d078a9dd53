"""What another weight of the legs changes: the ranks that the same candidates have under the usual one."""

from __future__ import annotations

from dataclasses import dataclass

from api.pages.hits import Shown
from search.ranking import Ranking

DECIMALS = 2


@dataclass(frozen=True, slots=True)
class Weight:
    """The dense leg's share in the fusion as it is tried, and as it usually is."""

    tried: float
    usual: float

    @property
    def is_usual(self) -> bool:
        """Whether nothing else is being tried."""
        return round(self.tried, DECIMALS) == round(self.usual, DECIMALS)

    @property
    def asked(self) -> float | None:
        """What to ask the search for: None for the usual one, which has more decimals than a slider."""
        return None if self.is_usual else self.tried


def ranks_by_default(ranking: Ranking) -> dict[str, int]:
    """The rank of every candidate from 1, by chunk id, in the ranking under the usual weight, before any reranking."""
    return {ranking.ids[row]: rank for rank, row in enumerate(ranking.best(), start=1)}


def told(hits: list[Shown]) -> str:
    """In a sentence, how the shown hits differ from those under the usual weight."""
    new = sum(hit.rank_by_default is None or hit.rank_by_default > len(hits) for hit in hits)
    moved = sum(0 < (hit.rank_by_default or 0) <= len(hits) and hit.moved != 0 for hit in hits)
    if not new and not moved:
        return "The order is the same."
    parts = [f"{moved} of {len(hits)} changed places"] * bool(moved) + [f"{new} came up from below"] * bool(new)
    return ", ".join(parts).capitalize() + "."

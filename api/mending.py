"""Doing what a report advises about a kind of finding, and taking it back. What is to be done was decided before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from core.index import Index
from core.settings import Settings

if TYPE_CHECKING:
    from ingest.fixing import OnProgress

MUDDY, BOILERPLATE, DUPLICATE = "muddy_chunk", "boilerplate", "duplicate"
DOABLE = (MUDDY, BOILERPLATE, DUPLICATE)


def mend(
    index: Index,
    settings: Settings,
    show: OnProgress,
    kind: str,
    places: Mapping[str, Iterable[int]],
    texts: Sequence[str],
    *,
    drops: bool = False,
) -> None:
    """Split documents at these characters, by document id, or store repeated text once (`drops` leaves it out).

    Raises as `ingest.fixing` does.
    """
    from ingest.fixes import DROP, MARK
    from ingest.fixing import repeat, split

    if kind == MUDDY:
        split(index, places, settings, show)
        return
    fixes = index.meta.fixes
    decided, shared_by = dict(fixes.repeated), fixes.shared_by
    if kind == BOILERPLATE:
        decided |= dict.fromkeys(texts, DROP if drops else MARK)
    else:
        shared_by = 2
    repeat(index, settings, show, texts=decided, shared_by=shared_by)


def take_back(index: Index, settings: Settings, show: OnProgress, kinds: Sequence[str]) -> dict[str, int]:
    """Undo the fixes of these kinds; returns how many there were of each."""
    from ingest.fixing import repeat, unsplit

    undone = {}
    fixes = index.meta.fixes
    if MUDDY in kinds:
        undone[MUDDY] = unsplit(index, settings, show)
    texts = {} if BOILERPLATE in kinds else fixes.repeated
    shared_by = None if DUPLICATE in kinds else fixes.shared_by
    if BOILERPLATE in kinds:
        undone[BOILERPLATE] = len(fixes.repeated)
    if DUPLICATE in kinds:
        undone[DUPLICATE] = int(fixes.shared_by is not None)
    if (texts, shared_by) != (fixes.repeated, fixes.shared_by):
        repeat(index, settings, show, texts=texts, shared_by=shared_by)
    return undone

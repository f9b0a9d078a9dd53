"""The sections of a text: a heading or definition with what follows it, small ones joined to their neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ingest.chunkers.measure import TokenRuler
from ingest.structure import Blocks

SMALL_SECTION = 0.25  # of the budget: a section below it shares a chunk with its siblings


@dataclass(frozen=True, slots=True)
class Section:
    """What stands under one heading up to the next one, or several such stretches in a row, all of one group."""

    path: tuple[str, ...]
    start: int
    end: int
    group: str
    has_body: bool


def sections(blocks: Blocks, ruler: TokenRuler, budget: int) -> list[Section]:
    """The text's sections in order, every block in exactly one; small ones are joined while they fit `budget` tokens.

    Joined sections bear the path that they have in common. Nothing is joined across groups.
    """
    return list(_merge_small(_stretches(blocks), ruler, budget))


def _stretches(blocks: Blocks) -> Iterator[Section]:
    """The sections as they are; a heading without a body belongs to the deeper section that follows it."""
    last: Section | None = None
    for block in blocks.blocks:
        is_heading = block.kind == "heading"
        path = blocks.headings_at(block.start)
        if last is not None and block.group == last.group:
            if not is_heading and path == last.path:
                last = replace(last, end=block.end, has_body=True)
                continue
            if not last.has_body and path[: len(last.path)] == last.path:
                last = replace(last, path=path, end=block.end, has_body=not is_heading)
                continue
        if last is not None:
            yield last
        last = Section(path, block.start, block.end, block.group, has_body=not is_heading)
    if last is not None:
        yield last


def _merge_small(stretches: Iterable[Section], ruler: TokenRuler, budget: int) -> Iterator[Section]:
    small = budget * SMALL_SECTION
    last: Section | None = None
    for section in stretches:
        if last is None:
            last = section
            continue
        shared = common(last.path, section.path)
        is_kin = len(shared) >= max(len(last.path), len(section.path)) - 1  # siblings, or parent and child
        is_small = ruler.cost(last.start, last.end) < small or ruler.cost(section.start, section.end) < small
        if last.group == section.group and is_kin and is_small and ruler.cost(last.start, section.end) <= budget:
            last = Section(shared, last.start, section.end, last.group, has_body=True)
        else:
            yield last
            last = section
    if last is not None:
        yield last


def common(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    """The path that two paths begin with."""
    n = 0
    while n < min(len(one), len(other)) and one[n] == other[n]:
        n += 1
    return tuple(one[:n])

"""A document for reading: the part of its text around a passage, with pages told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from api.pages.hits import stretches
from core.store import Store
from core.types import Span, place

PART_CHARACTERS = 40_000  # shown at once; a browser lays out more than that slowly, and nobody reads it in one go


@dataclass(frozen=True, slots=True)
class Part:
    """The characters of a document that are shown; `before` and `after` are where its neighbours begin, if any."""

    start: int
    end: int
    before: int | None
    after: int | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the text: pieces with whether each is a term, whether it is the passage, the page it begins."""

    pieces: list[tuple[str, bool]]
    is_passage: bool
    page: str


def passage_of(store: Store, document: Mapping[str, Any], chunk_id: str) -> Span | None:
    """Where a chunk stands in a document, None where it isn't of it; its text may be stored with another document."""
    stored = store.fetch([chunk_id]).get(chunk_id) if len(chunk_id) == 16 else None
    if stored is None:
        return None
    chunk = stored.chunk
    if chunk.document_id == document["id"]:
        return Span(chunk.start, chunk.end)
    start = document["text"].find(chunk.text) if document["id"] in chunk.also_in else -1
    return Span(start, start + len(chunk.text)) if start >= 0 else None


def part_of(text: str, passage: Span | None, start: int | None = None) -> Part:
    """The part of a text to show: from `start`, else with the passage in its middle, else from the beginning."""
    length = PART_CHARACTERS
    if len(text) <= length:
        return Part(0, len(text), None, None)
    if start is None:
        start = (passage.start + passage.end - length) // 2 if passage else 0
    start = max(0, min(start, len(text) - length))
    if start:  # from the beginning of a line, if there is one near
        line = text.rfind("\n", max(0, start - 500), start) + 1
        start = line or start
    end = min(len(text), start + length)
    return Part(start, end, max(0, start - length) if start else None, end if end < len(text) else None)


def segments(
    document: Mapping[str, Any], part: Part, passage: Span | None, is_term: Callable[[str], bool]
) -> list[Segment]:
    """The part cut where the passage and pages begin and end; together the segments are its text."""
    text, starts = document["text"], document["page_starts"]
    pages = {
        start: place(document["page_names"], number, number)
        for number, start in enumerate(starts, start=1)
        if part.start <= start < part.end
    }
    inner = {start for start in pages if start > part.start}
    if passage:
        inner |= {at for at in (passage.start, passage.end) if part.start < at < part.end}
    return list(_segments(text, [part.start, *sorted(inner), part.end], pages, passage, is_term))


def _segments(
    text: str, bounds: list[int], pages: Mapping[int, str], passage: Span | None, is_term: Callable[[str], bool]
) -> Iterator[Segment]:
    for low, high in pairwise(bounds):
        is_passage = passage is not None and passage.start <= low and high <= passage.end and low < high
        shown = [(text[low:high], False)]
        if is_passage:  # the words of a query are marked only there: elsewhere they would drown it
            shown = [piece for stretch in stretches(text[low:high], None, is_term) for piece in stretch.pieces]
        yield Segment(shown, is_passage, pages.get(low, ""))

"""What one check of the diagnosis gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.types import Chunk, Flag

MEMBERS_SHOWN = 12  # of a group of chunks


@dataclass(frozen=True, slots=True)
class Finding:
    """Flags, numbers about the whole corpus, and per-chunk scores of one check.

    `scores[name][i]` is a JSON-ready mapping that belongs to chunk `i` of the sample.
    """

    flags: tuple[Flag, ...] = ()
    numbers: Mapping[str, object] = field(default_factory=dict)
    scores: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)


def shown_members(chunks: Sequence[Chunk]) -> list[dict[str, str]]:
    """The first chunks of a group, as evidence."""
    return [
        {"chunk_id": chunk.id, "document_id": chunk.document_id, "text": opening(chunk.text)}
        for chunk in chunks[:MEMBERS_SHOWN]
    ]


def opening(text: str, limit: int = 160) -> str:
    """The beginning of a text on one line, cut at a word with an ellipsis beyond `limit` characters."""
    line = " ".join(text[: 4 * limit].split())
    if len(line) <= limit:
        return line
    head = line[:limit]
    return (head.rsplit(" ", 1)[0] if " " in head[limit // 2 :] else head) + "…"

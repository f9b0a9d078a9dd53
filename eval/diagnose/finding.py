"""What one check of the diagnosis gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

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

    def to_json(self) -> dict[str, Any]:
        """As values that JSON can hold, NumPy's numbers apart."""
        return {"flags": [asdict(flag) for flag in self.flags], "numbers": self.numbers, "scores": self.scores}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_json` gave, with lists where there were tuples."""
        return cls(tuple(Flag(**flag) for flag in stored["flags"]), stored["numbers"], stored["scores"])


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

"""What `limpid fix` has decided, applied to a document whenever it is cut: its splits, and text that many repeat.

A decision is kept with the index and not with the chunks, so that what an index holds stays a function of the corpus,
the settings and the fixes: unchanged documents keep theirs, and a changed one keeps what its new text still has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from ingest.shared import DROPPED
from ingest.structure import Block, Blocks

MARK, DROP = "mark", "drop"
PROSE = ("paragraph", "list")  # what repeated text may be taken out of: lines of code and rows belong together
# A split is found again in a changed text by the characters around it: fewer stand there by chance as well, and more
# would lose it to a change that has nothing to do with it.
ANCHOR_CHARS = 40


class Stretch(NamedTuple):
    """Where repeated text stands in a document, and whether it is to be left out."""

    start: int
    end: int
    is_dropped: bool


def carried(splits: Sequence[int], before: str, after: str) -> tuple[int, ...]:
    """The splits of a text at their places in the changed text; one whose surroundings are gone is left out.

    A split's surroundings are the 40 characters on either side of it; they must stand in the changed text exactly once.
    """
    if before == after:
        return tuple(splits)
    found = []
    for split in splits:
        start = max(0, split - ANCHOR_CHARS)
        anchor = before[start : split + ANCHOR_CHARS]
        at = after.find(anchor)
        if at >= 0 and after.find(anchor, at + 1) < 0:
            found.append(at + split - start)
    return tuple(sorted(found))


class Repeated:
    """Text that many documents hold, to be told from the rest of each; spacing doesn't count."""

    def __init__(self, decided: Mapping[str, str]):
        """`decided` maps each text to `MARK` or `DROP`."""
        self._decided = {" ".join(text.split()): what for text, what in decided.items()}
        longest_first = sorted(filter(None, self._decided), key=lambda text: (-len(text), text))
        words = (r"\s+".join(map(re.escape, text.split())) for text in longest_first)
        self._pattern = re.compile("|".join(words)) if longest_first else None

    def find(self, text: str) -> list[Stretch]:
        """Where the repeated texts stand, in order; of two that overlap the first, then the longer one."""
        if self._pattern is None:
            return []
        found = ((match.span(), " ".join(match[0].split())) for match in self._pattern.finditer(text))
        return [Stretch(start, end, self._decided[words] == DROP) for (start, end), words in found]


def refined(text: str, blocks: Blocks, stretches: Sequence[Stretch]) -> Blocks:
    """The blocks with each stretch as a block of its own, of the group `DROPPED` where it is; only prose is divided."""
    if not stretches:
        return blocks
    parts: list[Block] = []
    for block in blocks.blocks:
        at = block.start
        for stretch in stretches if block.kind in PROSE else ():
            start, end = max(stretch.start, block.start), min(stretch.end, block.end)
            if start < end:
                parts += _trimmed(text, block, at, start)
                part = _trimmed(text, block, start, end)
                parts += [replace(block, group=DROPPED) for block in part] if stretch.is_dropped else part
                at = end
        parts += _trimmed(text, block, at, block.end)
    return replace(blocks, blocks=tuple(parts))


def digest(splits: Sequence[int], stretches: Sequence[Stretch]) -> str:
    """A hash over what was changed in a document's chunks; empty where nothing was."""
    if not splits and not stretches:
        return ""
    said = f"{list(splits)} {[tuple(stretch) for stretch in stretches]}"
    return blake2b(said.encode(), digest_size=8).hexdigest()


def version(generation: str, fixes: str) -> str:
    """Name of a document's version: that of its content and of what it shares, and what was changed in its chunks."""
    return f"{generation}+{fixes}" if fixes else generation


def _trimmed(text: str, block: Block, start: int, end: int) -> list[Block]:
    inner = text[start:end]
    stripped = inner.strip()
    if not stripped:
        return []
    start += len(inner) - len(inner.lstrip())
    return [replace(block, start=start, end=start + len(stripped))]

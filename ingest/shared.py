"""Text that many documents share (headers, footers, licences) is stored once, so that it can't crowd the results.

A block that stands word for word in `shared_by` documents or more belongs to one of them, the one whose id sorts
first; the others leave it out. What a document's chunks are is therefore a function of the corpus, whatever the order
in which its documents came: whoever changes the corpus asks for the generations anew and cuts again what differs.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from heapq import nsmallest

from core.types import Chunk, Document, DocumentRecord, MetadataValue, Scalar
from ingest.structure import Block, Blocks

MIN_CHARS = 40  # a shorter block ("See also", "import numpy") is shared by chance, and cutting it out would hurt
DROPPED = "dropped"  # group of a block that no document is to store: `limpid fix` has decided so
MAX_ALSO_IN = 1000  # documents, and values of a metadata field, that a shared chunk names
_KEYS = "Q"  # 8 bytes each, in an array


@dataclass(slots=True)
class _Holders:
    """How many documents hold a block, the first of them by id, and a hash over all: equal for equal sets."""

    count: int
    owner: str
    mark: int


@dataclass(slots=True)
class _Copies:
    """The documents that hold a block, and their metadata together."""

    ids: set[str] = field(default_factory=set)  # as many as are named, the first of all, and some
    values: dict[str, dict[Scalar, None]] = field(default_factory=dict)

    def add(self, record: DocumentRecord) -> None:
        self.ids.add(record.id)
        if len(self.ids) > 2 * MAX_ALSO_IN:
            self.ids = set(nsmallest(MAX_ALSO_IN + 1, self.ids))
        for name, value in record.metadata.items():
            values = self.values.setdefault(name, {})
            if len(values) < MAX_ALSO_IN:
                values.update(dict.fromkeys(value if isinstance(value, list) else [value]))

    def metadata(self) -> dict[str, MetadataValue]:
        """Every field with all its values: a filter that finds one of the holders finds the text."""
        held = {name: list(values) for name, values in self.values.items() if values}
        return {name: values if len(values) > 1 else values[0] for name, values in held.items()}


@dataclass(frozen=True, slots=True)
class Placed:
    """What of a document is its own, as far as is known; `blocks` has a group for each set of holders."""

    blocks: Blocks
    generation: str
    foreign: frozenset[int]  # where the blocks begin that are stored with another document, or with none
    copies: Mapping[int, _Copies]  # of shared blocks that are stored with this one, by their beginning

    def kept(self, document_id: str, chunks: Sequence[Chunk]) -> list[Chunk]:
        """The chunks that are stored with this document, those of shared text naming the others that hold it."""
        if not self.foreign and not self.copies:
            return list(chunks)
        starts = [block.start for block in self.blocks.blocks]
        kept = []
        for chunk in chunks:
            start = starts[bisect_right(starts, chunk.start) - 1]
            if start in self.foreign:
                continue
            copies = self.copies.get(start)
            if copies:
                others = sorted(copies.ids - {document_id})[:MAX_ALSO_IN]
                kept.append(replace(chunk, also_in=tuple(others), metadata=copies.metadata()))
            else:
                kept.append(chunk)
        return kept


class SharedText:
    """Which blocks are shared by which documents, as far as those were added."""

    def __init__(self, shared_by: int):
        """`shared_by` is the number of documents that a block must stand in to be stored once."""
        self._shared_by = shared_by
        self._blocks: dict[int, str | _Holders] = {}  # a lone holder is just its id: nearly all are
        self._marks: dict[str, int] = {}
        self._copies: dict[int, _Copies] = {}

    def add(self, document_id: str, content_hash: str, keys: bytes) -> None:
        """Take in a document by its `block_keys`; one that was added already isn't counted twice."""
        if not keys or document_id in self._marks:
            return
        self._marks[document_id] = mark = _hash(f"{document_id}\0{content_hash}")
        for key in set(array(_KEYS, keys)):
            held = self._blocks.setdefault(key, document_id)
            if held == document_id:
                continue
            if isinstance(held, str):
                held = self._blocks[key] = _Holders(1, held, self._marks[held])
            held.count += 1
            held.owner = min(held.owner, document_id)
            held.mark ^= mark

    def gather(self, wanted: Iterable[DocumentRecord], records: Iterable[DocumentRecord]) -> None:
        """Find out from all `records` who else holds the shared text that the `wanted` documents own."""
        owned = {
            key
            for record in wanted
            for key in array(_KEYS, record.block_keys)
            if (held := self._shared(key)) and held.owner == record.id
        }
        self._copies = {key: _Copies() for key in owned}
        for record in records if owned else ():
            for key in owned.intersection(array(_KEYS, record.block_keys)):
                self._copies[key].add(record)

    def place(self, document: Document, blocks: Blocks, keys: bytes) -> Placed:
        """What of a document is its own, as far as is known now; `keys` are its `block_keys`."""
        grouped, copies = list(blocks.blocks), {}
        foreign = {block.start for block in grouped if block.group == DROPPED}
        generation = self.generation(document.id, document.content_hash, keys)
        for key, (position, block) in zip(array(_KEYS, keys), _sharable(blocks), strict=True):
            held = self._shared(key)
            if held is None:
                continue
            grouped[position] = replace(block, group=f"{held.mark:x}")
            if held.owner != document.id:
                foreign.add(block.start)
            elif key in self._copies:
                copies[block.start] = self._copies[key]
            else:  # who else holds it is found out in the end, and then this version isn't the right one any more
                generation = f"{document.content_hash}-provisional"
        return Placed(replace(blocks, blocks=tuple(grouped)), generation, frozenset(foreign), copies)

    def generation(self, document_id: str, content_hash: str, keys: bytes) -> str:
        """Name of a document's version: its content, what of it is shared, and what of that is stored with it."""
        parts = []
        groups: dict[int, int] = {}
        for position, key in enumerate(array(_KEYS, keys)):
            if held := self._shared(key):
                group = groups.setdefault(held.mark, len(groups))
                parts.append(f"{position} {group} {held.mark if held.owner == document_id else ''}")
        if not parts:
            return content_hash
        return f"{content_hash}-{_hash(';'.join(parts)):016x}"

    def _shared(self, key: int) -> _Holders | None:
        held = self._blocks.get(key)
        return held if isinstance(held, _Holders) and held.count >= self._shared_by else None


def block_keys(text: str, blocks: Blocks) -> bytes:
    """8 bytes for every block that other documents might hold as well, in order; spacing doesn't count."""
    words = (" ".join(text[block.start : block.end].split()) for _, block in _sharable(blocks))
    return array(_KEYS, map(_hash, words)).tobytes()


def _sharable(blocks: Blocks) -> Iterator[tuple[int, Block]]:
    for position, block in enumerate(blocks.blocks):
        if block.kind != "heading" and block.group != DROPPED and block.end - block.start >= MIN_CHARS:
            yield position, block


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())

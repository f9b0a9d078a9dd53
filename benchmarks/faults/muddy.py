"""Muddy chunks: sentences of another text put in the place of a chunk's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.faults.material import Material, Piece
from eval.sample import Sample

KINDS = ("easy", "medium", "hard")  # text of another corpus, another document, another section
RATIOS = {"50/50": (0.5, 0.5), "70/30": (0.7, 0.3), "85/15": (0.85, 0.15), "3 × ⅓": (1 / 3, 1 / 3, 1 / 3)}
SHARE = 0.1  # of the chunks with enough sentences
MIN_SENTENCES = 4  # two a side
SECTION_AWAY = 3  # chunks of one document that stand so far apart count as other sections
TRIES = 60


@dataclass(frozen=True, slots=True)
class Muddied:
    """A collection with muddy chunks: for each chunk of the sample the ratio it was planted at, or an empty string.

    `borders`: where its first seam is, in sentences from its beginning; all of them for three parts.
    """

    sample: Sample
    ratios: tuple[str, ...]
    borders: tuple[tuple[int, ...], ...]

    @property
    def is_planted(self) -> np.ndarray:
        """Bool, shape (n_chunks,)."""
        return np.array([bool(ratio) for ratio in self.ratios])


def plant_muddy(material: Material, kind: str, others: Sequence[Material], seed: int) -> Muddied | None:
    """A tenth of the longer chunks muddied, a quarter of them at each ratio; None where there is nothing to join.

    What is joined to a chunk is taken out of the corpus, so that no chunk's double gives it away.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    long = rng.permutation([i for i, piece in enumerate(material.pieces) if len(piece) >= MIN_SENTENCES])
    n_hosts = round(SHARE * len(long))
    donors = _Donors(material, long[n_hosts:], kind, others, rng)
    planted: dict[int, tuple[Piece, str, tuple[int, ...]]] = {}
    for place, host in enumerate(long[:n_hosts].tolist()):
        ratio = list(RATIOS)[place % len(RATIOS)]
        made = _muddied(material.pieces[host], host, RATIOS[ratio], donors, rng)
        if made:
            planted[host] = (made[0], ratio, made[1])
    if not planted:
        return None
    sample, kept = material.with_pieces({host: piece for host, (piece, _, _) in planted.items()}, sorted(donors.used))
    told = [planted.get(i, (None, "", ())) for i in kept.tolist()]
    return Muddied(sample, tuple(ratio for _, ratio, _ in told), tuple(borders for _, _, borders in told))


class _Donors:
    """Where foreign sentences come from."""

    def __init__(
        self, material: Material, free: np.ndarray, kind: str, others: Sequence[Material], rng: np.random.Generator
    ):
        self.used: set[int] = set()
        self._material, self._free, self._kind, self._rng = material, free.tolist(), kind, rng
        self._others = [other for other in others if other.family != material.family]
        self._of_document: dict[str, list[int]] = {}
        for i in self._free:
            self._of_document.setdefault(material.sample.chunks[i].document_id, []).append(i)

    def draw(self, host: int, n: int) -> Piece | None:
        """`n` sentences in a row."""
        for _ in range(TRIES):
            pieces = self._material.pieces
            if self._kind == "easy":
                if not self._others:
                    return None
                pieces = self._others[self._rng.integers(len(self._others))].pieces
                i = int(self._rng.integers(len(pieces)))
            else:
                among = self._free if self._kind == "medium" else self._of_document.get(self._document(host), [])
                if not among:
                    return None
                i = among[self._rng.integers(len(among))]
            if len(pieces[i]) >= n and (self._kind == "easy" or self._suits(host, i)):
                if self._kind != "easy":
                    self.used.add(i)
                return pieces[i].part(int(self._rng.integers(len(pieces[i]) - n + 1)), n)
        return None

    def _suits(self, host: int, i: int) -> bool:
        chunks = self._material.sample.chunks
        is_same = chunks[host].document_id == chunks[i].document_id
        is_far = abs(chunks[host].position - chunks[i].position) >= SECTION_AWAY
        return i not in self.used and (not is_same if self._kind == "medium" else is_same and is_far)

    def _document(self, i: int) -> str:
        return self._material.sample.chunks[i].document_id


def _muddied(
    own: Piece, host: int, shares: Sequence[float], donors: _Donors, rng: np.random.Generator
) -> tuple[Piece, tuple[int, ...]] | None:
    """The chunk with foreign parts, its own part at the beginning or, half of the time, behind them."""
    sizes = [max(1, round(share * len(own))) for share in shares[1:]]
    sizes.insert(0, len(own) - sum(sizes))
    if sizes[0] < 1:
        return None
    parts = [own.part(0, sizes[0])]
    for size in sizes[1:]:
        foreign = donors.draw(host, size)
        if foreign is None:
            return None
        parts.append(foreign)
    if rng.random() < 0.5:
        parts.reverse()
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    return whole, tuple(int(n) for n in np.cumsum([len(part) for part in parts])[:-1])

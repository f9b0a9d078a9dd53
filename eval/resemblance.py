"""Which texts of many hold nearly the same words: resemblance by word triples, found by MinHash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from eval.words import SHINGLE_WORDS, words_of

N_BANDS, BAND_ROWS = 32, 3  # a pair with resemblance s is seen with 1 - (1 - s³)³²: .99 at .5, .58 at .3, .03 at .1
PAIRED_WITH = 64  # of texts that agree in a band, all are paired with so many: a template on every page stays cheap
HASHES_AT_ONCE = 1_000_000
_TURNS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], dtype=np.uint64)  # odd: invertible


def shingle_hashes(texts: Sequence[str]) -> list[NDArray[np.uint64]]:
    """For each text the hashes of its distinct runs of three words in lower case, sorted; a shorter text is one run."""
    places: dict[str, int] = {}
    written = [
        np.array([places.setdefault(word, len(places)) for word in words_of(text)], dtype=np.int64) for text in texts
    ]
    codes = np.array([_code(word) for word in places], dtype=np.uint64)
    return [_hashes_of_runs(codes[words]) for words in written]


def _hashes_of_runs(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    size = min(SHINGLE_WORDS, len(words))
    runs = np.zeros(len(words) - size + 1 if len(words) else 0, dtype=np.uint64)
    for k in range(size):
        runs += words[k : k + len(runs)] * _TURNS[k]
    return np.unique(runs)


def resemblance(a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float:
    """Shared over all distinct hashes of two texts, 0 to 1; 0 where either is empty (Broder 1997)."""
    if not len(a) or not len(b):
        return 0.0
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared)


def likely_pairs(hashes: Sequence[NDArray[np.uint64]], seed: int = 0) -> NDArray[np.int64]:
    """Pairs i < j of texts that may resemble one another, shape (n_pairs, 2), sorted; texts without words have none.

    Locality-sensitive hashing of MinHash signatures: 32 bands of 3 rows, and texts that agree in a band are a pair
    (Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3).
    """
    filled = np.array([i for i, one in enumerate(hashes) if len(one)], dtype=np.int64)
    if len(filled) < 2:
        return np.zeros((0, 2), dtype=np.int64)
    signatures = _signatures([hashes[i] for i in filled], seed)
    found = [
        pairs[:, 0] * len(hashes) + pairs[:, 1]
        for band in range(N_BANDS)
        for pairs in _agreeing(signatures[:, band * BAND_ROWS : (band + 1) * BAND_ROWS], filled)
    ]
    codes = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *found]))
    return np.stack(np.divmod(codes, len(hashes)), axis=1)


def _code(word: str) -> int:
    return int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "little")


def _signatures(hashes: Sequence[NDArray[np.uint64]], seed: int) -> NDArray[np.uint64]:
    """The least of each text's hashes under 96 random orders, shape (n_texts, 96)."""
    rng = np.random.default_rng(seed)
    n_orders = N_BANDS * BAND_ROWS
    turns = rng.integers(0, 2**63, n_orders, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(0, 2**63, n_orders, dtype=np.uint64)
    signatures = np.empty((len(hashes), n_orders), dtype=np.uint64)
    ends = np.cumsum([len(one) for one in hashes])
    first = 0
    while first < len(hashes):
        done = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, done + HASHES_AT_ONCE)))
        block = np.concatenate(hashes[first:last])
        starts = np.r_[done, ends[first : last - 1]] - done
        for k in range(n_orders):
            mixed = (block ^ shifts[k]) * turns[k]
            mixed ^= mixed >> np.uint64(32)
            mixed *= turns[k]
            signatures[first:last, k] = np.minimum.reduceat(mixed, starts)
        first = last
    return signatures


def _agreeing(rows: NDArray[np.uint64], owners: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Pairs of owners, the lesser first, whose rows are equal, shape (n, 2) at a time."""
    order = np.lexsort((owners, *rows.T))
    ordered = rows[order]
    bounds = np.flatnonzero(np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1), True])
    sizes = np.diff(bounds)
    for start, size in zip(bounds[:-1][sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        members = owners[order[start : start + size]]
        i, j = np.triu_indices(min(PAIRED_WITH, size), k=1, m=size)
        yield np.stack([members[i], members[j]], axis=1)

"""Draws that hardly change when a little of what is drawn from does."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from random import Random


def drawn(names: Iterable[str], limit: int, seed: int = 0) -> list[str]:
    """At most `limit` of distinct names, in an order that only their own hashes and the seed decide.

    Those with the lowest hashes are drawn (a bottom-k sample, Cohen and Kaplan 2007, "Summarizing data using bottom-k
    sketches"): uniform without replacement, and of a corpus in which one chunk in a hundred has changed, all but about
    one in a hundred of the draws are the same. So what was encoded for them needn't be again.
    """
    return sorted(names, key=lambda name: (_hash(name, seed), name))[: max(0, limit)]


def own_draws(name: str, seed: int = 0) -> Random:
    """Random numbers that belong to a name, whatever else there is."""
    return Random(int.from_bytes(_hash(name, seed)))


def _hash(name: str, seed: int) -> bytes:
    return blake2b(f"{seed}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()

"""Where a text may be cut inside a word without tearing a letter from its marks or an emoji apart."""

from __future__ import annotations

import regex

WINDOW_CHARS = 64  # looked at on either side: families, flags and stacked marks are shorter unless made to annoy

_CLUSTER = regex.compile(r"\X")


def boundary_at(text: str, at: int, start: int) -> int:
    """The last boundary between grapheme clusters (Unicode UAX #29) in `text` that isn't behind `at`.

    It lies behind `start`; where a cluster reaches from there over `at`, it is `at` itself: clusters have no largest
    length, chunks do.
    """
    if at <= start or at >= len(text) or (text[at - 1].isascii() and text[at].isascii()):
        return at
    begun = max(start, at - WINDOW_CHARS)
    last = start
    for cluster in _CLUSTER.finditer(text, begun, min(len(text), at + WINDOW_CHARS)):
        if cluster.end() > at:
            last = cluster.start()
            break
        last = cluster.end()
    return last if last > begun else at

"""Chunks that the encoder could not read to their end, told by their length, or by what their vectors are made of.

Where an index was made by others, its token counts say little: the encoder may have stopped earlier than its limit
says, or nobody counted. So parts of long chunks are encoded anew, and their vectors are taken apart into these: where
the end has no share in them, it was never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core.types import Chunk, Flag
from eval.diagnose.finding import Finding, opening
from eval.draws import drawn
from eval.sample import Sample
from eval.significance import bootstrap_interval

LIMITS = (64, 128, 256, 512)  # pieces at which encoders are usually made to stop
LEAST_UNREAD = 32  # pieces beyond a limit for a chunk to be looked at
PART = 128  # pieces that are encoded at once: half of what the shortest encoders read
N_ASKED = 60  # chunks of each band of lengths
MIN_ASKED = 15  # below it a share is chance
READ_SHARE = (
    0.5  # of what the end would have by its length; vectors of everything have .8 and more, cut ones .2 at most
)
SHARE_DIGITS = 4  # what an encoder's batches change in a vector lies below
CONFIDENCE = 0.975  # a band is flagged only where the upper limit of a 95% interval lies below that share

Encode = Callable[[Sequence[str]], NDArray[np.floating]]
Pieces = Callable[[Sequence[str]], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Band:
    """Chunks more than 32 pieces longer than `limit`, and not as much longer than the next one.

    `share` is what the pieces beyond the limit have in the chunks' vectors, over their share in the length: about 1
    where they were read, about 0 where they weren't. `high` is the upper limit of its 95% interval.
    """

    limit: int
    n_asked: int
    share: float
    high: float

    @property
    def is_cut(self) -> bool:
        """Whether what lies beyond the limit is surely unread."""
        return self.high < READ_SHARE

    def to_json(self) -> dict[str, object]:
        """As plain JSON values."""
        longer = self.limit + LEAST_UNREAD
        return {"longer_than": longer, "n_asked": self.n_asked, "share_read": self.share, "cut": self.is_cut}


def find_truncated(
    sample: Sample, seed: int = 0, encode: Encode | None = None, pieces: Pieces | None = None
) -> Finding:
    """Flags `truncated`, one for each chunk whose end its vector can't know.

    Counted: chunks with more encoder tokens than the encoder's limit, special tokens included; score is the count,
    threshold the limit, and confidence 1. Measured, where `encode` is given and counts show nothing: of up to 60 chunks
    of each band of lengths, parts of at most 128 pieces up to a usual limit and one behind it are encoded, and the
    chunk's vector is fitted by theirs (least squares). Score is the last part's coefficient as a share of all, over its
    share in the length, the mean over chunks; threshold 0.5. Where it lies below with confidence, the band and all
    longer chunks are flagged. `encode(texts)` gives vectors, float, shape (n, dim); `pieces(texts)` counts the tokens
    of those chunks for which the index has no count.
    """
    limit = sample.max_tokens
    tokens = _tokens(sample, pieces)
    over = (tokens > limit) & (limit > 0)
    bands = _bands(sample, tokens, seed, encode) if encode and not over.any() else []
    cut = next((band for band in bands if band.is_cut), None)
    unread = tokens > cut.limit + LEAST_UNREAD if cut else np.zeros(len(sample), dtype=bool)
    flags = [_counted(sample.chunks[i], int(tokens[i]), limit) for i in np.flatnonzero(over)]
    if cut:
        flags += [_measured(sample.chunks[i], int(tokens[i]), cut) for i in np.flatnonzero(unread)]
    lost = int((tokens[over] - limit).sum())
    if cut:
        lost = int((tokens[unread] - cut.limit).sum())
    flagged = over | unread
    return Finding(
        flags=tuple(flags),
        numbers={
            "n_truncated": int(flagged.sum()),
            "max_tokens": limit,
            "longest_chunk_tokens": int(tokens.max(initial=0)),
            "share_of_tokens_lost": lost / int(tokens.sum()) if tokens.sum() else 0.0,
            "read_tokens_at_most": cut.limit if cut else None,
            "bands": [band.to_json() for band in bands],
            "threshold": READ_SHARE,
        },
        scores={
            "truncated": [
                {"encoder_tokens": int(n), "flagged": bool(is_flagged)}
                for n, is_flagged in zip(tokens, flagged, strict=True)
            ]
        },
    )


def _tokens(sample: Sample, pieces: Pieces | None) -> NDArray[np.int64]:
    """The encoder tokens of every chunk, counted anew where the index holds no count."""
    tokens = np.array([chunk.encoder_tokens for chunk in sample.chunks], dtype=np.int64)
    unknown = np.flatnonzero(tokens <= 0)
    if pieces and len(unknown):
        tokens[unknown] = pieces([sample.chunks[i].embedding_text for i in unknown])
    return tokens


def _bands(sample: Sample, tokens: NDArray[np.int64], seed: int, encode: Encode) -> list[Band]:
    """Every band with enough chunks, the shortest first."""
    borders = [*(limit + LEAST_UNREAD for limit in LIMITS), np.inf]
    bands = []
    for limit, (low, high) in zip(LIMITS, pairwise(borders), strict=True):
        members = np.flatnonzero((tokens > low) & (tokens <= high))
        if len(members) < MIN_ASKED:
            continue
        place_of = {sample.chunks[i].id: i for i in members.tolist()}
        asked = sorted(place_of[name] for name in drawn(place_of, N_ASKED, seed))
        parts = [_parts(sample.chunks[i].embedding_text, int(tokens[i]), limit) for i in asked]
        vectors = np.asarray(encode([text for texts in parts for text in texts]), dtype=np.float64)
        n_parts = len(parts[0])
        shares = [
            _share_of_last(sample.vectors[i], vectors[row * n_parts : (row + 1) * n_parts].T, list(map(len, texts)))
            for row, (i, texts) in enumerate(zip(asked, parts, strict=True))
        ]
        interval = bootstrap_interval(shares)
        share = round(interval.mean, SHARE_DIGITS)
        bands.append(Band(limit, len(asked), share, interval.high))
    return bands


def _parts(text: str, tokens: int, limit: int) -> list[str]:
    """The text up to the limit in equal parts, and one part behind it; by characters in proportion."""
    per_token = len(text) / tokens
    n_parts = -(-limit // PART)
    borders = [round(per_token * limit * i / n_parts) for i in range(n_parts + 1)]
    end = round(per_token * min(tokens, limit + PART))
    return [text[low:high] for low, high in pairwise([*borders, end])]


def _share_of_last(vector: NDArray[np.float32], parts: NDArray[np.float64], lengths: Sequence[int]) -> float:
    """The last part's coefficient in `vector` ≈ parts · coefficients, over their sum and its share in the length."""
    found = np.linalg.lstsq(parts, vector.astype(np.float64), rcond=None)[0]
    return float(found[-1] / max(np.abs(found).sum(), 1e-9) * sum(lengths) / max(1, lengths[-1]))


def _counted(chunk: Chunk, tokens: int, limit: int) -> Flag:
    lost = tokens - limit
    return _flag(
        chunk,
        (float(tokens), float(limit), 1.0),
        lost / tokens,
        {"tokens_lost": lost},
        f"Split this chunk below {limit} encoder tokens: its last {lost} tokens are invisible to dense search.",
    )


def _measured(chunk: Chunk, tokens: int, band: Band) -> Flag:
    lost = tokens - band.limit
    return _flag(
        chunk,
        (band.share, READ_SHARE, CONFIDENCE),
        lost / tokens,
        {
            "tokens_lost": lost,
            "read_tokens_at_most": band.limit,
            "n_asked": band.n_asked,
            "null": "the share that the end of a chunk has in its length",
        },
        f"Encode this chunk again in parts: its vector seems to hold its first {band.limit} tokens at most.",
    )


def _flag(
    chunk: Chunk, measured: tuple[float, float, float], share: float, told: dict[str, object], action: str
) -> Flag:
    score, threshold, confidence = measured
    n_unread = max(1, int(share * len(chunk.text)))
    return Flag(
        kind="truncated",
        subject=chunk.id,
        score=score,
        threshold=threshold,
        confidence=confidence,
        evidence={
            "document_id": chunk.document_id,
            "share_lost": share,
            **told,
            "unread_from_about": chunk.end - n_unread,
            "unread_text": opening(chunk.text[-n_unread:]),
        },
        action=action,
    )

"""Chunks that the encoder could not read to their end."""

from __future__ import annotations

from core.types import Chunk, Flag
from eval.diagnose.finding import Finding, opening
from eval.sample import Sample


def find_truncated(sample: Sample) -> Finding:
    """Flags for chunks with more encoder tokens than the encoder's limit, special tokens included.

    The score is the chunk's token count, the threshold the limit; there is nothing to estimate, so confidence is 1.
    """
    limit = sample.max_tokens
    over = [chunk.encoder_tokens > limit > 0 for chunk in sample.chunks]
    lost = sum(chunk.encoder_tokens - limit for chunk, is_over in zip(sample.chunks, over, strict=True) if is_over)
    total = sum(chunk.encoder_tokens for chunk in sample.chunks)
    return Finding(
        flags=tuple(_flag(chunk, limit) for chunk, is_over in zip(sample.chunks, over, strict=True) if is_over),
        numbers={
            "n_truncated": sum(over),
            "max_tokens": limit,
            "longest_chunk_tokens": max((chunk.encoder_tokens for chunk in sample.chunks), default=0),
            "share_of_tokens_lost": lost / total if total else 0.0,
        },
        scores={
            "truncated": [
                {"encoder_tokens": chunk.encoder_tokens, "flagged": is_over}
                for chunk, is_over in zip(sample.chunks, over, strict=True)
            ]
        },
    )


def _flag(chunk: Chunk, limit: int) -> Flag:
    lost = chunk.encoder_tokens - limit
    share = lost / chunk.encoder_tokens
    return Flag(
        kind="truncated",
        subject=chunk.id,
        score=float(chunk.encoder_tokens),
        threshold=float(limit),
        confidence=1.0,
        evidence={
            "document_id": chunk.document_id,
            "tokens_lost": lost,
            "share_lost": share,
            "unread_from_about": chunk.end - int(share * len(chunk.text)),
            "unread_text": opening(chunk.text[-max(1, int(share * len(chunk.text))) :]),
        },
        action=f"Split this chunk below {limit} encoder tokens: its last {lost} tokens are invisible to dense search.",
    )

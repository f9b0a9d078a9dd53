"""Muddy chunks: passages whose two halves speak of different things, so that one vector serves neither."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from core.types import Chunk, Flag
from eval.diagnose.finding import Finding, opening
from eval.sample import Sample, normalized

MIN_SENTENCES = 4  # two a side: with fewer, one odd sentence is a "topic"
MIN_CHUNKS = 30  # below it there is no corpus to compare a chunk with
N_DEVIATIONS = 3  # more flags than chance gives: its Poisson spread, and the median and scale are estimated too
MAX_COSINE = 0.999  # keeps arctanh finite for halves that say the same
PEERS = 60  # chunks with the nearest number of sentences that make up a chunk's null
Z_LIMIT = float(norm.ppf(0.95))  # 1.645: one clean chunk in twenty lies above it where the null is normal
SENTENCES_AT_ONCE = 50_000  # in memory as float32 while scoring


@dataclass(frozen=True, slots=True)
class Splits:
    """The best two-way split of every scored chunk; all arrays have shape (n_scored,).

    `contrast` is the Ward contrast, `cosine` that of the two sides' means after centring on the corpus' mean sentence,
    `left` the number of sentences on the left side.
    """

    chunks: NDArray[np.int64]
    n_sentences: NDArray[np.int64]
    contrast: NDArray[np.float64]
    cosine: NDArray[np.float64]
    left: NDArray[np.int64]


def find_muddy(sample: Sample) -> Finding:
    """Flags for chunks whose halves disagree more than those of this corpus' chunks of the same length.

    The score is a robust z: the sum of two robust z, of the log Ward contrast and of the cosine of the two sides at the
    best split (negated, after Fisher's transformation arctanh), standardised again. The contrast finds even halves
    best, the cosine small foreign parts. Each is taken against the 60 or more chunks with the nearest number of
    sentences: (value - median) / (median - 16% quantile). Only the lower half sets the scale, so muddy chunks in the
    corpus don't hide one another. The threshold 1.645 lets about 5% of a clean corpus through; the confidence is one
    minus the share of the flags at this score or above that a clean corpus would give as well.
    """
    splits = best_splits(sample)
    is_judged = len(splits.chunks) >= MIN_CHUNKS
    scores: list[dict[str, object]] = [{"score": None, "flagged": False, "split_at": None} for _ in sample.chunks]
    numbers = {
        "n_scored": len(splits.chunks),
        "n_too_short": len(sample) - len(splits.chunks),
        "min_sentences": MIN_SENTENCES,
        "threshold": Z_LIMIT,
        "judged": is_judged,
    }
    if not is_judged:
        note = (
            f"Too few chunks with {MIN_SENTENCES} or more sentences to compare: {len(splits.chunks)} of {MIN_CHUNKS}."
        )
        return Finding(
            numbers=numbers | {"n_flagged": 0, "n_expected_by_chance": 0, "exceeds_chance": False, "note": note},
            scores={"muddy": scores},
        )
    parts = _robust_z(np.log(np.maximum(splits.contrast, 1e-9)), splits.n_sentences)
    parts = parts + _robust_z(-np.arctanh(np.clip(splits.cosine, -MAX_COSINE, MAX_COSINE)), splits.n_sentences)
    z = _robust_z(parts, splits.n_sentences)
    confidence = _confidence(z)
    flags = []
    for place, index in enumerate(splits.chunks.tolist()):
        chunk, left = sample.chunks[index], int(splits.left[place])
        split_at = chunk.sentences[left].start
        scores[index] = {"score": float(z[place]), "flagged": bool(z[place] > Z_LIMIT), "split_at": split_at}
        if z[place] > Z_LIMIT:
            evidence = {"contrast": float(splits.contrast[place]), "cosine_of_sides": float(splits.cosine[place])}
            flags.append(_flag(chunk, left, float(z[place]), float(confidence[place]), evidence))
    expected = len(z) * float(norm.sf(Z_LIMIT))
    return Finding(
        flags=tuple(flags),
        numbers=numbers
        | {
            "n_flagged": len(flags),
            "n_expected_by_chance": round(expected),
            "exceeds_chance": len(flags) > expected + N_DEVIATIONS * expected**0.5,
        },
        scores={"muddy": scores},
    )


def best_splits(sample: Sample) -> Splits:
    """The best contiguous split of every chunk with at least 4 sentences.

    Sentence i weighs the square root of its number of words: a heading or list mark counts little, and a long
    sentence, which is still one noisy vector, doesn't count in proportion to its length.
    """
    by_length: dict[int, list[int]] = {}
    for index, chunk in enumerate(sample.chunks):
        if len(chunk.sentences) >= MIN_SENTENCES:
            by_length.setdefault(len(chunk.sentences), []).append(index)
    center = _mean_sentence(sample)
    columns = []
    for n_sentences, members in sorted(by_length.items()):
        at_once = max(1, SENTENCES_AT_ONCE // n_sentences)
        for start in range(0, len(members), at_once):
            batch = members[start : start + at_once]
            vectors = np.stack([np.asarray(sample.sentence_vectors[i], dtype=np.float32) for i in batch])
            words = [[len(text.split()) for text in sample.sentence_texts(i)] for i in batch]
            contrast, cosine, left = ward_split(vectors, np.sqrt(np.maximum(words, 1)), center)
            columns.append((np.array(batch), np.full(len(batch), n_sentences), contrast, cosine, left))
    if not columns:
        none, zero = np.zeros(0, dtype=np.int64), np.zeros(0)
        return Splits(none, none, zero, zero, none)
    stacked = [np.concatenate(column) for column in zip(*columns, strict=True)]
    order = np.argsort(stacked[0])
    return Splits(*(column[order] for column in stacked))


def ward_split(
    vectors: NDArray[np.float32], weights: NDArray[np.float64], center: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Contrast, cosine of the sides and left size of the best split of each sequence.

    `vectors`: float32, shape (m, n, dim), unit rows; `weights`: (m, n), positive; `center`: (dim,), the origin for the
    cosine only. Ward (1963): the rise of the within-group sum of squares when two groups are joined, w_L·w_R / w ·
    ‖mean_L - mean_R‖², here with weights divided by their mean per sequence. Ties take the earlier split.
    """
    weights = weights / weights.mean(axis=1, keepdims=True)
    sums = np.cumsum(vectors * weights[:, :, None].astype(np.float32), axis=1)
    left_weight = np.cumsum(weights, axis=1)[:, :-1]
    right_weight = weights.sum(axis=1, keepdims=True) - left_weight
    left = sums[:, :-1] / left_weight[:, :, None]
    right = (sums[:, -1:] - sums[:, :-1]) / right_weight[:, :, None]
    profile = left_weight * right_weight / weights.sum(axis=1, keepdims=True) * ((left - right) ** 2).sum(axis=2)
    best = profile.argmax(axis=1)
    rows = np.arange(len(vectors))
    sides = [normalized(side[rows, best] - center) for side in (left, right)]
    cosine = np.einsum("id,id->i", *sides)
    return profile[rows, best].astype(np.float64), cosine.astype(np.float64), best + 1


def _mean_sentence(sample: Sample) -> NDArray[np.float32]:
    total = np.zeros(sample.vectors.shape[1])
    for vectors in sample.sentence_vectors:
        total += vectors.sum(axis=0, dtype=np.float64)
    return (total / max(1, sum(map(len, sample.sentence_vectors)))).astype(np.float32)


def _robust_z(values: NDArray[np.float64], n_sentences: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each value against its peers of about the same number of sentences, in lower-half standard deviations."""
    z = np.empty_like(values)
    for length in np.unique(n_sentences):
        distance = np.abs(n_sentences - length)
        n_peers = max(PEERS, int((distance == 0).sum()))
        peers = values[np.argsort(distance, kind="stable")[:n_peers]]
        median = np.median(peers)
        spread = max(median - np.quantile(peers, norm.cdf(-1)), 1e-6)
        mine = distance == 0
        z[mine] = (values[mine] - median) / spread
    return z


def _confidence(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """One minus the tail false discovery rate n·P(Z ≥ z) / #(z_i ≥ z), rising with z, within [0, .99]."""
    order = np.argsort(-z, kind="stable")
    rate = len(z) * norm.sf(z[order]) / np.arange(1, len(z) + 1)
    rate = np.minimum.accumulate(rate[::-1])[::-1]
    confidence = np.empty_like(z)
    confidence[order] = np.clip(1 - rate, 0, 0.99)
    return confidence


def _flag(chunk: Chunk, left: int, z: float, confidence: float, evidence: dict[str, object]) -> Flag:
    split_at = chunk.sentences[left].start
    return Flag(
        kind="muddy_chunk",
        subject=chunk.id,
        score=z,
        threshold=Z_LIMIT,
        confidence=confidence,
        evidence={
            "document_id": chunk.document_id,
            "split_at": split_at,
            "left": opening(chunk.text[: split_at - chunk.start]),
            "right": opening(chunk.text[split_at - chunk.start :]),
            "n_sentences": len(chunk.sentences),
            **evidence,
        },
        action=f"Split this chunk at character {split_at} of its document, so that each half gets its own vector.",
    )

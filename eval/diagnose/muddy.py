"""Muddy chunks: passages whose two halves speak of different things, so that one vector serves neither."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from core.types import Chunk, Flag
from eval.diagnose.finding import Finding, opening
from eval.diagnose.sides import MIN_SENTENCES, NAMES, Sides, find_sides
from eval.sample import Sample

MIN_CHUNKS = 30  # below it there is no corpus to compare a chunk with
N_DEVIATIONS = 3  # more flags than chance gives: its Poisson spread, and the median and scale are estimated too
PEERS = 60  # chunks with the nearest number of sentences that make up a chunk's null
Z_LIMIT = float(norm.ppf(0.95))  # 1.645: one clean chunk in twenty lies above it where the null is normal
FAR = float(norm.isf(0.001))  # 3.09
FEW = 2  # chunks, which say nothing about a corpus
MORE_ALARMS = 1.6  # collections have up to so many times the alarms of a normal null (`python -m benchmarks.validate`)
FARTHEST = 8.0  # deviations; what lies farther out counts as that
Model = Mapping[str, NDArray[np.float64]]
NULL = "chunks of this corpus with about as many sentences"


def find_muddy(sample: Sample, seed: int = 0, model: Model | None = None) -> Finding:
    """Flags for chunks whose sides belong together less than those of this corpus' chunks of the same length.

    Every feature of `find_sides` is taken against the 60 or more chunks with the nearest number of sentences: (value -
    median) / (median - 16% quantile). Only the lower half sets the scale, so muddy chunks in the corpus don't hide one
    another. A logistic regression, trained on chunks joined from texts of other corpora, weighs them; its logit,
    standardised in the same way and stretched so that 1.645 lets about 5% of a clean corpus through, is the score. The
    confidence is one minus the share of the flags at this score or above that a clean corpus would give as well, one
    with 1.6 times the alarms of a normal null, as some have.
    `model` replaces the shipped coefficients.
    """
    sides = find_sides(sample, seed)
    is_judged = len(sides.chunks) >= MIN_CHUNKS
    scores: list[dict[str, object]] = [{"score": None, "flagged": False, "split_at": None} for _ in sample.chunks]
    numbers = {
        "n_scored": len(sides.chunks),
        "n_too_short": len(sample) - len(sides.chunks),
        "min_sentences": MIN_SENTENCES,
        "threshold": Z_LIMIT,
        "judged": is_judged,
    }
    if not is_judged:
        note = f"Too few chunks with {MIN_SENTENCES} or more sentences to compare: {len(sides.chunks)} of {MIN_CHUNKS}."
        return Finding(
            numbers=numbers | {"n_flagged": 0, "n_expected_by_chance": 0, "exceeds_chance": False, "note": note},
            scores={"muddy": scores},
        )
    z = muddy_scores(sides, model or load_shipped())
    confidence = _confidence(z)
    flags = []
    for place, index in enumerate(sides.chunks.tolist()):
        chunk, left = sample.chunks[index], int(sides.left[place])
        is_flagged = bool(z[place] > Z_LIMIT)
        scores[index] = {"score": float(z[place]), "flagged": is_flagged, "split_at": chunk.sentences[left].start}
        if is_flagged:
            flags.append(_flag(chunk, sides, place, float(z[place]), float(confidence[place])))
    return Finding(
        flags=tuple(flags),
        numbers=numbers
        | {
            "n_flagged": len(flags),
            "n_expected_by_chance": round(len(z) * float(norm.sf(Z_LIMIT))),
            "exceeds_chance": exceeds_chance(z),
        },
        scores={"muddy": scores},
    )


def muddy_features(sides: Sides) -> NDArray[np.float64]:
    """Each feature of the sides against its peers, and the log of the number of sentences, shape (n_scored, 10)."""
    return np.hstack([robust_z(sides.features, sides.n_sentences), np.log(sides.n_sentences)[:, None]])


def muddy_scores(sides: Sides, model: Model) -> NDArray[np.float64]:
    """The score of every scored chunk, float64, shape (n_scored,): how far its logit lies above its peers'."""
    kept = np.clip(muddy_features(sides), model["lowest"], model["highest"])
    logits = model["intercept"] + (kept - model["means"]) / model["deviations"] @ model["coefficients"]
    return robust_z(logits[:, None], sides.n_sentences)[:, 0] * Z_LIMIT / model["limit"]


def exceeds_chance(z: NDArray[np.float64]) -> bool:
    """Whether more scores lie above the limit than a clean corpus has, or more lie far above it."""
    for limit in (Z_LIMIT, FAR):
        at_most = MORE_ALARMS * len(z) * float(norm.sf(limit))
        if (z > limit).sum() > max(FEW, at_most + N_DEVIATIONS * at_most**0.5):
            return True
    return False


@cache
def load_shipped() -> Model:
    """The coefficients that come with Limpid, trained by `python -m benchmarks.validate --train`."""
    shipped = json.loads(files("eval.diagnose").joinpath("muddy.json").read_text(encoding="utf-8"))
    if tuple(shipped["features"]) != NAMES:
        raise RuntimeError("eval/diagnose/muddy.json has other features: run python -m benchmarks.validate --train")
    return {name: np.array(values) for name, values in shipped["model"].items()}


def robust_z(values: NDArray[np.float64], n_sentences: NDArray[np.int64]) -> NDArray[np.float64]:
    """Each value against its peers of about the same number of sentences, in lower-half standard deviations.

    `values`: (n, n_features), NaN where unknown, which gives 0. At most 8 either way.
    """
    z = np.zeros_like(values)
    for length in np.unique(n_sentences):
        distance = np.abs(n_sentences - length)
        n_peers = max(PEERS, int((distance == 0).sum()))
        peers = values[np.argsort(distance, kind="stable")[:n_peers]]
        mine = distance == 0
        for column in range(values.shape[1]):
            known = peers[~np.isnan(peers[:, column]), column]
            if len(known):
                median, low = np.quantile(known, (0.5, norm.cdf(-1)))
                z[mine, column] = (values[mine, column] - median) / max(median - low, 1e-6)
    return np.clip(np.nan_to_num(z), -FARTHEST, FARTHEST)


def _confidence(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """One minus the tail false discovery rate 1.6 · n · P(Z ≥ z) / #(z_i ≥ z), rising with z, within [0, .99]."""
    order = np.argsort(-z, kind="stable")
    rate = MORE_ALARMS * len(z) * norm.sf(z[order]) / np.arange(1, len(z) + 1)
    rate = np.minimum.accumulate(rate[::-1])[::-1]
    confidence = np.empty_like(z)
    confidence[order] = np.clip(1 - rate, 0, 0.99)
    return confidence


def _flag(chunk: Chunk, sides: Sides, place: int, z: float, confidence: float) -> Flag:
    split_at = chunk.sentences[sides.left[place]].start
    told = {name: float(value) for name, value in zip(NAMES, sides.features[place], strict=True)}
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
            "contrast": float(sides.contrast[place]),
            "cosine_of_sides": -told["cosine"],
            "shared_words": None if np.isnan(told["shared words"]) else -told["shared words"],
            "shared_neighbours": None if np.isnan(told["shared neighbours"]) else -told["shared neighbours"],
            "null": NULL,
        },
        action=f"Split this chunk at character {split_at} of its document, so that each half gets its own vector.",
    )

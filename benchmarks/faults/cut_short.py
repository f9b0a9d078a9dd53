"""An index whose vectors were made of the beginnings of longer texts only, as an encoder does that stops silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

import numpy as np

from benchmarks.faults.calibration import Claims
from benchmarks.faults.found import Found
from benchmarks.faults.material import Material
from core.embed import Embedder
from core.types import Chunk
from eval.diagnose.finding import Finding
from eval.diagnose.truncation import LEAST_UNREAD, MIN_ASKED, find_truncated
from eval.sample import Sample, normalized

LIMITS = (64, 256)  # pieces that are read
CLAIMED = 512  # the limit that the index states
MOST_CHUNKS = 600  # whose vectors are made anew


def plant_cut_short(material: Material, encoder: Embedder) -> Iterator[Found]:
    """What is found of vectors that stop at either limit; the chunks of the collection itself are controls as well."""
    encode, pieces = encoder.encode_queries, encoder.tokenizer.pieces
    own = find_truncated(material.sample, 0, encode, pieces)
    for limit in LIMITS:
        planted = cut_short(material, limit, encoder)
        if planted is None or len(planted[0]) < MIN_ASKED:
            continue
        cut, whole = (find_truncated(sample, 0, encode, pieces) for sample in planted)
        if not cut.numbers["bands"]:
            continue
        alarms = [bool(whole.flags), bool(own.flags)]
        yield Found(
            f"truncated at {limit} tokens",
            material.name,
            np.array([-_share(cut)]),
            np.array([-_share(whole)] + ([-_share(own)] if own.numbers["bands"] else [])),
            float(bool(cut.flags)),
            float(np.mean(alarms)),
            claims=Claims.of(
                (finding.flags[0].confidence, finding is cut) for finding in (cut, whole, own) if finding.flags
            ),  # a finding's flags stand or fall together
        )


def _share(finding: Finding) -> float:
    """The least that ends have in the vectors, of all bands."""
    return min(band["share_read"] for band in finding.numbers["bands"])


def cut_short(material: Material, limit: int, encoder: Embedder) -> tuple[Sample, Sample] | None:
    """Sample with vectors of the first `limit` tokens alone, and one with vectors of everything; None without chunks.

    Chunks that aren't longer are joined with those after them in their document. A whole one's vector is the mean of
    its parts', by their length; both state a limit that none exceeds.
    """
    joined = list(_joined(material.sample, limit + LEAST_UNREAD))[:MOST_CHUNKS]
    if not joined:
        return None
    chunks = tuple(chunk for chunk, _ in joined)
    none = tuple(np.zeros((0, material.sample.vectors.shape[1]), dtype=np.float16) for _ in chunks)
    whole = Sample(chunks, normalized(np.stack([vector for _, vector in joined])), none, CLAIMED)
    read = [_first(chunk.embedding_text, limit, encoder) for chunk in chunks]
    return replace(whole, vectors=encoder.encode_documents(read)), whole


def _joined(sample: Sample, above: int) -> Iterator[tuple[Chunk, np.ndarray]]:
    """Runs of chunks of one document with more than `above` tokens together, each as one chunk with its vector."""
    for _, places in groupby(range(len(sample)), key=lambda i: sample.chunks[i].document_id):
        run: list[int] = []
        for i in places:
            if run and sample.chunks[i].start < sample.chunks[run[-1]].end:
                continue
            run.append(i)
            tokens = np.array([sample.chunks[j].encoder_tokens for j in run])
            if tokens.sum() > above:
                yield _join([sample.chunks[j] for j in run]), tokens @ sample.vectors[run]
                run = []


def _join(chunks: list[Chunk]) -> Chunk:
    """One chunk; what stood between them, which isn't known, is blanks."""
    text = ""
    for chunk in chunks:
        text += " " * (chunk.start - chunks[0].start - len(text)) + chunk.text
    tokens = sum(chunk.encoder_tokens for chunk in chunks)
    return replace(chunks[0], text=text, end=chunks[0].start + len(text), sentences=(), encoder_tokens=tokens)


def _first(text: str, limit: int, encoder: Embedder) -> str:
    """As much of the text as the encoder reads when it stops at `limit` tokens, special ones included."""
    offsets = encoder.tokenizer.offsets(text)
    n_read = limit - encoder.tokenizer.n_special_tokens
    return text if len(offsets) <= n_read else text[: offsets[n_read - 1][1]]

"""Passages that the index holds more than once, and sentences that many documents repeat."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from core.types import Flag
from eval.diagnose.finding import Finding, opening
from eval.sample import Sample
from eval.words import shingles

NEAR_DUPLICATE_COSINE = 0.92  # above it two passages of the MiniLM family say the same in nearly the same words
# Vectors alone can't tell: passages of one document share its title, and with it much of their vectors. Two passages
# are near duplicates only where the smaller one also has this share of its word triples in the other (Broder 1997,
# "On the resemblance and containment of documents"). Of the pairs above the cosine, a corpus of abstracts without
# copies had 0.17 at most (95%), one with real copies 1.0, templates that differ in a number 0.33 and more.
MIN_CONTAINMENT = 0.3
ROWS_AT_ONCE = 1024
PAIRS_PER_CHUNK = 64  # later neighbours kept per chunk: groups stay connected and memory stays bounded
MEMBERS_SHOWN = 12
BOILERPLATE_MIN_DOCUMENTS = 5
BOILERPLATE_SHARE = 0.01  # of the documents, where that is more
BOILERPLATE_MIN_CHARACTERS = 20
BOILERPLATE_SHOWN = 50


def find_duplicates(sample: Sample) -> Finding:
    """Flags `duplicate`, one for each group of equal or nearly equal chunks.

    Exact: equal SHA-256 of the text with white space collapsed. Near: chunk vectors with a cosine above 0.92 and
    `MIN_CONTAINMENT` of the smaller text's word triples in the other. Groups are the connected components of these
    links, so the least similar members may lie below the threshold; the score is the lowest cosine to the group's
    first chunk, and the confidence says whether all texts are equal.
    """
    n = len(sample)
    digests = [_digest(chunk.text) for chunk in sample.chunks]
    first_of: dict[str, int] = {}
    exact = [(first_of.setdefault(digest, i), i) for i, digest in enumerate(digests)]
    distinct = np.array(sorted(first_of.values()), dtype=np.int64)
    near = distinct[near_pairs(sample.vectors[distinct])] if n else np.zeros((0, 2), dtype=np.int64)
    near = near[_share_words(sample, near)]
    pairs = np.concatenate([np.array(exact, dtype=np.int64).reshape(-1, 2), near])
    labels = (
        connected_components(
            coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n)), directed=False
        )[1]
        if n
        else np.zeros(0, dtype=np.int32)
    )
    groups = [members for members in _members(labels) if len(members) > 1]
    group_of = {member: number for number, members in enumerate(groups) for member in members}
    n_exact = sum(i != j for i, j in exact)
    return Finding(
        flags=tuple(_duplicate_flag(sample, members, digests) for members in groups),
        numbers={
            "n_duplicate_groups": len(groups),
            "n_chunks_in_groups": len(group_of),
            "n_exact_copies": n_exact,
            "largest_group": max(map(len, groups), default=0),
            "cosine_threshold": NEAR_DUPLICATE_COSINE,
        },
        scores={"duplicate": [{"group": group_of.get(i), "flagged": i in group_of} for i in range(n)]},
    )


def near_pairs(vectors: NDArray[np.float32], threshold: float = NEAR_DUPLICATE_COSINE) -> NDArray[np.int64]:
    """Pairs i < j of rows with a cosine above the threshold, shape (n_pairs, 2), at most 64 later rows for each i.

    Computed in blocks over the upper triangle: memory is ROWS_AT_ONCE × n_chunks floats at most.
    """
    found = [np.zeros((0, 2), dtype=np.int64)]
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        block = vectors[start : start + ROWS_AT_ONCE]
        rows, columns = np.nonzero(block @ vectors[start:].T > threshold)
        later = columns > rows
        rows, columns = rows[later], columns[later]
        _, first, counts = np.unique(rows, return_index=True, return_counts=True)
        kept = np.arange(len(rows)) - np.repeat(first, counts) < PAIRS_PER_CHUNK
        found.append(np.stack([rows[kept] + start, columns[kept] + start], axis=1))
    return np.concatenate(found)


def _share_words(sample: Sample, pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which pairs of chunks also share their words, bool, shape (n_pairs,)."""
    held = {int(i): shingles(sample.chunks[i].text) for i in np.unique(pairs)}
    shared = np.zeros(len(pairs), dtype=bool)
    for row, (i, j) in enumerate(pairs.tolist()):
        smaller = min(len(held[i]), len(held[j]))
        shared[row] = len(held[i] & held[j]) >= MIN_CONTAINMENT * smaller
    return shared


def find_boilerplate(sample: Sample) -> Finding:
    """Flags `boilerplate`, one for each set of documents that repeat the same sentences.

    A sentence counts when its text, white space collapsed, occurs in at least 5 documents and 1% of them. Sentences
    that stand in exactly the same documents are one flag. The score is the number of documents.
    """
    documents_of: dict[str, set[str]] = defaultdict(set)
    for i, chunk in enumerate(sample.chunks):
        for text in sample.sentence_texts(i):
            if len(text) >= BOILERPLATE_MIN_CHARACTERS:
                documents_of[" ".join(text.split())].add(chunk.document_id)
    n_documents = len({chunk.document_id for chunk in sample.chunks})
    limit = max(BOILERPLATE_MIN_DOCUMENTS, int(np.ceil(BOILERPLATE_SHARE * n_documents)))
    blocks: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for text, documents in documents_of.items():
        if len(documents) >= limit:
            blocks[tuple(sorted(documents))].append(text)
    ordered = sorted(blocks.items(), key=lambda item: (-len(item[0]), item[1]))
    return Finding(
        flags=tuple(_boilerplate_flag(d, texts, limit, n_documents) for d, texts in ordered[:BOILERPLATE_SHOWN]),
        numbers={
            "n_boilerplate_sentences": sum(len(texts) for texts in blocks.values()),
            "n_boilerplate_flags_left_out": max(0, len(ordered) - BOILERPLATE_SHOWN),
            "threshold_documents": limit,
        },
    )


def _digest(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def _members(labels: NDArray[np.int32]) -> list[list[int]]:
    """The indices of every component, components ordered by their first member."""
    members: dict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels.tolist()):
        members[label].append(index)
    return list(members.values())


def _duplicate_flag(sample: Sample, members: Sequence[int], digests: Sequence[str]) -> Flag:
    chunks = [sample.chunks[i] for i in members]
    are_equal = len({digests[i] for i in members}) == 1
    cosines = sample.vectors[list(members)] @ sample.vectors[members[0]]
    return Flag(
        kind="duplicate",
        subject=chunks[0].id,
        score=1.0 if are_equal else float(min(1.0, cosines.min())),
        threshold=NEAR_DUPLICATE_COSINE,
        confidence=1.0 if are_equal else 0.9,
        evidence={
            "n_members": len(members),
            "n_documents": len({chunk.document_id for chunk in chunks}),
            "texts_are_equal": are_equal,
            "members": [
                {"chunk_id": chunk.id, "document_id": chunk.document_id, "text": opening(chunk.text)}
                for chunk in chunks[:MEMBERS_SHOWN]
            ],
            "member_ids": [chunk.id for chunk in chunks],
        },
        action="Keep one of these passages: the copies take places in the result list without adding an answer.",
    )


def _boilerplate_flag(documents: Sequence[str], texts: Sequence[str], limit: int, n_documents: int) -> Flag:
    return Flag(
        kind="boilerplate",
        subject=opening(texts[0], 80),
        score=float(len(documents)),
        threshold=float(limit),
        confidence=min(0.99, 0.5 + 0.5 * len(documents) / n_documents),
        evidence={
            "n_documents": len(documents),
            "share_of_documents": len(documents) / n_documents,
            "sentences": [opening(text) for text in texts[:MEMBERS_SHOWN]],
            "n_sentences": len(texts),
            "documents": list(documents[:MEMBERS_SHOWN]),
        },
        action="Strip this text before chunking: it makes unrelated passages look alike.",
    )

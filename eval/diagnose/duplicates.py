"""Passages that the index holds more than once, and sentences that many documents repeat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.types import Flag
from eval.diagnose.finding import MEMBERS_SHOWN, Finding, opening, shown_members
from eval.resemblance import likely_pairs, resemblance, shingle_hashes
from eval.sample import Sample

# Half of the word triples that either of two texts holds stand in both. Copies in which every tenth word was changed
# still share that much, and templates that differ in a number or a name; passages on one subject share a tenth.
MIN_RESEMBLANCE = 0.5
BOILERPLATE_MIN_DOCUMENTS = 5
BOILERPLATE_SHARE = 0.01  # of the documents, where that is more
BOILERPLATE_MIN_CHARACTERS = 20
BOILERPLATE_SHOWN = 50


def find_duplicates(sample: Sample) -> Finding:
    """Flags `duplicate`, one for each group of chunks with equal or nearly equal texts.

    The resemblance of two texts is the share of the word triples of both that stand in both (Broder 1997, "On the
    resemblance and containment of documents"), 1 for texts that are equal but for case, punctuation and white space.
    Titles aren't part of it, and vectors don't enter: they draw passages of one document together that say different
    things. From the first chunk on, each that is in no group yet takes with it all later ones that resemble it by 0.5
    or more; so every member resembles the first, and one that is dropped is never unlike the one that is kept. The
    score of a group is the lowest resemblance to its first chunk, that of a chunk the highest to any other.
    """
    n = len(sample)
    groups, best = copies([chunk.text for chunk in sample.chunks])
    group_of = {i: number for number, members in enumerate(groups) for i in members}
    return Finding(
        flags=tuple(_duplicate_flag(sample, members) for members in groups),
        numbers={
            "n_duplicate_groups": len(groups),
            "n_chunks_in_groups": len(group_of),
            "n_exact_copies": sum(_is_copy(sample, members, j) for members in groups for j in list(members)[1:]),
            "largest_group": max(map(len, groups), default=0),
            "threshold": MIN_RESEMBLANCE,
        },
        scores={
            "duplicate": [
                {"score": float(best[i]), "group": group_of.get(i), "flagged": i in group_of} for i in range(n)
            ]
        },
    )


def copies(texts: Sequence[str]) -> tuple[list[dict[int, float]], NDArray[np.float64]]:
    """Groups of texts that resemble their first member, with their resemblance to it, and each text's highest to any.

    See `find_duplicates`. Groups have two members or more, in order.
    """
    hashes = shingle_hashes(texts)
    pairs = likely_pairs(hashes)
    alike = np.array([resemblance(hashes[i], hashes[j]) for i, j in pairs.tolist()], dtype=float)
    best = np.zeros(len(texts))
    linked: dict[int, dict[int, float]] = defaultdict(dict)
    for side in pairs.T:
        np.maximum.at(best, side, alike)
    for (i, j), value in zip(pairs.tolist(), alike.tolist(), strict=True):
        if value >= MIN_RESEMBLANCE:
            linked[i][j] = value
    taken: set[int] = set()
    groups = []
    for i in sorted(linked):
        members = {j: value for j, value in sorted(linked[i].items()) if j not in taken} if i not in taken else {}
        if members:
            groups.append({i: 1.0, **members})
            taken |= groups[-1].keys()
    return groups, best


def _is_copy(sample: Sample, members: dict[int, float], j: int) -> bool:
    """Whether a member's text is the first one's, white space collapsed."""
    first = next(iter(members))
    return sample.chunks[first].text.split() == sample.chunks[j].text.split()


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


def _duplicate_flag(sample: Sample, members: dict[int, float]) -> Flag:
    chunks = [sample.chunks[i] for i in members]
    are_equal = all(_is_copy(sample, members, i) for i in members)
    return Flag(
        kind="duplicate",
        subject=chunks[0].id,
        score=1.0 if are_equal else min(members.values()),
        threshold=MIN_RESEMBLANCE,
        confidence=1.0 if are_equal else 0.9,
        evidence={
            "n_members": len(members),
            "n_documents": len({chunk.document_id for chunk in chunks}),
            "texts_are_equal": are_equal,
            "members": shown_members(chunks),
            "member_ids": [chunk.id for chunk in chunks],
            "null": "none: the share of word triples that stand in both texts",
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

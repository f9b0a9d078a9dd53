"""Which chunks a finding is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.types import Flag
from eval.diagnose import Diagnosis

MIN_TERMS = 2  # of a topic's characteristic words, for a passage to stand for it


def chunks_of_flags(diagnosis: Diagnosis) -> list[tuple[int, ...]]:
    """For every flag the chunks it is about, indices into the sample, rising; none where it is about the whole index.

    They are those that its evidence names (`member_ids`), its subject where that is a chunk, the passages of its
    `documents` that hold one of its `sentences`, or those in which words of one of its two lists of `terms` prevail.
    """
    chunks = diagnosis.sample.chunks
    place_of = {chunk.id: place for place, chunk in enumerate(chunks)}
    places_in: dict[str, list[int]] = {}
    for place, chunk in enumerate(chunks):
        places_in.setdefault(chunk.document_id, []).append(place)
    return [_chunks_of(flag, diagnosis, place_of, places_in) for flag in diagnosis.flags]


def _chunks_of(
    flag: Flag, diagnosis: Diagnosis, place_of: Mapping[str, int], places_in: Mapping[str, Sequence[int]]
) -> tuple[int, ...]:
    evidence, chunks = flag.evidence, diagnosis.sample.chunks
    named = [*_flat(evidence.get("member_ids", ())), flag.subject]
    found = {place_of[name] for name in named if name in place_of}
    if not found and "sentences" in evidence:
        openings = [" ".join(text.split()).rstrip("…") for text in evidence["sentences"]]
        for document_id in evidence.get("documents", ()):
            for place in places_in.get(document_id, ()):
                text = " ".join(chunks[place].text.split())
                if any(opening in text for opening in openings):
                    found.add(place)
    if not found and len(evidence.get("terms", ())) == 2:
        sides = [set(terms) for terms in evidence["terms"]]
        for place, chunk in enumerate(chunks):
            words = set(chunk.text.lower().split())
            hits = sorted(len(side & words) for side in sides)
            if hits[1] >= MIN_TERMS and hits[1] > hits[0]:
                found.add(place)
    return tuple(sorted(found))


def _flat(names: Sequence) -> list[str]:
    """Ids that may stand in one list or in one for each side."""
    return [name for item in names for name in (item if isinstance(item, list | tuple) else [item])]

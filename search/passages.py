"""Small to big: what a hit returns of its document, the sentences that answer or the section around its chunk.

`sentences`: chunks are cut where the encoder likes them, answers aren't. Every sentence of the best chunks is scored,
half by itself and half by its chunk; those near the query's best are kept, and neighbours among them make one passage,
across the border of two chunks too. A query with one clear answer gets a sentence, a broad one whole pages.
`section`: the chunk with its neighbours under the same headings. A chunk can also be widened by a given number of
chunks on either side, whatever their headings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.types import Chunk, Span

KINDS = ("chunk", "sentences", "section")
# Chosen on questions about other texts than those that `python -m benchmarks.chunking` reports (docs/architecture.md).
# The optimum is flat: at equal recall, a share of .4 or .6 changes IoU by 3%, reading 20 or 50 chunks by less than 1%.
OWN_SHARE = 0.5  # of a sentence's score; the rest is its chunk's
THRESHOLD = 0.6  # share of the best sentence's score that a sentence must reach
MAX_GAP = 2  # weaker sentences that a passage bridges
MAX_CHARS = 4000  # of a passage, about 800 tokens
POOL = 30  # best chunks whose sentences compete


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring sentences from `start` to `end`, of the chunks in `rows`; `row` holds `best`, the best of them."""

    rows: tuple[int, ...]
    start: int
    end: int
    score: float
    row: int
    best: Span


@dataclass(frozen=True, slots=True)
class _Sentence:
    """A sentence that was kept; `place` counts the sentences of its `run`, an unbroken series of chunks."""

    row: int
    span: Span
    score: float
    run: int
    place: int


def sentence_scores(own: Sequence[np.ndarray], chunks: np.ndarray) -> list[np.ndarray]:
    """Each sentence's score, half its own and half its chunk's, one array for each chunk.

    `own[i]` holds the fused scores of chunk i's sentences, `chunks[i]` its own score; both lie in [0, 1].
    """
    return [OWN_SHARE * scores + (1 - OWN_SHARE) * chunk for scores, chunk in zip(own, chunks, strict=True)]


def stretches(
    chunks: Sequence[Chunk],
    scores: Sequence[np.ndarray],
    threshold: float = THRESHOLD,
    max_gap: int = MAX_GAP,
    max_chars: int = MAX_CHARS,
) -> list[Stretch]:
    """Passages made of the sentences that score at least `threshold` times the best one's, best first.

    `scores[i]` holds the scores of chunk i's sentences. A passage stays in one document and under one heading path,
    bridges up to `max_gap` weaker sentences and is cut at its weakest sentence while it exceeds `max_chars`; only a
    single sentence may be longer. It scores as its best sentence; ties are in the order of documents and offsets.
    """
    best = max((values.max() for values in scores if len(values)), default=0.0)
    kept = [sentence for sentence in _in_order(chunks, scores) if sentence.score >= threshold * best]
    found: list[Stretch] = []
    open_groups = list(reversed(list(_neighbours(kept, max_gap))))
    while open_groups:
        group = open_groups.pop()
        if len(group) > 1 and group[-1].span.end - group[0].span.start > max_chars:
            weakest = min(range(len(group)), key=lambda i: group[i].score)
            open_groups += [part for part in (group[weakest + 1 :], group[:weakest]) if part]
            continue
        top = max(group, key=lambda sentence: sentence.score)
        rows = tuple(dict.fromkeys(sentence.row for sentence in group))
        found.append(Stretch(rows, group[0].span.start, group[-1].span.end, top.score, top.row, top.span))
    return sorted(found, key=lambda stretch: -stretch.score)


def _in_order(chunks: Sequence[Chunk], scores: Sequence[np.ndarray]) -> Iterator[_Sentence]:
    """All sentences as they stand in their documents."""
    run, place, last = -1, 0, None
    for row in sorted(range(len(chunks)), key=lambda i: (chunks[i].document_id, chunks[i].position)):
        chunk = chunks[row]
        if last is None or not _is_next(last, chunk):
            run, place = run + 1, 0
        for span, score in zip(chunk.sentences, scores[row], strict=True):
            yield _Sentence(row, span, float(score), run, place)
            place += 1
        last = chunk


def _is_next(one: Chunk, other: Chunk) -> bool:
    """Whether a passage may run from one chunk into the other."""
    return (
        one.document_id == other.document_id
        and one.headings == other.headings
        and one.position + 1 == other.position
        and one.end <= other.start
    )


def _neighbours(kept: Sequence[_Sentence], max_gap: int) -> Iterator[list[_Sentence]]:
    """The sentences in groups that belong to one run, with at most `max_gap` missing between two of them."""
    group: list[_Sentence] = []
    for sentence in kept:
        if group and (sentence.run != group[-1].run or sentence.place - group[-1].place - 1 > max_gap):
            yield group
            group = []
        group.append(sentence)
    if group:
        yield group


def section(chunk: Chunk, neighbours: Mapping[int, Chunk], max_chars: int = MAX_CHARS) -> list[Chunk]:
    """The chunk and those around it under the same headings, in order, as many as `max_chars` allow.

    `neighbours` are chunks of the same document by position. The section grows forwards and backwards in turn; a
    chunk longer than `max_chars` stands alone.
    """
    known = {**neighbours, chunk.position: chunk}
    low = high = chunk.position
    moves = [(0, 1), (-1, 0)]
    while moves:
        for move in tuple(moves):
            first, last = low + move[0], high + move[1]
            if _is_whole(known, first, last) and known[last].end - known[first].start <= max_chars:
                low, high = first, last
            else:
                moves.remove(move)
    return [known[position] for position in range(low, high + 1)]


def surroundings(
    chunks: Sequence[Chunk],
    around: Mapping[str, Mapping[int, Chunk]],
    reach: int,
    taken: Mapping[str, Collection[int]],
) -> list[tuple[int, list[Chunk]]]:
    """Each chunk with up to `reach` chunks on either side; those that touch or overlap are one.

    `chunks` are given best first, `around` holds the chunks near them by document and position, `taken` the positions
    that are returned already and won't be again. Each result is the index of its best chunk and its chunks in order;
    results are ordered by that index.
    """
    wanted: dict[str, set[int]] = {}
    for chunk in chunks:
        if chunk.position not in taken.get(chunk.document_id, ()):
            near = range(chunk.position - reach, chunk.position + reach + 1)
            wanted.setdefault(chunk.document_id, set()).update(near)
    rows = {(chunk.document_id, chunk.position): row for row, chunk in reversed(list(enumerate(chunks)))}
    found = []
    for document_id, positions in wanted.items():
        known = {**around.get(document_id, {}), **{c.position: c for c in chunks if c.document_id == document_id}}
        for run in _runs(sorted((positions & known.keys()) - set(taken.get(document_id, ())))):
            best = min((rows[document_id, i] for i in run if (document_id, i) in rows), default=None)
            if best is not None:  # else it lies beyond something taken, away from every chunk
                found.append((best, [known[i] for i in run]))
    return sorted(found, key=lambda result: result[0])


def _runs(positions: Sequence[int]) -> Iterator[list[int]]:
    """Rising numbers in groups without a gap."""
    run: list[int] = []
    for position in positions:
        if run and position != run[-1] + 1:
            yield run
            run = []
        run.append(position)
    if run:
        yield run


def _is_whole(known: Mapping[int, Chunk], first: int, last: int) -> bool:
    """Whether all chunks from `first` to `last` are known and each may run on into the next."""
    positions = range(first, last + 1)
    return all(i in known for i in positions) and all(_is_next(known[i], known[i + 1]) for i in positions[:-1])

"""What a context is made of: the best chunks of a query, and their sentences in the order of their worth.

Each kind of passage is an order in which sentences are taken until the budget is spent:

- `sentences`: by worth. The budget is the threshold: a small one takes the sentences that answer, a large one more and
  more of what stands around them. Neighbouring chunks are read too, since evidence runs on across borders.
- `best`: of every chunk its best sentence with one neighbour on either side, chunk by chunk.
- `chunk`: whole chunks. `section`: each chunk with its section, growing outwards from its best sentence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.errors import InputError
from core.filters import All, Some, parse_filter
from core.index import Index
from core.types import Chunk, Hit, Span
from search.passages import POOL, section, sentence_scores
from search.ranking import DENSE_WEIGHT, Asked, Ranker
from search.repeats import words_of
from search.retriever import Retriever
from search.sentences import SECTION_REACH, near, own_scores

KINDS = ("sentences", "best", "chunk", "section")
# How far a good sentence lifts its neighbours, in tokens: e times less at this distance. About the length of a chunk.
# Chosen on code with excerpts, where more is better, and on FAQ answers joined to long documents, where less is.
REACH_TOKENS = 200
NEIGHBOURS = 1  # sentences on either side of the best one

Unit = tuple[int, int]  # a sentence: row of its chunk, place in it


@dataclass(frozen=True, slots=True)
class Evidence:
    """Chunks, best first, then their neighbours; and the order in which their sentences are worth taking.

    `spans[row]` are the sentences of chunk `row`, the whole chunk where it has none. `worth` is given for every unit
    of `order` and falls along it for `sentences`; elsewhere it is the chunk's score. The first `n_hits` chunks were
    found, the others stand beside one.
    """

    query: str
    kind: str
    chunks: Sequence[Chunk]
    spans: Sequence[Sequence[Span]]
    order: Sequence[Unit]
    worth: Mapping[Unit, float]
    n_hits: int
    notes: tuple[str, ...] = field(default=())


def gather(
    index: Index, retriever: Retriever, query: str, kind: str = "sentences", k: int = POOL, **how: Any
) -> Evidence:
    """The evidence for a query among its `k` best chunks; `how` are further options of a search.

    Raises `InputError` for an unknown kind, and like `Retriever.search`.
    """
    if kind not in KINDS:
        raise InputError(f"Unknown passage {kind!r}; use one of {', '.join(KINDS)}.")
    results = retriever.search(query, k=k, **how)
    scores = _relevance(results.hits)
    chunks = [hit.chunk for hit in results.hits]
    asked = retriever.ranker.ask(query, results.mode)
    n_hits = len(chunks)
    if kind == "sentences":
        chunks += _around(index, chunks, 1, how.get("where"))
        scores = np.concatenate([scores, np.zeros(len(chunks) - n_hits)])
    elif kind == "section":
        chunks += _around(index, chunks, SECTION_REACH, how.get("where"))
    own = _own_scores(index, retriever.ranker, chunks, asked) if kind != "chunk" else []
    spans = [chunk.sentences or (Span(chunk.start, chunk.end),) for chunk in chunks]
    if kind == "sentences":
        worth = _behind_headings(chunks, spans, by_worth(chunks, spans, sentence_scores(own, scores)))
        order = sorted(worth, key=lambda unit: (-round(worth[unit], 9), unit))
    else:
        order = list(dict.fromkeys(_by_chunk(kind, chunks, spans, own, n_hits)))
        worth = {(row, place): float(scores[row]) if row < n_hits else 0.0 for row, place in order}
    return Evidence(query, kind, chunks, spans, order, worth, n_hits, results.notes)


def by_worth(
    chunks: Sequence[Chunk], spans: Sequence[Sequence[Span]], scores: Sequence[np.ndarray], reach: float = REACH_TOKENS
) -> dict[Unit, float]:
    """Each sentence's worth: the best score in its document, each score divided by e for every `reach` tokens between.

    max over j of s_j · exp(−|x_j − x| / reach), x the middles of sentences in tokens, counted at the rate of tokens to
    characters of the document's chunks. A lone good sentence thereby brings what stands around it before the fair
    ones of other documents; what is worth more by itself keeps its own score.
    """
    rows_of: dict[str, list[int]] = {}
    for row, chunk in enumerate(chunks):
        rows_of.setdefault(chunk.document_id, []).append(row)
    worth: dict[Unit, float] = {}
    for rows in rows_of.values():
        units = [(row, place) for row in rows for place in range(len(spans[row]))]
        n_characters = sum(len(chunks[row].text) for row in rows)
        rate = (sum(chunks[row].llm_tokens for row in rows) or n_characters / 4) / max(n_characters, 1)
        middles = rate * np.array([(spans[row][place].start + spans[row][place].end) / 2 for row, place in units])
        values = np.array([scores[row][place] for row, place in units])
        nearness = np.exp(-np.abs(middles[:, None] - middles[None]) / reach)
        worth |= dict(zip(units, (nearness * values[None]).max(axis=1).tolist(), strict=True))
    return worth


def _behind_headings(
    chunks: Sequence[Chunk], spans: Sequence[Sequence[Span]], worth: Mapping[Unit, float]
) -> dict[Unit, float]:
    """The worths with a heading that stands in the text worth just less than what it heads: alone it says nothing."""
    changed = dict(worth)
    for row, (chunk, inside) in enumerate(zip(chunks, spans, strict=True)):
        known = [words_of(heading) for heading in (*chunk.headings, chunk.title)]
        for place in reversed(range(len(inside))):
            span = inside[place]
            if words_of(chunk.between(span.start, span.end)) in known:
                changed[row, place] = min(worth[row, place], (1 - 1e-6) * changed.get((row, place + 1), 0.0))
    return changed


def _by_chunk(
    kind: str, chunks: Sequence[Chunk], spans: Sequence[Sequence[Span]], own: Sequence[np.ndarray], n_hits: int
) -> Iterator[Unit]:
    """Sentences in the order in which a kind takes them, chunk by chunk; some come twice."""
    rows = {chunk.id: row for row, chunk in enumerate(chunks)}
    around: dict[str, dict[int, Chunk]] = {}
    for chunk in chunks:
        around.setdefault(chunk.document_id, {})[chunk.position] = chunk
    for row, chunk in enumerate(chunks[:n_hits]):
        if kind == "chunk":
            yield from ((row, place) for place in range(len(spans[row])))
            continue
        best = int(np.argmax(own[row]))
        if kind == "best":
            near = range(max(0, best - NEIGHBOURS), min(len(spans[row]), best + NEIGHBOURS + 1))
            yield from sorted(((row, place) for place in near), key=lambda unit: abs(unit[1] - best))
            continue
        members = [rows[other.id] for other in section(chunk, around[chunk.document_id])]
        units = [(member, place) for member in members for place in range(len(spans[member]))]
        middle = units.index((row, best))
        yield from (unit for _, unit in sorted(enumerate(units), key=lambda entry: abs(entry[0] - middle)))


def _relevance(hits: Sequence[Hit]) -> np.ndarray:
    """The hits' scores as shares of the best one's, in [0, 1]; their places count where a cross-encoder ordered them.

    Shares, because the worst of few hits isn't worth nothing.
    """
    if any(hit.reranked for hit in hits):
        return np.linspace(1.0, 0.0, len(hits))
    scores = np.array([hit.score for hit in hits], dtype=np.float64)
    scores -= min(0.0, scores.min(initial=0.0))  # z-scores may be negative
    return scores / scores.max() if scores.max(initial=0.0) > 0 else np.zeros(len(hits))


def _around(index: Index, chunks: Sequence[Chunk], reach: int, where: str | None) -> list[Chunk]:
    """Chunks at most `reach` positions away from the given ones and not among them, by document and position.

    What the search's filter keeps out stays out here too.
    """
    known = {chunk.id for chunk in chunks}
    condition = (parse_filter(where, index.meta.fields),) if where and where.strip() else ()
    wanted = tuple(All((*near(chunk, reach).parts, *condition)) for chunk in chunks)
    batches = index.store.scan(where=Some(wanted)) if wanted else ()
    found = [stored.chunk for batch in batches for stored in batch if stored.chunk.id not in known]
    return sorted(found, key=lambda chunk: (chunk.document_id, chunk.position))


def _own_scores(index: Index, ranker: Ranker, chunks: Sequence[Chunk], asked: Asked) -> list[np.ndarray]:
    """See `own_scores`; the sentence vectors are read here."""
    stored = index.store.fetch([chunk.id for chunk in chunks], sentences=True) if asked.vector is not None else {}
    vectors = [stored[chunk.id].sentences if chunk.id in stored else None for chunk in chunks]
    weight = DENSE_WEIGHT if asked.vector is not None else 0.0
    return own_scores(chunks, vectors, asked, weight, index.analyzer, ranker.idf(asked.terms.indices))

"""Terms that the model can't place: the words that make search by vectors alone miss a passage."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from core.types import Flag
from eval.diagnose.finding import Finding, opening
from eval.draws import drawn
from eval.sample import Sample, normalized

TERM = re.compile(r"[^\W_]+(?:[-_.:/][^\W_]+)*")
MIN_LETTERS = 4
MAX_HOLDERS = 5  # chunks that hold the term: what more of them hold is found by one or the other
MIN_PIECES = 4  # that the tokenizer breaks the term into
ORDINARY_PIECES = 1
N_ASKED = 3000  # broken terms that are searched for: seven seconds on one core
N_ORDINARY = 400  # ordinary ones
MIN_ASKED = 20  # ordinary ones of these; below it there is nothing to compare with
FOUND_WITHIN = 10
SHOWN = 20
ROWS_AT_ONCE = 256

Encode = Callable[[Sequence[str]], NDArray[np.floating]]
Pieces = Callable[[Sequence[str]], Sequence[int]]


def find_unplaceable(
    sample: Sample, seed: int = 0, encode: Encode | None = None, pieces: Pieces | None = None
) -> Finding:
    """Flags `unplaceable_term` for rare terms in many pieces that the vectors don't find and the words do.

    A term counts when at most 5 chunks hold it and the tokenizer breaks it into 4 pieces or more. Each of up to 3,000
    is searched for by itself, as a query; it is found where one of the chunks that hold it is among the first 10 by
    cosine. By words it is found by definition: only those chunks hold it. The null is the same question for as many
    words of one piece that equally few chunks hold; the confidence is the share of those that are found, since where
    the model finds no rare word at all, the term isn't to blame. Without `encode` or `pieces`, and below 20 ordinary
    words, nothing is judged. `encode(texts)` gives query vectors, float, (n, dim); `pieces(texts)` how many pieces the
    tokenizer makes of each.
    """
    unjudged = {"judged": False, "n_terms": 0, "n_found_by_vectors": 0}
    if encode is None or pieces is None or not len(sample):
        return Finding(numbers=unjudged | {"note": "Needs the encoder."})
    holders = _rare_terms(sample)
    terms = sorted(holders)
    n_pieces = np.asarray(pieces(terms), dtype=int)
    of_term = dict(zip(terms, n_pieces.tolist(), strict=True))
    broken = sorted(drawn((term for term, n in of_term.items() if n >= MIN_PIECES), N_ASKED, seed))
    ordinary = sorted(drawn((term for term, n in of_term.items() if n <= ORDINARY_PIECES), N_ORDINARY, seed))
    if len(ordinary) < MIN_ASKED or not broken:
        note = f"Nothing to judge: {len(broken)} terms in {MIN_PIECES} pieces or more, {len(ordinary)} in one."
        return Finding(numbers=unjudged | {"note": note})
    found = dict(zip(broken, term_ranks(sample, broken, holders, encode), strict=True))
    usual = float(np.mean(term_ranks(sample, ordinary, holders, encode) <= FOUND_WITHIN))
    lost = sorted((term for term in broken if found[term] > FOUND_WITHIN), key=lambda term: (-of_term[term], term))
    return Finding(
        flags=tuple(_flag(sample, term, holders[term], of_term[term], found[term], usual) for term in lost[:SHOWN]),
        numbers={
            "judged": True,
            "n_rare_terms": len(terms),
            "n_broken_terms": int((n_pieces >= MIN_PIECES).sum()),
            "n_terms": len(broken),
            "n_found_by_vectors": len(broken) - len(lost),
            "share_found_by_vectors": 1 - len(lost) / len(broken),
            "share_of_ordinary_words_found": usual,
            "unplaceable": lost,
        },
    )


def _rare_terms(sample: Sample) -> dict[str, list[int]]:
    """Terms that few chunks hold, with these chunks."""
    holders: dict[str, list[int]] = {}
    for i, chunk in enumerate(sample.chunks):
        for term in set(TERM.findall(chunk.text.lower())):
            if len(term) >= MIN_LETTERS:
                held = holders.setdefault(term, [])
                if len(held) <= MAX_HOLDERS:
                    held.append(i)
    return {term: held for term, held in holders.items() if len(held) <= MAX_HOLDERS}


def term_ranks(sample: Sample, terms: list[str], holders: dict[str, list[int]], encode: Encode) -> NDArray[np.int64]:
    """The rank of the best chunk that holds the term, from 1, shape (n_terms,)."""
    vectors = normalized(np.asarray(encode(terms)))
    ranks = np.empty(len(terms), dtype=np.int64)
    for start in range(0, len(terms), ROWS_AT_ONCE):
        similarity = vectors[start : start + ROWS_AT_ONCE] @ sample.vectors.T
        for row, term in enumerate(terms[start : start + ROWS_AT_ONCE]):
            ranks[start + row] = 1 + int((similarity[row] > similarity[row, holders[term]].max()).sum())
    return ranks


def _flag(sample: Sample, term: str, held: list[int], n_pieces: int, rank: int, usual: float) -> Flag:
    chunks = [sample.chunks[i] for i in held]
    at = max(0, chunks[0].text.lower().find(term) - 60)
    return Flag(
        kind="unplaceable_term",
        subject=term,
        score=float(rank),
        threshold=float(FOUND_WITHIN),
        confidence=min(0.95, usual),
        evidence={
            "n_pieces": n_pieces,
            "rank_by_vectors": int(rank),
            "rank_by_words": 1,
            "chunk_ids": [chunk.id for chunk in chunks],
            "text": opening(chunks[0].text[at:]),
            "null": f"words of one piece that as few chunks hold: {usual:.0%} of them are found within {FOUND_WITHIN}",
        },
        action="Keep sparse or hybrid search on: it finds this term by its letters, the vectors alone don't.",
    )

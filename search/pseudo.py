"""Queries made from a corpus' own text, for an index that nobody has asked anything yet.

One kind alone misleads: copied words favour BM25, titles favour whichever leg reads titles better. So three kinds come
in equal numbers: titles and headings, whole sentences, and the rarest words of a sentence.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from core.sparse import Analyzer
from core.types import Chunk

N_QUERIES = 150
MAX_WORDS = 24  # of a sentence
N_KEYWORDS = 4
MIN_WORDS = 3
_WORD = re.compile(r"\w+")


def sample(chunks: Iterable[Chunk], size: int, seed: int) -> list[Chunk]:
    """`size` chunks, each as likely as any other, or all where there are fewer; the order counts for the choice.

    Reservoir sampling: Vitter 1985, "Random Sampling with a Reservoir", algorithm R.
    """
    rng = random.Random(seed)
    kept: list[Chunk] = []
    for number, chunk in enumerate(chunks):
        if number < size:
            kept.append(chunk)
        elif (place := rng.randrange(number + 1)) < size:
            kept[place] = chunk
    return kept


def pseudo_queries(
    chunks: Sequence[Chunk],
    analyzer: Analyzer,
    idf: Callable[[Sequence[int]], Mapping[int, float]],
    limit: int = N_QUERIES,
    seed: int = 0,
) -> list[str]:
    """Up to `limit` different queries, the kinds in turn; fewer where the chunks don't hold as many."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    for number, chunk in enumerate(chunks):
        sentence = _sentence(chunk, rng)
        kind = number % 3
        if kind == 0:
            query = chunk.headings[-1] if chunk.headings else chunk.title
        elif kind == 1:
            query = sentence
        else:
            query = _keywords(sentence, analyzer, idf)
        query = query if len(_WORD.findall(query)) >= (2 if kind == 0 else MIN_WORDS) else sentence
        if query.strip():
            found.setdefault(query)
        if len(found) == limit:
            break
    return list(found)


def _sentence(chunk: Chunk, rng: random.Random) -> str:
    """One of the chunk's sentences, cut after `MAX_WORDS` words; empty where it has none."""
    texts = [chunk.text[span.start - chunk.start : span.end - chunk.start] for span in chunk.sentences]
    texts = [text for text in texts if len(_WORD.findall(text)) >= MIN_WORDS] or texts
    return " ".join(rng.choice(texts).split()[:MAX_WORDS]) if texts else ""


def _keywords(sentence: str, analyzer: Analyzer, idf: Callable[[Sequence[int]], Mapping[int, float]]) -> str:
    words = analyzer.terms(sentence)
    weights = idf(list(words))
    rarest = sorted(words, key=lambda term: (-weights.get(term, 0.0), term))[:N_KEYWORDS]
    return " ".join(word for term, word in words.items() if term in rarest)

"""Hits as the pages show them: what is highlighted, where a passage is from, what each leg gave."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from urllib.parse import urlencode, urlsplit

from core.sparse import Analyzer
from core.types import Hit

# A passage up to this length is shown whole; of a longer one, sentences around the best as far as this reaches.
EXCERPT_CHARACTERS = 420
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a passage: pieces of text, each with whether it is a term of the query."""

    pieces: list[tuple[str, bool]]
    is_best: bool


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some sentences of a passage, and whether text was left out at its start and end."""

    stretches: list[Stretch]
    cut_before: bool
    cut_after: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where a hit comes from; `link` is empty unless a browser may safely follow it."""

    label: str
    link: str


@dataclass(frozen=True, slots=True)
class Bar:
    """How much of a full bar each leg's contribution fills, in percent."""

    dense: float
    sparse: float


@dataclass(frozen=True, slots=True)
class Shown:
    """A hit as the page shows it; `excerpt` is None where the passage is short enough to be shown whole.

    `rank_by_default` is its rank under the usual weight of the legs, None unless another one is being tried.
    """

    hit: Hit
    title: str
    headings: list[str]
    source: Source
    passage: list[Stretch]
    excerpt: Excerpt | None
    bar: Bar
    link: str
    rank_by_default: int | None = None

    @property
    def moved(self) -> int:
        """By how many places the weight that is being tried lifts it."""
        return 0 if self.rank_by_default is None else self.rank_by_default - self.hit.rank


def shown_hits(
    hits: Iterable[Hit],
    mode: str,
    analyzer: Analyzer,
    dense_weight: float,
    query: str = "",
    usual: Mapping[str, int] | None = None,
) -> list[Shown]:
    """The hits of a search with `explain`, in order; `usual` are ranks by chunk under the usual weight."""
    hits = list(hits)
    top = max((hit.score for hit in hits), default=0.0)
    return [
        _shown(hit, analyzer, _bar(hit, mode, dense_weight, top), query, (usual or {}).get(hit.chunk.id))
        for hit in hits
    ]


def document_link(document_id: str, chunk_id: str = "", query: str = "") -> str:
    """Where a document is shown, at one of its passages with the words of a query marked."""
    given = {"id": document_id, "chunk": chunk_id, "q": query}
    return f"document?{urlencode({name: value for name, value in given.items() if value})}" + "#passage" * bool(
        chunk_id
    )


def term_test(words: Iterable[str], analyzer: Analyzer) -> Callable[[str], bool]:
    """Tells whether a word is one of these for BM25, inflected forms included."""
    ids = {index for word in words for index in analyzer.query(word).indices}

    @cache
    def is_term(word: str) -> bool:
        return not ids.isdisjoint(analyzer.query(word).indices)

    return is_term


def _shown(hit: Hit, analyzer: Analyzer, bar: Bar, query: str, usual: int | None) -> Shown:
    chunk = hit.chunk
    is_term = term_test(hit.matched_terms, analyzer)
    sentences = [(span.start - chunk.start, span.end - chunk.start) for span in chunk.sentences]
    best = (hit.best_sentence.start - chunk.start, hit.best_sentence.end - chunk.start) if hit.best_sentence else None
    return Shown(
        hit=hit,
        title=chunk.title or chunk.document_id,
        headings=[heading for heading in chunk.headings if heading != chunk.title],
        source=source_of(chunk.uri, chunk.document_id),
        passage=stretches(chunk.text, best, is_term),
        excerpt=excerpt(chunk.text, sentences, best, is_term),
        bar=bar,
        link=document_link(chunk.document_id, chunk.id, query),
        rank_by_default=usual,
    )


def source_of(uri: str, document_id: str) -> Source:
    """Web addresses with a link, files as text, and for any other address only the document's id."""
    try:
        scheme = urlsplit(uri).scheme
    except ValueError:
        scheme = ""
    if scheme in ("http", "https"):
        return Source(uri, uri)
    return Source(uri if scheme == "file" else document_id, "")


def stretches(text: str, best: tuple[int, int] | None, is_term: Callable[[str], bool]) -> list[Stretch]:
    """`text` cut around its best sentence and around the words that are terms; the pieces together are `text`."""
    start, end = best or (0, 0)
    bounds = ((0, start, False), (start, end, True), (end, len(text), False))
    return [Stretch(_pieces(text[low:high], is_term), is_best) for low, high, is_best in bounds if low < high]


def _pieces(text: str, is_term: Callable[[str], bool]) -> list[tuple[str, bool]]:
    pieces, done = [], 0
    for word in _WORD.finditer(text):
        if is_term(word[0]):
            pieces += [(text[done : word.start()], False), (word[0], True)]
            done = word.end()
    return [piece for piece in [*pieces, (text[done:], False)] if piece[0]]


def excerpt(
    text: str, sentences: Sequence[tuple[int, int]], best: tuple[int, int] | None, is_term: Callable[[str], bool]
) -> Excerpt | None:
    """The sentences around the best one; without one, around the first of those with the most terms.

    Never longer than `EXCERPT_CHARACTERS`, unless the best sentence alone is. None where the whole text fits.
    """
    if len(text) <= EXCERPT_CHARACTERS or not sentences:
        return None

    def n_terms(place: int) -> int:
        start, end = sentences[place]
        return sum(is_term(word) for word in _WORD.findall(text[start:end]))

    first = last = sentences.index(best) if best in sentences else max(range(len(sentences)), key=n_terms)
    while True:
        if last + 1 < len(sentences) and sentences[last + 1][1] - sentences[first][0] <= EXCERPT_CHARACTERS:
            last += 1
        elif first > 0 and sentences[last][1] - sentences[first - 1][0] <= EXCERPT_CHARACTERS:
            first -= 1
        else:
            break
    start, end = sentences[first][0], sentences[last][1]
    moved = (best[0] - start, best[1] - start) if best else None
    return Excerpt(stretches(text[start:end], moved, is_term), first > 0, last + 1 < len(sentences))


def _bar(hit: Hit, mode: str, dense_weight: float, top: float) -> Bar:
    """Hybrid: the two summands of the convex fusion. Dense: the score, a cosine. Sparse: the share of the best hit."""
    legs = hit.legs
    if mode == "hybrid":
        dense, sparse = dense_weight * legs["dense"].normalized, (1 - dense_weight) * legs["sparse"].normalized
    elif mode == "dense":
        dense, sparse = hit.score, 0.0
    else:
        dense, sparse = 0.0, hit.score / top if top > 0 else 0.0
    return Bar(*(round(100 * min(1.0, max(0.0, share)), 1) for share in (dense, sparse)))

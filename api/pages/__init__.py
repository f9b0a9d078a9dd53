"""Web pages, rendered on the server: they work without a script, and everything in them is escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from core.sparse import Analyzer
from core.types import Hit
from search.retriever import Results

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
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
    """A hit as the page shows it; `excerpt` is None where the passage is short enough to be shown whole."""

    hit: Hit
    title: str
    headings: list[str]
    source: Source
    passage: list[Stretch]
    excerpt: Excerpt | None
    bar: Bar


def search_page(status: int = 200, **shown: Any) -> HTMLResponse:
    """The search page; `shown` is what `search.html.j2` asks for."""
    return _render("search.html.j2", status, shown)


def locked_page(challenge: str) -> HTMLResponse:
    """The page for a visitor without a key; `challenge` is the WWW-Authenticate header."""
    return _render("locked.html.j2", 401, {}, {"WWW-Authenticate": challenge})


def shown_hits(results: Results, analyzer: Analyzer, dense_weight: float) -> list[Shown]:
    """The hits of a search with `explain`, in order."""
    top = max((hit.score for hit in results.hits), default=0.0)
    return [_shown(hit, analyzer, _bar(hit, results.mode, dense_weight, top)) for hit in results.hits]


def _shown(hit: Hit, analyzer: Analyzer, bar: Bar) -> Shown:
    chunk = hit.chunk
    ids = {index for term in hit.matched_terms for index in analyzer.query(term).indices}

    @cache
    def is_term(word: str) -> bool:  # inflected forms too: whatever BM25 takes for a matched term
        return not ids.isdisjoint(analyzer.query(word).indices)

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


def _render(
    name: str, status: int, values: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    html = _environment().get_template(name).render(values)
    return HTMLResponse(html, status, {"Cache-Control": "no-store", **(headers or {})})


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

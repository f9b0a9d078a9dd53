"""The quality report of an open index, written to files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from api.console import Console
from api.earlier import Earlier
from api.jobs.report import named
from api.opening import count_chunks, retriever
from api.tuning import query_features
from core.errors import DependencyError
from core.index import Index
from core.settings import Settings
from core.types import Chunk
from eval.compare import Report
from eval.diagnose import Diagnosis, QueryEvidence, diagnose, write_scores
from eval.gate import Gate
from eval.judged import Evaluation
from eval.map import CorpusMap, MapOptions, check_colour, check_method, draw_map
from eval.page import render_html
from eval.report import build_report
from eval.sample import Sample, collect
from ingest.vectors import VectorCache, Vectors
from search.space.axis import ConceptAxis, axis_scores
from search.tuning import load_model

MEGABYTE = 1 << 20
MOST_QUERIES = 300  # asked for what they say of the model; 50 say nearly as much


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a report should hold besides its findings: how the map is drawn, gates, an earlier report to compare with.

    `queries` (texts by id) are placed on the map; `described` is what they say without judgements. `scores` is a file
    for the scores of every chunk.
    """

    unit: str = "chunks"
    method: str = "tsne"
    colour: str | None = None
    concept: ConceptAxis | None = None
    queries: Mapping[str, str] | None = None
    described: Mapping[str, object] | None = None
    gates: Sequence[Gate] = ()
    old: Report | None = None
    scores: Path | None = None

    def check(self, index: Index) -> None:
        """Raises InputError or DependencyError for what no map can be, before anything takes time."""
        check_method(self.method)
        check_colour(self.colour, index.meta.fields, self.concept is not None)


def read_sample(index: Index, console: Console) -> Sample:
    """All chunks with their vectors. Raises `InputError` for an index without chunks."""
    n_chunks = count_chunks(index, "report on")
    with console.progress("reading vectors", n_chunks) as advance:
        return collect(_rows(index, advance), index.embedder.tokenizer.max_tokens)


def read_queries(index: Index, settings: Settings, console: Console, texts: Mapping[str, str]) -> QueryEvidence:
    """What real queries lead to expect of the model, by their candidates alone; of many, evenly spaced ones are asked.

    `limpid tune`'s regression predicts every query's nDCG@10 over the dense leg's weight; its two ends are the legs.
    """
    places = np.unique(np.linspace(0, len(texts) - 1, min(len(texts), MOST_QUERIES)).round().astype(int))
    asked = list(texts.values())
    search = retriever(index, settings, console.note, rerank=False)
    curves = load_model().curves(query_features(index, search, [asked[place] for place in places], console))
    return QueryEvidence(gaps=curves[:, -1] - curves[:, 0])


def diagnose_index(
    index: Index, settings: Settings, console: Console, queries: QueryEvidence | None = None
) -> Diagnosis:
    """The diagnosis of all chunks; what an earlier one has computed of the same is used again.

    Raises `InputError` for an index without chunks.
    """
    sample = read_sample(index, console)
    with console.progress("diagnosing") as advance, _encoder(index, settings) as encode:
        return diagnose(
            sample,
            encode=encode,
            pieces=index.embedder.tokenizer.pieces,
            queries=queries,
            progress=lambda name, done, total: advance(done, total, f"checking {name}"),
            recall=Earlier.of(settings, index),
        )


def write_report(
    index: Index,
    settings: Settings,
    console: Console,
    out: Path,
    diagnosis: Diagnosis,
    scored: Evaluation | None = None,
    wishes: Wishes | None = None,
) -> dict:
    """Write the page of a diagnosis to `out` and every chunk's scores where that is wished; returns the report.

    Raises `DependencyError` where a file can't be written, `InputError` for a map that can't be drawn.
    """
    wishes = wishes or Wishes()
    report = build_report(
        diagnosis,
        _map(index, settings, console, diagnosis, wishes),
        scored,
        corpus=named(settings),
        fingerprint=asdict(index.meta.fingerprint) | {"avg_len": index.meta.avg_len},
        described=wishes.described,
        gates=wishes.gates,
        old=wishes.old,
    )
    try:
        out.write_text(render_html(report), encoding="utf-8")
        if wishes.scores:
            write_scores(wishes.scores, diagnosis)
    except OSError as error:
        raise DependencyError(f"Can't write {error.filename}: {error.strerror}. Choose another place.") from None
    return report


@contextmanager
def _encoder(index: Index, settings: Settings) -> Iterator[Callable[[Sequence[str]], np.ndarray]]:
    """Gives vectors of texts as queries, each distinct text encoded once and remembered on disk."""
    folder, limit = settings.cache_dir / "vectors", int(settings.vector_cache_mb * MEGABYTE)
    with VectorCache(folder, index.embedder, limit, "query") as cache:
        vectors = Vectors(index.embedder, cache)

        def encode(texts: Sequence[str]) -> np.ndarray:
            found = vectors.of(texts, lambda n_texts: None)
            return np.array([found[text] for text in texts], dtype=np.float32).reshape(-1, index.embedder.dimension)

        yield encode


def _map(index: Index, settings: Settings, console: Console, diagnosis: Diagnosis, wishes: Wishes) -> CorpusMap:
    asked = list((wishes.queries or {}).items())
    axis = axis_scores(diagnosis.sample.vectors, wishes.concept.axis) if wishes.concept else None
    with console.progress("drawing the map", 3) as advance:
        stages = iter(range(3))
        return draw_map(
            diagnosis,
            MapOptions(
                unit=wishes.unit,
                method=wishes.method,
                colour=wishes.colour,
                axis=axis,
                queries=asked,
                query_vectors=index.embedder.encode_queries([text for _, text in asked]) if asked else None,
            ),
            progress=lambda stage: advance(next(stages), 3, stage),
            recall=Earlier.of(settings, index),
        )


def _rows(index: Index, advance) -> Iterator[tuple[Chunk, np.ndarray, np.ndarray]]:
    for done, stored in enumerate(index.scan(), start=1):
        advance(done)
        yield stored.chunk, stored.dense, stored.sentences

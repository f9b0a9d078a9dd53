"""The quality report of an open index, written to files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from api.console import Console
from core.errors import DependencyError, InputError
from core.index import Index
from core.settings import Settings
from core.types import Chunk
from eval.diagnose import Diagnosis, diagnose, write_scores
from eval.judged import Evaluation
from eval.map import draw_map
from eval.report import build_report, render_html
from eval.sample import collect
from search.space.axis import ConceptAxis, axis_scores


def write_report(
    index: Index,
    settings: Settings,
    console: Console,
    out: Path,
    scored: Evaluation | None = None,
    scores: Path | None = None,
    concept: ConceptAxis | None = None,
) -> dict:
    """Diagnose the index, write the page to `out` and every chunk's scores to `scores`; returns the report.

    The map is coloured by the source of each passage, or by its place on the axis `concept`.
    Raises `InputError` for an index without chunks, `DependencyError` where a file can't be written.
    """
    diagnosis = _diagnose(index, console)
    with console.progress("drawing the map"):
        placed = axis_scores(diagnosis.sample.vectors, concept.axis) if concept else None
        corpus_map = draw_map(diagnosis.sample, scores=placed)
    report = build_report(
        diagnosis,
        corpus_map,
        scored,
        corpus=settings.index,
        fingerprint=asdict(index.meta.fingerprint) | {"avg_len": index.meta.avg_len},
    )
    try:
        out.write_text(render_html(report), encoding="utf-8")
        if scores:
            write_scores(scores, diagnosis)
    except OSError as error:
        raise DependencyError(f"Can't write {error.filename}: {error.strerror}. Choose another place.") from None
    return report


def _diagnose(index: Index, console: Console) -> Diagnosis:
    n_chunks = index.store.count_chunks()
    if not n_chunks:
        raise InputError("The index is empty, there is nothing to report on. Ingest something first.")
    with console.progress("reading vectors", n_chunks) as advance:
        sample = collect(_rows(index, advance), index.embedder.tokenizer.max_tokens)
    with console.progress("diagnosing") as advance:
        return diagnose(
            sample,
            encode=index.embedder.encode_documents,
            progress=lambda name, done, total: advance(done, total, f"checking {name}"),
        )


def _rows(index: Index, advance) -> Iterator[tuple[Chunk, np.ndarray, np.ndarray]]:
    for done, stored in enumerate(index.scan(), start=1):
        advance(done)
        yield stored.chunk, stored.dense, stored.sentences

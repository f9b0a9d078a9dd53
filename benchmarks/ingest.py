"""Whole ingest beside the bare encoder on the same texts, and beside plain encoding of the chunks alone.

A whole ingest reads, chunks, embeds chunks, sentences and titles, writes, makes BM25 exact and optimises, into a
fresh embedded index. The bare encoder gets the very texts that the ingest embedded, in one call; plain
`SentenceTransformer.encode` (fp32, default arguments) gets the chunks' texts with their titles and headings. All
three take turns. Without `--corpus` the corpus is made of Python's language reference.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks import corpus
from benchmarks.encoder import FAST, LIBRARIES, SLOW, open_both
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.machine import has_fast_matrices, shape
from benchmarks.synthetic_index import peak_rss_mb, size_on_disk
from benchmarks.timing import median, seconds
from core.embed import Embedder
from core.index import Index, open_index
from core.settings import Settings
from ingest.pipeline import ingest
from ingest.sources import discover

AIM_SHARE, AIM_PLAIN = 0.9, 2.0


class RecordingEmbedder:
    """The real encoder; it keeps the texts that it is asked for."""

    def __init__(self, embedder: Embedder):
        self._embedder = embedder
        self.texts: list[str] = []

    def __getattr__(self, name: str):
        return getattr(self._embedder, name)

    def encode_documents(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """As the encoder does."""
        self.texts += texts
        return self._embedder.encode_documents(texts, on_progress)


class Bench:
    """Ingests into one fresh index after another; what the first ingest embeds is what the others encode."""

    def __init__(self, paths: list[str], folder: Path):
        self._paths, self._folder = paths, folder
        self._settings = Settings(vector_cache_mb=0)  # what was encoded before must be encoded again
        self.embedder, self._plain = open_both(self._settings)
        self._n_runs = self.disk_bytes = self.n_documents = 0
        recorder = RecordingEmbedder(self.embedder)
        self.ingest_s(recorder, after=self._remember_chunks)
        self.texts = recorder.texts
        self._plain.encode(self.chunk_texts[:32])

    def ingest_s(self, embedder: Embedder | None = None, after: Callable[[Index], None] = lambda index: None) -> float:
        """Seconds of one whole ingest, the closing of the index included."""
        self._n_runs += 1
        folder = self._folder / f"index-{self._n_runs}"
        index = open_index(self._settings.model_copy(update={"index": str(folder)}), create=True)
        index.embedder = embedder or self.embedder  # compiled and warm, as the others are

        def whole() -> None:
            summary = ingest(index, discover(self._paths), self._settings)
            if summary.failures:
                raise SystemExit(f"{summary}: {summary.failures[0].uri}: {summary.failures[0].reason}")
            self.n_documents = summary.new

        taken = seconds(whole)
        after(index)
        taken += seconds(index.close)
        self.disk_bytes = size_on_disk(folder)
        return taken

    def bare_s(self) -> float:
        """Seconds of the bare encoder on the same texts, in one call."""
        return seconds(lambda: self.embedder.encode_documents(self.texts))

    def plain_s(self) -> float:
        """Seconds of plain encoding on the chunks alone."""
        return seconds(lambda: self._plain.encode(self.chunk_texts))

    def _remember_chunks(self, index: Index) -> None:
        self.chunk_texts = [found.chunk.embedding_text for batch in index.store.scan() for found in batch]


def main() -> None:
    """Measure, print, write."""
    parser = arguments("ingest", __doc__)
    parser.add_argument("--corpus", type=Path, nargs="+", help="files, folders or corpus.jsonl [language reference]")
    parser.add_argument("--topics", type=int, help="only this many topics of the language reference [all]")
    parser.add_argument("--rounds", type=int, default=3, help="turns [3]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        names = list(corpus.topics())[: args.topics]
        paths = args.corpus or [corpus.write_files(Path(folder) / "topics", names)]
        bench = Bench([str(path) for path in paths], Path(folder))
        taken: dict[str, list[float]] = {"ingest": [], "bare": [], "plain": []}
        for _ in range(args.rounds):
            taken["ingest"].append(bench.ingest_s())
            taken["bare"].append(bench.bare_s())
            taken["plain"].append(bench.plain_s())
    figures, details = _figures(bench, taken)
    notes = [
        f"{bench.n_documents} documents, {len(bench.chunk_texts):,} chunks, {len(bench.texts):,} texts embedded "
        f"(chunks, sentences and titles). The engine reserves space ahead, which weighs on a small index; what a chunk "
        "takes at scale is measured by `python -m benchmarks.hybrid`.",
        FAST if has_fast_matrices(shape()) else SLOW,
    ]
    publish(Report("ingest", command_line(parser, args), figures, notes, LIBRARIES, details), args.out)


def _figures(bench: Bench, taken: dict[str, list[float]]) -> tuple[list[Figure], dict]:
    ingest_s, bare_s, plain_s = (median(taken[name]) for name in ("ingest", "bare", "plain"))
    n_chunks, n_texts = len(bench.chunk_texts), len(bench.texts)
    share, speedup = bare_s / ingest_s, plain_s / ingest_s
    disk, peak_mb = bench.disk_bytes / n_chunks, peak_rss_mb()
    figures = [
        Figure(
            "whole ingest, texts/s", f"{n_texts / ingest_s:.1f}", f"bare encoder {n_texts / bare_s:.1f}",
            share, f"≥ {AIM_SHARE} ×", share >= AIM_SHARE, n_texts / ingest_s,
        ),
        Figure(
            "whole ingest, chunks/s", f"{n_chunks / ingest_s:.1f}",
            f"SentenceTransformer.encode, chunks alone {n_chunks / plain_s:.1f}",
            speedup, f"≥ {AIM_PLAIN:g} ×", speedup >= AIM_PLAIN, n_chunks / ingest_s,
        ),
        Figure("disk after ingest", f"{disk / 1000:.2f} KB a chunk", value=disk),
        Figure("peak memory, both encoders loaded", f"{peak_mb:,.0f} MB", value=peak_mb),
    ]  # fmt: skip
    details = {"seconds": taken, "n_chunks": n_chunks, "n_texts": n_texts, "disk_bytes": bench.disk_bytes}
    return figures, details


if __name__ == "__main__":
    main()

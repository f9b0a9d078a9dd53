"""Whole ingest beside the bare encoder on the same texts, and beside plain encoding of the chunks alone.

A whole ingest reads, extracts, chunks, embeds chunks, sentences and titles, writes, makes BM25 exact and optimises,
into a fresh embedded index, without remembered vectors. The bare encoder gets the very texts that the ingest embedded,
in one call; plain `SentenceTransformer.encode` (fp32, default arguments) gets the chunks' texts with their titles and
headings. All three take turns. Then a part of the corpus is cut anew, with the vectors remembered and without.

Without `--corpus` the corpus is made of Python's own documentation and library, in twelve file formats.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks import corpus
from benchmarks.encoder import FAST, LIBRARIES, SLOW, open_both
from benchmarks.figures import Figure, Report, arguments, command_line, publish, table
from benchmarks.machine import has_fast_matrices, shape
from benchmarks.stages import ENCODING, Spent, watched
from benchmarks.synthetic_index import peak_rss_mb, size_on_disk
from benchmarks.timing import median, seconds
from core.embed import Embedder
from core.index import Index, open_index
from core.settings import Settings
from ingest.pipeline import ingest
from ingest.sources import discover
from ingest.sources.discovery import find_files

AIM_SHARE, AIM_PLAIN = 0.9, 2.0
OTHER_CHUNK_TOKENS = 120
RECUT_SHARE = 8  # one document in so many is cut anew


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
    """Ingests into one fresh index after another."""

    def __init__(self, paths: list[str], folder: Path):
        self._paths, self._folder = paths, folder
        self._settings = Settings(vector_cache_mb=0)  # what was encoded before must be encoded again
        self.embedder, self.plain = open_both(self._settings)
        self.embedder.encode_documents(["warm"])
        self.plain.encode(["warm"])
        self._n_runs = self.disk_bytes = self.n_documents = self.source_bytes = 0
        self.texts: list[str] = []  # that the last ingest embedded
        self.chunk_texts: list[str] = []
        self.runs: list[dict[str, Spent]] = []

    def ingest_s(self) -> float:
        """Seconds of one whole ingest, the closing of the index included."""
        with self._open(self._settings) as index:
            recorder = index.embedder
            taken = seconds(lambda: self._watched_ingest(index))
            if not self.chunk_texts:
                self.chunk_texts = [found.chunk.embedding_text for batch in index.store.scan() for found in batch]
            taken += seconds(index.close)
        self.texts = recorder.texts
        self.disk_bytes = size_on_disk(self._index_folder)
        return taken

    def bare_s(self) -> float:
        """Seconds of the bare encoder on the same texts, in one call."""
        return seconds(lambda: self.embedder.encode_documents(self.texts))

    def plain_s(self) -> float:
        """Seconds of plain encoding on the chunks alone."""
        return seconds(lambda: self.plain.encode(self.chunk_texts))

    def recut_s(self, cache_dir: Path, chunk_tokens: int) -> float:
        """Seconds of an ingest of a part of the corpus with vectors remembered in `cache_dir`."""
        files = find_files(self._paths).files[::RECUT_SHARE]
        remembering = Settings(chunk_tokens=chunk_tokens, cache_dir=cache_dir)
        with self._open(self._settings.model_copy(update={"chunk_tokens": chunk_tokens})) as index:
            taken = seconds(lambda: ingest(index, discover(files), remembering))
            self.n_encoded = len(index.embedder.texts)
        return taken

    def _open(self, settings: Settings) -> Index:
        self._n_runs += 1
        self._index_folder = self._folder / f"index-{self._n_runs}"
        index = open_index(settings.model_copy(update={"index": str(self._index_folder)}), create=True)
        index.embedder = RecordingEmbedder(self.embedder)  # compiled and warm, as the others are
        return index

    def _watched_ingest(self, index: Index) -> None:
        sources = discover(self._paths)
        with watched(index, sources) as (stages, watched_sources, on_progress):
            summary = ingest(index, watched_sources, self._settings, on_progress=on_progress)
        if summary.failures:
            raise SystemExit(f"{summary}: {summary.failures[0].uri}: {summary.failures[0].reason}")
        self.n_documents, self.source_bytes = summary.new, sources.size_bytes
        self.runs.append(dict(stages.spent))


def main() -> None:
    """Measure, print, write."""
    parser = arguments("ingest", __doc__)
    parser.add_argument("--corpus", type=Path, nargs="+", help="files, folders or corpus.jsonl [Python's own texts]")
    parser.add_argument("--documents", type=int, default=300, help="documents of Python's own texts [300]")
    parser.add_argument("--rounds", type=int, default=2, help="turns [2]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = args.corpus or [corpus.write_mixed(Path(folder) / "corpus", args.documents)]
        bench = Bench([str(path) for path in paths], Path(folder))
        taken: dict[str, list[float]] = {"ingest": [], "bare": [], "plain": []}
        for _ in range(args.rounds):
            taken["ingest"].append(bench.ingest_s())
            taken["bare"].append(bench.bare_s())
            taken["plain"].append(bench.plain_s())
        peak_mb = peak_rss_mb()
        recut = _recut(bench, Path(folder))
    profile = _profile(bench, taken["ingest"])
    figures = [*_figures(bench, taken, peak_mb), *_recut_figures(recut)]
    notes = [
        f"{bench.n_documents} documents of {bench.source_bytes / 1e6:.1f} MB, {len(bench.chunk_texts):,} chunks, "
        f"{len(bench.texts):,} texts embedded (chunks, sentences and titles). The engine reserves space ahead, which "
        "weighs on a small index; what a chunk takes at scale is measured by `python -m benchmarks.hybrid`.",
        "Where the time of the quickest ingest goes. Stages overlap, so their shares add up to more than 1; processor "
        f"seconds are of the stage's own thread.\n\n{_profile_table(profile)}",
        FAST if has_fast_matrices(shape()) else SLOW,
    ]
    details = {
        "seconds": taken, "n_chunks": len(bench.chunk_texts), "n_texts": len(bench.texts),
        "disk_bytes": bench.disk_bytes, "profile": profile, "recut": recut,
    }  # fmt: skip
    publish(Report("ingest", command_line(parser, args), figures, notes, LIBRARIES, details), args.out)


def _figures(bench: Bench, taken: dict[str, list[float]], peak_mb: float) -> list[Figure]:
    ingest_s, bare_s, plain_s = (median(taken[name]) for name in ("ingest", "bare", "plain"))
    n_chunks, n_texts = len(bench.chunk_texts), len(bench.texts)
    share, speedup = bare_s / ingest_s, plain_s / ingest_s
    busy = median([run[ENCODING].wall_s / wall_s for run, wall_s in zip(bench.runs, taken["ingest"], strict=True)])
    disk = bench.disk_bytes / n_chunks
    return [
        Figure(
            "whole ingest, texts/s", f"{n_texts / ingest_s:.1f}", f"bare encoder {n_texts / bare_s:.1f}",
            share, f"≥ {AIM_SHARE} ×", share >= AIM_SHARE, n_texts / ingest_s,
        ),
        Figure("share of the time that the encoder is at work", f"{busy:.1%}", value=busy),
        Figure(
            "whole ingest, chunks/s", f"{n_chunks / ingest_s:.1f}",
            f"SentenceTransformer.encode, chunks alone {n_chunks / plain_s:.1f}",
            speedup, f"≥ {AIM_PLAIN:g} ×", speedup >= AIM_PLAIN, n_chunks / ingest_s,
        ),
        Figure("disk after ingest", f"{disk / 1000:.2f} KB a chunk", value=disk),
        Figure("peak memory, both encoders loaded", f"{peak_mb:,.0f} MB", value=peak_mb),
    ]  # fmt: skip


def _recut(bench: Bench, folder: Path) -> dict[str, dict[str, float]]:
    """Seconds and texts encoded: first, then smaller chunks, then back again; and the smaller chunks from nothing."""
    usual = Settings().chunk_tokens
    ways = {
        "first": ("kept", usual),
        "smaller": ("kept", OTHER_CHUNK_TOKENS),
        "back": ("kept", usual),
        "smaller from nothing": ("fresh", OTHER_CHUNK_TOKENS),
    }
    measured = {}
    for name, (cache, chunk_tokens) in ways.items():
        taken = bench.recut_s(folder / cache, chunk_tokens)
        measured[name] = {"seconds": taken, "texts_encoded": bench.n_encoded}
    return measured


def _recut_figures(recut: dict[str, dict[str, float]]) -> list[Figure]:
    pairs = {
        f"chunks of {OTHER_CHUNK_TOKENS} tokens after the usual": ("smaller", "smaller from nothing"),
        "back to the usual": ("back", "first"),
    }
    figures = []
    for name, (with_cache, without) in pairs.items():
        ours, theirs = recut[with_cache], recut[without]
        figures.append(
            Figure(
                f"re-ingest with vectors remembered, {name}",
                f"{ours['seconds']:.1f} s, {ours['texts_encoded']:,} texts encoded",
                f"from nothing {theirs['seconds']:.1f} s, {theirs['texts_encoded']:,}",
                theirs["seconds"] / ours["seconds"],
                value=ours["seconds"],
            )
        )
    return figures


def _profile(bench: Bench, taken: Sequence[float]) -> dict[str, dict[str, float]]:
    """Each stage of the quickest ingest: seconds, of them processor seconds, and the share of the whole."""
    wall_s, run = min(zip(taken, bench.runs, strict=True), key=lambda pair: pair[0])
    return {
        name: {**asdict(spent), "share": spent.wall_s / wall_s}
        for name, spent in sorted(run.items(), key=lambda item: -item[1].wall_s)
    }


def _profile_table(profile: dict[str, dict[str, float]]) -> str:
    rows = [
        [name, f"{stage['wall_s']:.2f} s", f"{stage['cpu_s']:.2f} s", f"{stage['share']:.1%}"]
        for name, stage in profile.items()
    ]
    return table(("Stage", "Time", "Processor", "Share of the whole"), rows)


if __name__ == "__main__":
    main()

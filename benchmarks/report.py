"""How long `limpid report` takes, check by check, and how much memory: on a synthetic corpus, or on a real one.

The synthetic corpus has clustered vectors and made-up text (see `benchmarks/synthetic.py`); the real encoder answers
what the checks ask of it. With `--corpus` the folder of a collection is ingested instead, and all its chunks are
reported on. The report is made in a process of its own, page and JSON written, as the command does: first with nothing
remembered, then again, then of the same index without every hundredth document. Indexes are kept in `--keep`.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zlib import crc32

from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.judged import ingested
from benchmarks.synthetic import SyntheticCorpus
from benchmarks.synthetic_index import Built, build, kept_or_temporary, open_synthetic, peak_rss_mb
from core.embed import open_embedder
from core.index import Index, open_index
from core.settings import Settings
from core.store import StoredChunk

AIM_S = {12_000: 180, 110_000: 1500}  # seconds for up to so many chunks: the aims are for about 10,000 and 100,000
AIM_MB = 4096
CHANGED = 100  # of so many documents one is left out
SHOWN = 0.01  # of the whole time; stages that take less are left to the JSON


@dataclass(slots=True)
class Stopwatch:
    """Stands where the console is: each stage that a report announces ends the one before."""

    stages: dict[str, float] = field(default_factory=dict)
    _stage: str = "the rest"
    _since: float = field(default_factory=time.perf_counter)

    def at(self, stage: str) -> None:
        """From now on the report is at this stage."""
        now = time.perf_counter()
        self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    @contextmanager
    def progress(self, label: str, total: float | None = None) -> Iterator[Any]:
        """See `api.console.Console.progress`."""
        self.at(label)
        yield lambda done, total=None, label=None, detail="": self.at(label or detail) if label or detail else None
        self.at("the rest")


def main() -> None:
    """Measure, print, write."""
    parser = arguments("report", __doc__)
    parser.add_argument("--n", type=int, default=10_000, help="chunks of the synthetic corpus [10,000]")
    parser.add_argument("--corpus", type=Path, help="folder of a collection, reported on in place of the synthetic one")
    parser.add_argument("--keep", type=Path, help="folder to keep the index in, or to find it in")
    args = parser.parse_args()
    with kept_or_temporary(args.keep) as keep, ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        if args.corpus:
            with ingested(args.corpus, keep):
                pass
            measured = pool.submit(_measure_real, keep / args.corpus.name).result()
        else:
            folder, built = build(SyntheticCorpus(args.n), keep)
            measured = pool.submit(_measure_synthetic, folder, built).result()
    publish(_report(measured, args.corpus.name if args.corpus else "synthetic", command_line(parser, args)), args.out)


def _measure_real(folder: Path) -> dict[str, Any]:
    settings = Settings(index=str(folder))
    with open_index(settings) as index:
        return _measure(index, settings)


def _measure_synthetic(folder: Path, built: Built) -> dict[str, Any]:
    settings = Settings()
    embedder = open_embedder(settings.model, settings.cache_dir, offline=settings.offline)
    with open_synthetic(folder, built, embedder.dimension, embedder) as index:
        return _measure(index, settings)


def _measure(index: Index, settings: Settings) -> dict[str, Any]:
    """Chunks, seconds of all and of each stage, this process' peak memory in MB, size of the page; seconds again."""
    with tempfile.TemporaryDirectory() as folder:
        beside = Path(folder) / "index"
        beside.mkdir()
        cold = settings.model_copy(update={"index": str(beside), "cache_dir": Path(folder)})
        measured = _once(index, cold, Path(folder))
        again = _once(index, cold, Path(folder))
        changed = _once(Index(_Fewer(index.store), index.embedder, index.meta), cold, Path(folder))  # type: ignore
    return measured | {"again": again, "changed": changed}


def _once(index: Index, settings: Settings, folder: Path) -> dict[str, Any]:
    from api.reporting import diagnose_index, write_report

    watch, started, worked = Stopwatch(), time.perf_counter(), time.process_time()
    page = folder / "report.html"
    made = write_report(index, settings, watch, page, diagnose_index(index, settings, watch))
    (folder / "report.json").write_text(json.dumps(made), encoding="utf-8")
    watch.at("done")
    return {
        "n": made["corpus"]["n_chunks"],
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - worked,
        "stages": watch.stages,
        "peak_mb": peak_rss_mb(),
        "page_bytes": page.stat().st_size,
        "n_flags": len(made["flags"]),
    }


class _Fewer:
    """As much of a store as a report needs, without every hundredth document."""

    def __init__(self, store: Any):
        self._store = store

    def count_chunks(self) -> int:
        """See `core.store.Store`."""
        return self._store.count_chunks()

    def scan(self, *, vectors: bool = False) -> Iterator[list[StoredChunk]]:
        """See `core.store.Store`."""
        for batch in self._store.scan(vectors=vectors):
            yield [found for found in batch if crc32(found.chunk.document_id.encode()) % CHANGED]


def _report(measured: dict[str, Any], name: str, command: str) -> Report:
    n, whole, peak = measured["n"], measured["seconds"], measured["peak_mb"]
    again, changed = measured["again"]["seconds"], measured["changed"]["seconds"]
    limit = next((seconds for size, seconds in sorted(AIM_S.items()) if n <= size), None)
    figures = [
        Figure(
            f"report on {n:,} chunks ({name})",
            f"{whole:.0f} s",
            aim=f"≤ {limit} s" if limit else "–",
            met=whole <= limit if limit else None,
            value=whole,
        ),
        Figure(
            "again, of the unchanged index",
            f"{again:.1f} s",
            ratio=whole / again,
            value=again,
        ),
        Figure("without every hundredth document", f"{changed:.0f} s", ratio=whole / changed, value=changed),
        Figure("its peak memory", f"{peak:,.0f} MB", aim=f"≤ {AIM_MB} MB", met=peak <= AIM_MB, value=peak),
    ]
    stages = sorted(measured["stages"].items(), key=lambda item: -item[1])
    figures += [Figure(f"of it: {stage}", f"{s:.1f} s", value=s) for stage, s in stages if s >= SHOWN * whole]
    notes = [f"The page has {measured['page_bytes'] / 2**20:.1f} MB; {measured['n_flags']:,} findings."]
    return Report("report", command, figures, notes, ("scikit-learn", "openTSNE"), details=measured)


if __name__ == "__main__":
    main()

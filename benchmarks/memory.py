"""Peak memory of an ingest of many short documents beside the engine's own, and a re-ingest where nothing changed.

The documents are made up: 40 to 80 words each, one record of a BEIR corpus. A stand-in takes the encoder's place,
because the encoder's own memory and time aren't what is measured: it hashes each text to a direction, at once and
always the same; tokens are counted by the real tokenizer. "The engine alone" writes the very points that the ingest
wrote, in batches of the same size, and optimises. Every measurement runs in a process of its own; the pages of mapped
files count.

The re-ingest is `limpid ingest` on a folder of small files that the index holds already, from process start to output.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np

from benchmarks.cli import limpid, run
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.synthetic_index import peak_rss_mb
from benchmarks.timing import median, seconds
from core.embed import Embedder
from core.index import Index, open_index
from core.settings import Settings
from core.sparse import Analyzer
from core.store import EmbeddedChunk
from core.store.edge import EdgeStore
from ingest.pipeline import ingest
from ingest.sources import discover

AIM_EXTRA_MB, AIM_REINGEST_S = 600, 10
NOISE_MB = 60  # by which two peaks of the same work differ
N_WORDS, WORDS = 20_000, (40, 80)
SYLLABLES = [first + vowel for first in "bdfgklmnprstvz" for vowel in "aeiou"]
WORDS_PER_SENTENCE = 16
FILES_PER_FOLDER = 100
N_DIRECTIONS = 4096
BATCH = 256  # chunks to a write, as an ingest has them


class StandIn:
    """An encoder's name, dimension and tokenizer; vectors are the normalised sum of directions that a hash picks."""

    def __init__(self, embedder: Embedder):
        self._embedder = embedder
        rng = np.random.default_rng(0)
        self._directions = rng.standard_normal((N_DIRECTIONS, embedder.dimension), dtype=np.float32)

    def __getattr__(self, name: str):
        return getattr(self._embedder, name)

    def encode_documents(self, texts: Sequence[str], on_progress: Callable[[int], None] | None = None) -> np.ndarray:
        """See `core.embed.Embedder.encode_documents`."""
        picked = np.array([list(blake2b(text.encode(), digest_size=6).digest()) for text in texts]).reshape(-1, 3, 2)
        vectors = self._directions[picked @ (256, 1) % N_DIRECTIONS].sum(axis=1)
        if on_progress:
            on_progress(len(texts))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    """Measure, print, write."""
    parser = arguments("memory", __doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[50_000, 100_000], help="documents [50,000 and 100,000]")
    parser.add_argument("--files", type=int, default=10_000, help="files of the re-ingest [10,000]")
    parser.add_argument("--runs", type=int, default=3, help="re-ingests [3]")
    args = parser.parse_args()
    peaks = {}
    for n in args.n:
        with tempfile.TemporaryDirectory() as folder:
            peaks[n] = _peaks(n, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        reingests = _reingest(args.files, args.runs, Path(folder))
    figures = [*_figures(peaks), _reingest_figure(args.files, reingests)]
    notes = ["A stand-in takes the encoder's place; see `benchmarks/memory.py`."]
    details = {"peak_rss_mb": peaks, "reingest_seconds": reingests}
    publish(Report("memory", command_line(parser, args), figures, notes, (), details), args.out)


def write_records(path: Path, n: int) -> None:
    """A BEIR corpus of `n` made-up texts of 40 to 80 words."""
    with path.open("w", encoding="utf-8") as file:
        for number, text in enumerate(_texts(n)):
            file.write(json.dumps({"_id": f"doc-{number}", "title": "", "text": text}) + "\n")


def write_small_files(folder: Path, n: int) -> None:
    """`n` such texts as files, 100 to a folder, folders in folders."""
    for number, text in enumerate(_texts(n)):
        group = number // FILES_PER_FOLDER
        path = folder / f"part-{group // 10}" / f"section-{group % 10}" / f"note-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _texts(n: int) -> Iterator[str]:
    rng = np.random.default_rng(1)
    words = np.array(["".join(rng.choice(SYLLABLES, size=rng.integers(2, 5))) for _ in range(N_WORDS)])
    for _ in range(n):
        chosen = words[rng.integers(N_WORDS, size=rng.integers(WORDS[0], WORDS[1] + 1))]
        sentences = (chosen[first : first + WORDS_PER_SENTENCE] for first in range(0, len(chosen), WORDS_PER_SENTENCE))
        yield " ".join(" ".join(sentence).capitalize() + "." for sentence in sentences)


def _peaks(n: int, folder: Path) -> dict[str, float]:
    """Peak memory in MB of an ingest of `n` documents and of the engine alone."""
    corpus, index, points = folder / "corpus.jsonl", folder / "index", folder / "points.pickle"
    write_records(corpus, n)
    peak_ingest = _in_process(_ingest, corpus, index)
    _in_process(_copy_points, index, points)
    return {"ingest": peak_ingest, "engine": _in_process(_write_points, points, folder / "engine")}


def _in_process(work: Callable, *args):
    """What `work` returns, from a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def _ingest(source: Path, folder: Path) -> float:
    """Ingests with the stand-in; returns the process' peak memory in MB."""
    settings = Settings(index=str(folder), vector_cache_mb=0)
    with _opened(settings, create=True) as index:
        summary = ingest(index, discover([str(source)]), settings)
        if summary.failures:
            raise SystemExit(f"{summary}: {summary.failures[0].uri}: {summary.failures[0].reason}")
    return peak_rss_mb()


def _opened(settings: Settings, create: bool = False) -> Index:
    index = open_index(settings, create=create)
    index.embedder = StandIn(index.embedder)
    return index


def _copy_points(folder: Path, points: Path) -> None:
    """Writes all that an index holds to a file: its metadata fields, then batches ready for `EdgeStore.upsert`."""
    with _opened(Settings(index=str(folder))) as index, points.open("wb") as file:
        analyzer: Analyzer = index.analyzer
        pickle.dump(index.meta.fields, file)
        for batch in index.store.scan(vectors=True, batch=BATCH):
            embedded = [
                EmbeddedChunk(
                    found.chunk, "copied", found.dense, found.sentences, analyzer.document(found.chunk.lexical_text)
                )
                for found in batch
            ]
            firsts = [found.chunk.document_id for found in batch if found.chunk.position == 0]
            pickle.dump((embedded, index.store.load_records(firsts)), file)


def _write_points(points: Path, folder: Path) -> float:
    """Writes the points to a bare engine; returns the process' peak memory in MB."""
    store = None
    with points.open("rb") as file:
        fields = pickle.load(file)
        while file.peek(1):
            embedded, records = pickle.load(file)
            if store is None:
                store = EdgeStore(folder, len(embedded[0].dense))
                for name, kind in fields.items():
                    store.index_field(f"meta.{name}", kind)
            store.upsert(embedded, records)
    store.optimize()
    store.close()
    return peak_rss_mb()


def _reingest(n_files: int, n_runs: int, folder: Path) -> list[float]:
    """Seconds of each `limpid ingest` of unchanged files, after one to warm up."""
    corpus, index = folder / "corpus", folder / "index"
    write_small_files(corpus, n_files)
    _in_process(_ingest, corpus, index)
    command = [*limpid(), "ingest", str(corpus), "--index", str(index), "--json"]
    unchanged = json.loads(run(command))["unchanged"]
    if unchanged != n_files:
        raise SystemExit(f"{n_files - unchanged} of {n_files} files were taken for changed.")
    return [seconds(lambda: run(command)) for _ in range(n_runs)]


def _figures(peaks: dict[int, dict[str, float]]) -> list[Figure]:
    extra = {n: peak["ingest"] - peak["engine"] for n, peak in peaks.items()}
    figures = [
        Figure(
            f"ingest of {n:,} short documents, peak memory beyond the engine's",
            f"{extra[n]:,.0f} MB of {peak['ingest']:,.0f} MB",
            f"the engine alone {peak['engine']:,.0f} MB",
            peak["engine"] / peak["ingest"],
            f"≤ {AIM_EXTRA_MB} MB",
            extra[n] <= AIM_EXTRA_MB,
            extra[n],
        )
        for n, peak in peaks.items()
    ]
    if len(extra) > 1:
        least, most = min(extra), max(extra)
        growth = extra[most] - extra[least]
        figures.append(
            Figure(
                f"growth of that from {least:,} to {most:,} documents", f"{growth:,.0f} MB",
                aim=f"≤ {NOISE_MB} MB", met=growth <= NOISE_MB, value=growth,
            )
        )  # fmt: skip
    return figures


def _reingest_figure(n_files: int, taken: Sequence[float]) -> Figure:
    middle = median(taken)
    return Figure(
        f"`limpid ingest` of {n_files:,} unchanged files", f"{middle:.1f} s",
        aim=f"≤ {AIM_REINGEST_S} s", met=middle <= AIM_REINGEST_S, value=middle,
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""A synthetic corpus written to an embedded index, in a process of its own so that its peak memory can be told."""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.synthetic import SyntheticCorpus
from core.fingerprint import SCHEMA, Fingerprint, Meta
from core.index import Index
from core.sparse import Analyzer
from core.store.edge import EdgeStore, exists

BM25_K1, BM25_B = 1.2, 0.75
MIN_FREE_MB = 256
RECEIPT = "built.json"


@dataclass(frozen=True, slots=True)
class Built:
    """What building took. `upsert_s` is time in `EdgeStore.upsert` alone; `avg_len` is BM25's measured average."""

    n: int
    avg_len: float
    upsert_s: float
    optimize_s: float
    peak_rss_mb: float
    disk_bytes: int
    text_bytes: int
    vector_bytes: int

    @classmethod
    def read(cls, folder: Path) -> Self:
        """From the receipt in `folder`."""
        return cls(**json.loads((folder / RECEIPT).read_text(encoding="utf-8")))


@contextmanager
def kept_or_temporary(keep: Path | None) -> Iterator[Path]:
    """`keep`, or a folder that is removed afterwards."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def build(corpus: SyntheticCorpus, keep: Path, quantization: str = "none") -> tuple[Path, Built]:
    """The corpus' index below `keep`, built there unless it is already; its folder and what building took."""
    name = f"synthetic-{corpus.n}x{corpus.dimension}-{corpus.seed}"
    folder = keep / (name if quantization == "none" else f"{name}-{quantization}")
    receipt = folder / RECEIPT
    if not receipt.is_file():
        if exists(folder / "index"):
            raise SystemExit(f"{folder} holds an unfinished index; remove it and run again.")
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            built = pool.submit(_build, corpus, folder / "index", quantization).result()
        receipt.write_text(json.dumps(asdict(built)), encoding="utf-8")
    return folder / "index", Built.read(folder)


def open_synthetic(folder: Path, built: Built, dimension: int, embedder) -> Index:
    """The index, with `embedder` in the encoder's place."""
    fingerprint = Fingerprint(
        schema=SCHEMA,
        model="synthetic",
        weights="",
        dimension=dimension,
        max_tokens=256,
        query_prompt="",
        document_prompt="",
        language="english",
        bm25_k1=BM25_K1,
        bm25_b=BM25_B,
        chunker="synthetic",
        chunk_tokens=200,
    )
    meta = Meta(fingerprint, built.avg_len, exact=True, fields={"year": "integer"})
    return Index(EdgeStore(folder, min_free_mb=MIN_FREE_MB), embedder, meta)


def size_on_disk(folder: Path) -> int:
    """Bytes in blocks that the folder's files take up; the engine allocates ahead, so lengths would say more."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def peak_rss_mb() -> float:
    """This process' greatest resident memory so far; pages of mapped files count."""
    with suppress(OSError):  # the kernel's other count includes what the parent held when it started this process
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _build(corpus: SyntheticCorpus, folder: Path, quantization: str) -> Built:
    average = _average_length(corpus)
    analyzer = Analyzer("english", BM25_K1, BM25_B, average)
    upsert_s, text_bytes, vector_bytes = 0.0, 0, 0
    store = EdgeStore(folder, corpus.dimension, MIN_FREE_MB, quantization)
    for batch in range(corpus.n_batches):
        chunks, records = corpus.embedded(batch, analyzer)
        started = time.perf_counter()
        store.upsert(chunks, records)
        upsert_s += time.perf_counter() - started
        text_bytes += sum(len(chunk.chunk.text) for chunk in chunks)
        vector_bytes += sum(4 * chunk.dense.size + 2 * chunk.sentences.size for chunk in chunks)
    started = time.perf_counter()
    store.optimize()
    optimize_s = time.perf_counter() - started
    store.close()
    disk = size_on_disk(folder)
    return Built(corpus.n, average, upsert_s, optimize_s, peak_rss_mb(), disk, text_bytes, vector_bytes)


def _average_length(corpus: SyntheticCorpus) -> float:
    """Every word is one term, so that words can be counted in the place of terms."""
    return float(
        np.mean(
            [len(chunk.lexical_text.split()) for batch in range(corpus.n_batches) for chunk, _ in corpus.chunks(batch)]
        )
    )

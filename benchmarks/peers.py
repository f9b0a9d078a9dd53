"""Embedded hybrid search side by side with LanceDB, Chroma and txtai: the same vectors and texts, in one run.

Every contender builds its index on disk and is then asked in a process of its own, block of queries by block of
queries in turn; vectors of queries are prepared, so no encoder takes part. The one setting that trades recall for time
is raised until the dense leg's recall@10 reaches that of Limpid, or .99 where Limpid's is higher. What isn't installed
is a row that says so: `pip install -c constraints.txt -e '.[bench]'`. Building 100,000 passages takes minutes; `--keep`
keeps the indexes for the next run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.contenders import CONTENDERS, Contender, K, Vectors
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.machine import resident_mb
from benchmarks.timing import each_ms, percentiles

if TYPE_CHECKING:
    from benchmarks.synthetic import SyntheticCorpus  # children read this file too, and are charged what it imports

OURS = "Limpid"
ENOUGH_RECALL = 0.99
BLOCK, N_WARM_UP = 50, 100
LEGS = ("dense", "hybrid")
INSTALL = "pip install -c constraints.txt -e '.[bench]'"

_open: Contender  # in a child: what it serves


@dataclass
class Measured:
    """One contender's figures. Memory is what the process holds after all queries, and how much of it no file backs."""

    setting: int
    recall: float
    build_s: float
    disk_bytes: int
    taken_ms: dict[str, list[float]] = field(default_factory=lambda: {leg: [] for leg in LEGS})
    resident_mb: float = 0.0
    anonymous_mb: float = 0.0

    def to_json(self) -> dict:
        """Percentiles in the place of all milliseconds."""
        rest = {key: value for key, value in vars(self).items() if key != "taken_ms"}
        return rest | {f"{leg}_ms": percentiles(taken) for leg, taken in self.taken_ms.items()}


class Child:
    """A process that serves one contender's index."""

    def __init__(self, name: str, folder: Path, vectors: Vectors):
        self.settings = CONTENDERS[name].SETTINGS
        self._pool = _process()
        self._call(_serve, name, folder, vectors)

    def _call(self, function, *args):
        return self._pool.submit(function, *args).result()

    def tune(self, value: int) -> None:
        """As `Contender.tune`."""
        self._call(_tune, value)

    def answers(self, leg: str, texts: Sequence[str]) -> list[list[str]]:
        """Ids for each query."""
        return self._call(_answers, leg, texts)

    def timed(self, leg: str, texts: Sequence[str]) -> list[float]:
        """Milliseconds of each query."""
        return self._call(_timed, leg, texts)

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory of the process, and the part that isn't pages of files."""
        return self._call(resident_mb)

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def main() -> None:
    """Build or find, tune, measure in turn, print, write."""
    parser = arguments("peers", __doc__)
    parser.add_argument("--n", type=int, default=100_000, help="passages [100000]")
    parser.add_argument("--queries", type=int, default=500, help="queries for latency [500]")
    parser.add_argument("--recall-queries", type=int, default=200, help="queries for recall [200]")
    parser.add_argument("--peers", nargs="*", choices=list(CONTENDERS)[1:], default=list(CONTENDERS)[1:])
    parser.add_argument("--keep", type=Path, help="folder to keep the indexes in, or to find them in")
    args = parser.parse_args()
    from benchmarks.synthetic import SyntheticCorpus
    from benchmarks.synthetic_index import kept_or_temporary

    corpus = SyntheticCorpus(args.n)
    with kept_or_temporary(args.keep) as keep:
        measured, missing = measure(corpus, keep, (OURS, *args.peers), args.queries, args.recall_queries)
    figures = [figure for name in args.peers if name in measured for figure in rows(name, measured, args.n)]
    figures += [Figure(name, "–", why) for name, why in missing.items()]
    details = {name: found.to_json() for name, found in measured.items()}
    libraries = [CONTENDERS[name].LIBRARY for name in args.peers]
    publish(Report("peers", command_line(parser, args), figures, _notes(args, measured), libraries, details), args.out)


def measure(
    corpus: SyntheticCorpus, keep: Path, names: Sequence[str], n_queries: int, n_recall: int
) -> tuple[dict[str, Measured], dict[str, str]]:
    """Figures of the contenders that work, Limpid first, and for those that don't, why."""
    queries = corpus.queries(max(n_queries, n_recall))
    vectors = {query.text: query.vector for query in queries}
    texts = [query.text for query in queries]
    truth = corpus.nearest([query.vector for query in queries[:n_recall]], K)
    measured: dict[str, Measured] = {}
    missing: dict[str, str] = {}
    children: dict[str, Child] = {}
    try:
        for name in names:
            print(f"{name}: building and tuning", flush=True)
            try:
                folder, receipt = built(name, corpus, keep)
                children[name] = Child(name, folder, vectors)
                wanted = min(measured[OURS].recall, ENOUGH_RECALL) if name != OURS else 0.0
                setting, recall = tuned(children[name], texts[:n_recall], truth, wanted)
            except ModuleNotFoundError as error:
                missing[name] = f"not installed ({error.name}): {INSTALL}"
            except Exception as error:  # a peer that fails is a row; without Limpid there is nothing to compare
                if name == OURS:
                    raise
                missing[name] = f"failed: {type(error).__name__}: {error}"
            else:
                measured[name] = Measured(setting, recall, **receipt)
        working = {name: child for name, child in children.items() if name in measured}
        _take_turns(working, measured, texts[:n_queries])
    finally:
        for child in children.values():
            child.close()
    return measured, missing


def built(name: str, corpus: SyntheticCorpus, keep: Path) -> tuple[Path, dict]:
    """The contender's index below `keep`, built there unless it is already; its folder, seconds and bytes."""
    from benchmarks.synthetic_index import size_on_disk

    kind = CONTENDERS[name]
    folder = keep / f"{kind.FOLDER}-{corpus.n}x{corpus.dimension}-{corpus.seed}"
    receipt = folder / "peer.json"
    if not receipt.is_file():
        if name != OURS and folder.exists():
            shutil.rmtree(folder)  # unfinished
        folder.mkdir(parents=True, exist_ok=True)
        pool = _process()
        try:
            build_s = pool.submit(kind.build, corpus, folder / "index").result()
        finally:
            pool.shutdown()
        disk_bytes = size_on_disk(folder / "index")
        receipt.write_text(json.dumps({"build_s": build_s, "disk_bytes": disk_bytes}), encoding="utf-8")
    return folder / "index", json.loads(receipt.read_text(encoding="utf-8"))


def tuned(child: Child, texts: Sequence[str], truth: Sequence[set[str]], wanted: float) -> tuple[int, float]:
    """The cheapest setting with at least the wanted recall@10, or the one with the best; its recall."""
    found: dict[int, float] = {}
    for value in child.settings:
        child.tune(value)
        answers = child.answers("dense", texts)
        found[value] = float(np.mean([len(best & set(ids)) / K for best, ids in zip(truth, answers, strict=True)]))
        if found[value] >= wanted:
            break
    setting = next((value for value, recall in found.items() if recall >= wanted), max(found, key=found.get))
    child.tune(setting)
    return setting, found[setting]


def _take_turns(children: dict[str, Child], measured: dict[str, Measured], texts: Sequence[str]) -> None:
    for child in children.values():
        for leg in LEGS:
            child.timed(leg, texts[-N_WARM_UP:])
    for first in range(0, len(texts), BLOCK):
        block = texts[first : first + BLOCK]
        for leg in LEGS:
            for name, child in children.items():
                measured[name].taken_ms[leg] += child.timed(leg, block)
    for name, child in children.items():
        measured[name].resident_mb, measured[name].anonymous_mb = child.memory_mb()


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))


def _serve(name: str, folder: Path, vectors: Vectors) -> None:
    global _open  # noqa: PLW0603
    _open = CONTENDERS[name](folder, vectors)


def _tune(value: int) -> None:
    _open.tune(value)


def _answers(leg: str, texts: Sequence[str]) -> list[list[str]]:
    return [getattr(_open, leg)(text) for text in texts]


def _timed(leg: str, texts: Sequence[str]) -> list[float]:
    return each_ms(getattr(_open, leg), texts)


def rows(name: str, measured: dict[str, Measured], n: int) -> list[Figure]:
    """Limpid beside one peer."""
    ours, peer = measured[OURS], measured[name]
    row = partial(_row, name, ours, peer)
    kind = CONTENDERS[name]
    recall = Figure(
        f"{name}: dense recall@10, {n:,} passages",
        f"{ours.recall:.4f}",
        f"{peer.recall:.4f} ({kind.SETTING} {peer.setting})",
        ours.recall / peer.recall,
        "≥",
        ours.recall >= peer.recall,
        ours.recall,
    )
    times = [
        Figure(
            f"{name}: {leg} query, p50 / p95",
            _latency(ours, leg),
            _latency(peer, leg),
            percentiles(peer.taken_ms[leg])["p95"] / percentiles(ours.taken_ms[leg])["p95"],
            "lower p95",
            percentiles(ours.taken_ms[leg])["p95"] < percentiles(peer.taken_ms[leg])["p95"],
            percentiles(ours.taken_ms[leg])["p95"],
        )
        for leg in LEGS
    ]
    return [
        recall,
        *times,
        row("build", lambda found: f"{found.build_s:.1f} s", lambda found: found.build_s),
        row(
            "disk", lambda found: f"{found.disk_bytes / n / 1000:.2f} KB a passage", lambda found: found.disk_bytes / n
        ),
        row(
            "resident memory (not of files)",
            lambda found: f"{found.resident_mb:,.0f} MB ({found.anonymous_mb:,.0f} MB)",
            lambda found: found.resident_mb,
        ),
    ]


def _row(name: str, ours: Measured, peer: Measured, what: str, told, value) -> Figure:
    return Figure(f"{name}: {what}", told(ours), told(peer), value(peer) / value(ours), value=value(ours))


def _latency(found: Measured, leg: str) -> str:
    shares = percentiles(found.taken_ms[leg])
    return f"{shares['p50']:.2f} / {shares['p95']:.2f} ms"


def _notes(args: argparse.Namespace, measured: dict[str, Measured]) -> list[str]:
    parts = [f"{name}: {CONTENDERS[name].STATED}; hybrid is {CONTENDERS[name].HYBRID}" for name in measured]
    return [
        f"{args.n:,} passages, {args.queries:,} queries of 2 to 6 words with prepared vectors, {K} passages with their "
        "texts each, one client. Every contender is in a process of its own and they take turns, "
        f"{BLOCK} queries at a time. Peers' search settings are the cheapest whose recall@10 reaches Limpid's, or "
        f"{ENOUGH_RECALL} where that is higher. Limpid also stores and scores sentence vectors, and explains its hits; "
        "txtai's memory holds torch, which it imports.",
        *(f"{part}." for part in parts),
    ]


if __name__ == "__main__":
    main()

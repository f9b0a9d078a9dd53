"""Hybrid queries on a synthetic index, without the encoder: latency, stages, recall, writing, disk and memory.

Chunks with clustered vectors, about six sentence vectors each, Zipf text and whole payloads are written through the
embedded store. Queries go through the same retriever as everyone's, which gets prepared vectors where it would ask
the encoder: ten hits with payload, reasons and best sentence. Building 100,000 chunks takes minutes; `--keep` keeps
the index for the next run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.synthetic import Query, SyntheticCorpus
from benchmarks.synthetic_index import Built, build, kept_or_temporary, open_synthetic, peak_rss_mb
from benchmarks.timing import each_ms, median, percentiles
from core.index import Index
from core.unrelated import questions
from search.retriever import Retriever

AIM_P50_MS, AIM_P95_MS, AIM_RECALL, AIM_DISK_BYTES = 2.5, 4.0, 0.97, 9_000
AIMED_N = 100_000  # the aims are stated for this many chunks
K, CANDIDATES, N_WARM_UP = 10, 100, 200
STAGES = ("candidates", "score", "fetch")


class PreparedQueries:
    """Stands where the encoder is: the vector of a query is looked up, its tokens are its words."""

    prompts = {"query": "", "document": ""}  # noqa: RUF012
    max_tokens = 256

    def __init__(self, queries: Sequence[Query]):
        dimension = len(queries[0].vector)
        unrelated = np.random.default_rng(0).standard_normal((len(questions()), dimension), dtype=np.float32)
        unrelated /= np.linalg.norm(unrelated, axis=1, keepdims=True)
        self._vectors = dict(zip(questions(), unrelated, strict=True))  # they point anywhere
        self._vectors |= {query.text: query.vector for query in queries}
        self.tokenizer = self

    def encode(self, texts: Sequence[str]) -> list[list[str]]:
        """Words of each text."""
        return [text.split() for text in texts]

    def encode_query(self, text: str) -> np.ndarray:
        """The prepared vector."""
        return self._vectors[text]


class TimedStore:
    """A store that notes how long the stages of a query take."""

    def __init__(self, store):
        self._store = store
        self.taken_ms: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def __getattr__(self, name: str):
        call = getattr(self._store, name)
        if name not in STAGES:
            return call

        def timed(*args, **kwargs):
            started = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.taken_ms[name].append(1000 * (time.perf_counter() - started))

        return timed


def main() -> None:
    """Build or open, measure, print, write."""
    parser = arguments("hybrid", __doc__)
    parser.add_argument("--n", type=int, default=AIMED_N, help="chunks [100000]")
    parser.add_argument("--queries", type=int, default=1_000, help="queries for latency [1000]")
    parser.add_argument("--recall-queries", type=int, default=300, help="queries for recall [300]")
    parser.add_argument("--clients", type=int, default=2, help="concurrent clients [2]")
    parser.add_argument("--keep", type=Path, help="folder to keep the index in, or to find it in")
    args = parser.parse_args()
    corpus = SyntheticCorpus(args.n)
    with kept_or_temporary(args.keep) as keep:
        folder, built = build(corpus, keep)
        queries = corpus.queries(args.queries)
        with open_synthetic(folder, built, corpus.dimension, PreparedQueries(queries)) as index:
            figures, notes, details = _measure(index, corpus, built, queries, args)
    report = Report("hybrid", command_line(parser, args), figures, notes, details=details)
    publish(report, args.out)


def _measure(
    index: Index, corpus: SyntheticCorpus, built: Built, queries: list[Query], args: argparse.Namespace
) -> tuple[list[Figure], list[str], dict]:
    latency = _latency(index, queries)
    stages = _stages(index, queries)
    clients = _clients(index, queries, args.clients)
    resident_mb = peak_rss_mb()  # before brute force holds all vectors in memory
    recall, engine_ms, brute_ms = _against_brute_force(index, corpus, queries[: args.recall_queries])
    figures = [
        *_latency_figures(latency, args.n),
        _recall_figure(recall, args.n),
        Figure("dense leg, p50", f"{engine_ms:.2f} ms", f"NumPy brute force {brute_ms:.2f} ms", brute_ms / engine_ms),
        _clients_figure(clients, args.clients),
        *_building_figures(built, args.n),
        Figure("peak memory while querying", f"{resident_mb:,.0f} MB", value=resident_mb),
    ]
    whole = sum(stages.values())
    parts = ", ".join(f"{stage} {ms:.2f} ms ({ms / whole:.0%})" for stage, ms in stages.items())
    notes = [
        f"{args.n:,} chunks of {corpus.dimension} dimensions, {len(queries):,} queries of 2 to 6 words, {K} hits each, "
        f"{CANDIDATES} candidates a leg. The encoder is left out: query vectors are prepared. Peak memory counts the "
        "pages of mapped files, which the system takes back when it needs them.",
        f"Where a query's time goes (medians): {parts}.",
    ]
    details = {
        "latency_ms": latency,
        "stages_ms": stages,
        "clients": clients,
        "built": asdict(built),
        "recall_at_10": recall,
        "dense_ms": engine_ms,
        "brute_force_ms": brute_ms,
        "querying_rss_mb": resident_mb,
    }
    return figures, notes, details


def _latency(index: Index, queries: list[Query]) -> dict[str, dict[str, float]]:
    """Percentiles of whole hybrid queries and, query by query in turn, of the engine's two legs alone."""
    retriever = Retriever(index, CANDIDATES)
    analyzer = index.analyzer

    def legs(query: Query) -> None:
        index.store.candidates(query.vector, analyzer.query(query.text), CANDIDATES)

    def hybrid(query: Query) -> None:
        retriever.search(query.text, K)

    for call in (legs, hybrid):
        each_ms(call, queries[-N_WARM_UP:])
    taken: dict[str, list[float]] = {"hybrid": [], "legs": []}
    for query in queries:
        taken["hybrid"] += each_ms(hybrid, [query])
        taken["legs"] += each_ms(legs, [query])
    return {name: percentiles(values) for name, values in taken.items()}


def _stages(index: Index, queries: list[Query]) -> dict[str, float]:
    """Median milliseconds of each stage; what the store doesn't take is analysis, fusion and making hits, in Python."""
    timed = TimedStore(index.store)
    retriever = Retriever(Index(timed, index.embedder, index.meta), CANDIDATES)
    whole = each_ms(lambda query: retriever.search(query.text, K), queries)
    rest = np.asarray(whole) - sum(np.asarray(values) for values in timed.taken_ms.values())
    return {stage: median(values) for stage, values in timed.taken_ms.items()} | {"fusion and hits": median(rest)}


def _clients(index: Index, queries: list[Query], n_clients: int) -> dict[str, float]:
    """Queries per second of one client and of several, and the latency that each of the several sees."""
    retriever = Retriever(index, CANDIDATES)

    def client(_: int) -> list[float]:
        return each_ms(lambda query: retriever.search(query.text, K), queries)

    rates: dict[int, list[float]] = {1: [], n_clients: []}
    latencies: list[float] = []
    for _ in range(2):
        for number, seen in rates.items():
            started = time.perf_counter()
            with ThreadPoolExecutor(number) as pool:
                taken = list(pool.map(client, range(number)))
            seen.append(number * len(queries) / (time.perf_counter() - started))
            if number == n_clients:
                latencies += [ms for values in taken for ms in values]
    return {"one_qps": median(rates[1]), "several_qps": median(rates[n_clients])} | percentiles(latencies)


def _against_brute_force(index: Index, corpus: SyntheticCorpus, queries: list[Query]) -> tuple[float, float, float]:
    """Recall@10 of the dense leg, its median milliseconds, and those of NumPy over all vectors."""
    matrix = np.concatenate([corpus.vectors(batch) for batch in range(corpus.n_batches)])
    shares, engine_ms, brute_ms = [], [], []
    for query in queries:
        started = time.perf_counter()
        found = index.store.candidates(query.vector, None, CANDIDATES).dense
        answered = time.perf_counter()
        scores = matrix @ query.vector
        best = np.argpartition(-scores, CANDIDATES if len(scores) > CANDIDATES else K)[:CANDIDATES]
        best = best[np.argsort(-scores[best])][:K]
        brute_ms.append(1000 * (time.perf_counter() - answered))
        engine_ms.append(1000 * (answered - started))
        truth = {corpus.chunk_id(int(row)) for row in best}
        shares.append(len(truth & {chunk_id for chunk_id, _ in found[:K]}) / K)
    return float(np.mean(shares)), median(engine_ms), median(brute_ms)


def _latency_figures(latency: dict[str, dict[str, float]], n: int) -> list[Figure]:
    aims = {"p50": AIM_P50_MS, "p95": AIM_P95_MS, "p99": None}
    figures = []
    for share, aim in aims.items():
        ours, legs = latency["hybrid"][share], latency["legs"][share]
        is_aimed = aim is not None and n >= AIMED_N
        figures.append(
            Figure(
                f"hybrid query, completed scores, {n:,} chunks, {share}",
                f"{ours:.2f} ms",
                f"its two legs alone {legs:.2f} ms",
                legs / ours,
                f"≤ {aim} ms" if is_aimed else "–",
                ours <= aim if is_aimed else None,
                ours,
            )
        )
    return figures


def _recall_figure(recall: float, n: int) -> Figure:
    is_aimed = n >= AIMED_N
    aim = f"≥ {AIM_RECALL}" if is_aimed else "–"
    return Figure(
        "dense recall@10",
        f"{recall:.4f}",
        "NumPy brute force 1",
        recall,
        aim,
        recall >= AIM_RECALL if is_aimed else None,
        recall,
    )


def _clients_figure(clients: dict[str, float], n_clients: int) -> Figure:
    one, several = clients["one_qps"], clients["several_qps"]
    limpid = f"{several:,.0f} queries/s, p50 {clients['p50']:.2f} ms, p95 {clients['p95']:.2f} ms"
    return Figure(
        f"{n_clients} concurrent clients", limpid, f"one client {one:,.0f} queries/s", several / one, value=several
    )


def _building_figures(built: Built, n: int) -> list[Figure]:
    disk, content = built.disk_bytes / n, (built.vector_bytes + 2 * built.text_bytes) / n
    is_aimed = n >= AIMED_N
    return [
        Figure("upsert", f"{n / built.upsert_s:,.0f} chunks/s", value=n / built.upsert_s),
        Figure("optimise (HNSW)", f"{built.optimize_s:.1f} s", value=built.optimize_s),
        Figure(
            "disk, sentences and documents' texts included",
            f"{disk / 1000:.2f} KB a chunk",
            f"its bare vectors and text {content / 1000:.2f} KB",
            content / disk,
            f"≤ {AIM_DISK_BYTES // 1000} KB" if is_aimed else "–",
            disk <= AIM_DISK_BYTES if is_aimed else None,
            disk,
        ),
        Figure("peak memory while building", f"{built.peak_rss_mb:,.0f} MB", value=built.peak_rss_mb),
    ]


if __name__ == "__main__":
    main()

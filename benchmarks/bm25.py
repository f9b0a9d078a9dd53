"""BM25 query time on Zipf passages beside rank-bm25 and bm25s, at 20,000 and 100,000 passages.

All three search the same terms (see `benchmarks.synthetic`) and return the best 100. Ours analyses the query's text,
theirs get it split into words already; rank-bm25's scores are cut with NumPy; bm25s runs on one thread, in the faster
of its NumPy and numba modes where numba is installed. Contenders take turns, block by block of queries.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.synthetic import SyntheticCorpus
from benchmarks.synthetic_index import BM25_B, BM25_K1, build, kept_or_temporary, open_synthetic
from benchmarks.timing import each_ms, percentiles
from core.index import Index

LIBRARIES = ("rank-bm25", "bm25s", "numba")
K = 100
AIM_RANK_BM25, AIMED_N = 300, 100_000
ROUNDS = 5  # rank-bm25 answers a fifth of the queries in each, the others all
Answer = list[tuple[int, float]]  # positions in the corpus with scores, best first


def main() -> None:
    """Measure each size, print, write."""
    parser = arguments("bm25", __doc__)
    parser.add_argument("--n", type=int, nargs="+", default=[20_000, AIMED_N], help="passages [20000 100000]")
    parser.add_argument("--queries", type=int, default=100, help="queries of 2 to 6 words [100]")
    parser.add_argument("--keep", type=Path, help="folder to keep the indexes in, or to find them in")
    args = parser.parse_args()
    figures, notes, details = [], [], {}
    for n in args.n:
        rows, note, measured = _measure(SyntheticCorpus(n), args)
        figures += rows
        notes.append(note)
        details[str(n)] = measured
    command = command_line(parser, args) + (
        "" if args.n == parser.get_default("n") else f" --n {' '.join(map(str, args.n))}"
    )
    publish(Report("bm25", command, figures, notes, LIBRARIES, details), args.out)


def _measure(corpus: SyntheticCorpus, args: argparse.Namespace) -> tuple[list[Figure], str, dict]:
    texts = [query.text for query in corpus.queries(args.queries)]
    with kept_or_temporary(args.keep) as keep:
        folder, built = build(corpus, keep)
        with open_synthetic(folder, built, corpus.dimension, None) as index:
            contenders = {"limpid": _limpid(index), **_others(corpus)}
            agreement = _agreement(corpus, contenders, texts)
            taken = _alternate(contenders, texts)
    times = {name: percentiles(values) for name, values in taken.items()}
    fastest = min((name for name in times if name.startswith("bm25s")), key=lambda name: times[name]["p50"])
    figures = [_beside(corpus.n, times, "rank-bm25"), _beside(corpus.n, times, fastest)]
    note = (
        f"{corpus.n:,} passages: of our best {K}, {agreement['bm25s']:.1%} are among those of bm25s (same formula; "
        f"what differs are ties at the end) and {agreement['rank-bm25']:.1%} among those of rank-bm25 (another idf). "
        "Medians: " + ", ".join(f"{name} {values['p50']:.3f} ms" for name, values in times.items()) + "."
    )
    return figures, note, {"ms": times, "agreement": agreement}


def _limpid(index: Index) -> Callable[[str], list[tuple[str, float]]]:
    analyzer = index.analyzer
    return lambda text: index.store.candidates(None, analyzer.query(text), K).sparse


def _others(corpus: SyntheticCorpus) -> dict[str, Callable[[str], Answer]]:
    """The other engines over the same terms."""
    tokens = [text.lower().replace(".", " ").split() for text in corpus.lexical_texts()]
    others = {"bm25s": _bm25s(tokens, "numpy")}
    if importlib.util.find_spec("numba"):
        others["bm25s, numba"] = _bm25s(tokens, "numba")
    others["rank-bm25"] = _rank_bm25(tokens)
    gc.collect()
    gc.freeze()  # a hundred thousand dictionaries that no query should be made to wait for
    return others


def _rank_bm25(tokens: list[list[str]]) -> Callable[[str], Answer]:
    from rank_bm25 import BM25Okapi

    engine = BM25Okapi(tokens, k1=BM25_K1, b=BM25_B)
    return lambda text: _best(engine.get_scores(text.split()))


def _bm25s(tokens: list[list[str]], backend: str) -> Callable[[str], Answer]:
    import bm25s

    engine = bm25s.BM25(method="lucene", k1=BM25_K1, b=BM25_B, backend=backend)
    engine.index(tokens, show_progress=False)
    k = min(K, len(tokens))

    def answer(text: str) -> Answer:
        found, scores = engine.retrieve([text.split()], k=k, show_progress=False, n_threads=0)
        return list(zip(found[0].tolist(), scores[0].tolist(), strict=True))

    return answer


def _best(scores: np.ndarray) -> Answer:
    """The `K` highest scores, sorted."""
    k = min(K, len(scores))
    best = np.argpartition(scores, len(scores) - k)[-k:]
    best = best[np.argsort(-scores[best], kind="stable")]
    return list(zip(best.tolist(), scores[best].tolist(), strict=True))


def _alternate(contenders: dict[str, Callable[[str], object]], texts: list[str]) -> dict[str, list[float]]:
    """Milliseconds a query, blocks in turn; rank-bm25 sees each query once, the others `ROUNDS` times."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS):
        for name, call in contenders.items():
            taken[name] += each_ms(call, texts[turn::ROUNDS] if name == "rank-bm25" else texts)
    return taken


def _agreement(corpus: SyntheticCorpus, contenders: dict[str, Callable], texts: list[str]) -> dict[str, float]:
    """The share of our best that the others return too, over a fifth of the queries (this warms all of them up)."""
    position = {corpus.chunk_id(row): row for row in range(corpus.n)}
    shares: dict[str, list[float]] = {name: [] for name in contenders if name != "limpid"}
    for text in texts[::ROUNDS]:
        ours = {position[chunk_id] for chunk_id, _ in contenders["limpid"](text)}
        for name, seen in shares.items():
            theirs = {row for row, score in contenders[name](text) if score > 0}
            seen.append(len(ours & theirs) / max(1, len(ours)))
    return {name: float(np.mean(seen)) for name, seen in shares.items()}


def _beside(n: int, times: dict[str, dict[str, float]], other: str) -> Figure:
    ours, theirs = times["limpid"]["p50"], times[other]["p50"]
    least = {"rank-bm25": AIM_RANK_BM25 if n >= AIMED_N else None}.get(other, 1)
    return Figure(
        f"BM25 query, {n:,} passages, best {K}, p50",
        f"{ours:.3f} ms",
        f"{other} {theirs:.3f} ms",
        theirs / ours,
        f"≥ {least} ×" if least else "–",
        theirs / ours >= least if least else None,
        ours,
    )


if __name__ == "__main__":
    main()

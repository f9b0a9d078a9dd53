"""Judged quality on a BEIR collection: sparse, dense and two fusions, with intervals and paired tests.

The collection's folder holds corpus.jsonl, queries.jsonl and qrels.tsv. It is ingested once (`--keep` keeps the
index); documents are scored by their best chunk. Dense recall@10 of the engine is counted against brute force over
the vectors that the index holds. The default collection is scifact below $LIMPID_COLLECTIONS.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.synthetic_index import kept_or_temporary
from core.index import Index, open_index
from core.settings import Settings
from eval.judged import Evaluation, evaluate
from eval.trec import load_qrels, load_queries
from ingest.pipeline import ingest
from ingest.sources import discover
from search.retriever import Retriever

MODES = {
    "sparse": {"mode": "sparse"},
    "dense": {"mode": "dense"},
    "rrf": {"mode": "hybrid", "fusion": "rrf"},
    "convex": {"mode": "hybrid", "fusion": "convex"},
}
METRICS = ("nDCG@10", "R@100")
AIMS = {"scifact": {"sparse": 0.68, "dense": 0.655, "convex": 0.73}}  # nDCG@10
AIM_RECALL = 0.99
K, CANDIDATES = 10, 100


def main() -> None:
    """Ingest where needed, run, score, print, write; without a collection it says so and ends well."""
    parser = arguments("quality", __doc__)
    parser.add_argument("collection", type=Path, nargs="?", help="folder [$LIMPID_COLLECTIONS/scifact]")
    parser.add_argument("--keep", type=Path, help="folder to keep the index in, or to find it in")
    args = parser.parse_args()
    collection = _collection(args.collection)
    if collection is None:
        return
    queries, qrels = load_queries(collection / "queries.jsonl"), load_qrels(collection / "qrels.tsv")
    asked = {query_id: text for query_id, text in queries.items() if query_id in qrels}
    with kept_or_temporary(args.keep) as keep, _open(keep / collection.name, collection) as index:
        retriever = Retriever(index, CANDIDATES)
        runs = {
            name: {query_id: retriever.rank_documents(text, 100, **how) for query_id, text in asked.items()}
            for name, how in MODES.items()
        }
        scored = evaluate(runs, qrels, METRICS, queries=queries)
        recall = _recall(index, asked.values())
        n_chunks = index.store.count_chunks()
    figures = [*_figures(scored, collection.name), _recall_figure(recall, n_chunks)]
    notes = [
        f"{collection.name}: {scored.n_queries} judged queries, {n_chunks:,} chunks. Means with 95% bootstrap "
        "intervals; p is of the paired randomisation test against convex."
    ]
    details = {"evaluation": scored.to_json(), "dense_recall_at_10": recall, "n_chunks": n_chunks}
    command = f"{command_line(parser, args)} $LIMPID_COLLECTIONS/{collection.name}"
    publish(Report("quality", command, figures, notes, ("ir-measures",), details), args.out)


def _collection(named: Path | None) -> Path | None:
    """The collection's folder; None, with the reason printed, where there is none."""
    root = os.environ.get("LIMPID_COLLECTIONS")
    if named is None and not root:
        print("quality: skipped, no collection is named: give its folder, or set LIMPID_COLLECTIONS.")
        return None
    folder = named or Path(root) / "scifact"
    missing = [name for name in ("corpus.jsonl", "queries.jsonl", "qrels.tsv") if not (folder / name).is_file()]
    if missing:
        print(f"quality: skipped, {folder} has no {', '.join(missing)}.")
        return None
    return folder


def _open(folder: Path, collection: Path) -> Index:
    """The collection's index, brought in step with it: nothing is embedded where it is already."""
    settings = Settings(index=str(folder))
    index = open_index(settings, create=True)
    try:
        summary = ingest(index, discover([str(collection / "corpus.jsonl")]), settings)
    except BaseException:
        index.close()
        raise
    print(summary)
    return index


def _recall(index: Index, texts: Iterable[str]) -> float:
    """Recall@10 of the dense leg against brute force over all chunk vectors of the index.

    A chunk whose exact score equals the tenth's (duplicates) counts as found, whichever of them the engine names.
    """
    ids, vectors = [], []
    for stored in index.scan():
        ids.append(stored.chunk.id)
        vectors.append(stored.dense)
    matrix, row = np.stack(vectors), {chunk_id: number for number, chunk_id in enumerate(ids)}
    shares = []
    for text in texts:
        query = index.embedder.encode_query(text)
        scores = matrix @ query
        tenth = np.partition(scores, -min(K, len(scores)))[-min(K, len(scores))]
        found = index.store.candidates(query, None, CANDIDATES).dense[:K]
        shares.append(sum(scores[row[chunk_id]] >= tenth - 1e-6 for chunk_id, _ in found) / min(K, len(scores)))
    return float(np.mean(shares))


def _figures(scored: Evaluation, collection: str) -> list[Figure]:
    p_values = {(c.a, c.metric): c.p for c in scored.comparisons if c.b == "convex"}
    rows = []
    for metric in METRICS:
        convex = scored.modes["convex"][metric].mean
        for name in MODES:
            found = scored.modes[name][metric]
            aim = AIMS.get(collection, {}).get(name) if metric == "nDCG@10" else None
            p = p_values.get((name, metric))
            rows.append(
                Figure(
                    f"{metric}, {name}",
                    f"{found.mean:.4f} [{found.low:.4f}, {found.high:.4f}]",
                    "–" if p is None else f"convex {convex:.4f}, p = {p:.4f}",
                    None if p is None else found.mean / convex,
                    f"≥ {aim}" if aim else "–",
                    found.mean >= aim if aim else None,
                    found.mean,
                )
            )
    return rows


def _recall_figure(recall: float, n_chunks: int) -> Figure:
    return Figure(
        f"dense recall@10, {n_chunks:,} chunks",
        f"{recall:.4f}",
        "NumPy brute force 1",
        recall,
        f"≥ {AIM_RECALL}",
        recall >= AIM_RECALL,
        recall,
    )


if __name__ == "__main__":
    main()

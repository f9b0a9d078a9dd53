"""What compressing the vectors keeps and saves on judged collections: the table of `limpid compress --plan`.

Each collection's folder holds corpus.jsonl, queries.jsonl and qrels.tsv; those below $LIMPID_COLLECTIONS that --names
tells are ingested once (`--keep` keeps the indexes). The table's nDCG@10 is of the dense score alone. The methods of
--applied are also built as `limpid compress --apply` does, and then searched in hybrid mode beside the full index.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from api.compressing import apply
from api.console import Console
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.synthetic_index import kept_or_temporary
from core.compress.recipe import Recipe
from core.index import Index, open_index
from core.settings import Settings
from eval.compress.measure import METRIC, Judged, Plan, default_recipes, plan
from eval.compress.sample import draw, every_chunk
from eval.judged import evaluate, load_qrels, load_queries
from ingest.pipeline import ingest
from ingest.sources import discover
from search.retriever import Retriever

NAMES = ("scifact", "cranfield", "stackfaq")
APPLIED = ("pca:128", "pca:128+int8", "binary")
Queries = Mapping[str, str]
Qrels = Mapping[str, Mapping[str, int]]


def main() -> None:
    """Ingest where needed, measure, print, write; without collections it says so and ends well."""
    parser = arguments("compression", __doc__)
    parser.add_argument("--names", nargs="+", default=list(NAMES), help="folders below $LIMPID_COLLECTIONS")
    parser.add_argument("--methods", nargs="*", help="instead of what `limpid compress --plan` compares")
    parser.add_argument("--applied", nargs="*", default=list(APPLIED), help="built and searched in hybrid mode")
    parser.add_argument("--keep", type=Path, help="folder to keep the indexes in, or to find them in")
    args = parser.parse_args()
    root = os.environ.get("LIMPID_COLLECTIONS")
    if not root:
        print("compression: skipped, set LIMPID_COLLECTIONS to a folder of judged collections.")
        return
    figures, details = [], {}
    with kept_or_temporary(args.keep) as keep:
        for name in args.names:
            collection = Path(root) / name
            queries, qrels = load_queries(collection / "queries.jsonl"), load_qrels(collection / "qrels.tsv")
            asked = {key: text for key, text in queries.items() if key in qrels}
            with _open(keep / name, collection) as index:
                table = _table(index, args, asked, qrels)
            hybrid = _hybrid(keep / name, args.applied, asked, {key: qrels[key] for key in asked})
            figures += [*_rows(name, table), *_hybrid_rows(name, hybrid)]
            details[name] = table.to_json() | {"hybrid": hybrid}
    notes = [
        f"Recall@10 is of the ten chunks nearest by full vectors to the collection's own queries; {METRIC} of the "
        "dense score (½ chunk + ½ best sentence) unless hybrid is said; p of the paired randomisation test against "
        "full vectors. Bytes a chunk: in memory for what is searched / on disk for all of its vectors."
    ]
    publish(
        Report("compression", command_line(parser, args), figures, notes, ("torch", "qdrant-edge-py"), details),
        args.out,
    )


def _open(folder: Path, collection: Path) -> Index:
    settings = Settings(index=str(folder))
    index = open_index(settings, create=True)
    try:
        print(ingest(index, discover([str(collection / "corpus.jsonl")]), settings))
    except BaseException:
        index.close()
        raise
    return index


def _table(index: Index, args: argparse.Namespace, asked: Queries, qrels: Qrels) -> Plan:
    dimension = index.embedder.dimension
    recipes = [Recipe.parse(text, dimension) for text in args.methods or ()] or default_recipes(dimension)
    wanted = {key for grades in qrels.values() for key in grades}
    sampled = draw(every_chunk(index.store, wanted), index.store.count_chunks())
    vectors = np.stack([index.embedder.encode_query(text) for text in asked.values()])
    return plan(sampled, recipes, Judged(list(asked), vectors, {key: qrels[key] for key in asked}), _tell)


def _tell(label: str, done: int, total: int) -> None:
    if done == total == 1:  # not the last of many epochs
        print(f"  {label}", flush=True)


def _hybrid(folder: Path, methods: list[str], asked: Queries, qrels: Qrels) -> dict:
    """nDCG@10 of hybrid search on the full index and on copies that each method was applied to."""
    runs = {}
    for method in ("none", *methods):
        with tempfile.TemporaryDirectory() as copied:
            settings = Settings(index=str(Path(copied) / "index"))
            shutil.copytree(folder, settings.index)
            if method != "none":
                apply(method, settings, Console(quiet=True))
            with open_index(settings) as index:
                retriever = Retriever(index)
                runs[method] = {key: retriever.rank_documents(text, 10) for key, text in asked.items()}
    scored = evaluate(runs, qrels, [METRIC])
    p_values = {found.b: found.p for found in scored.comparisons if found.a == "none"}
    return {method: asdict(scored.modes[method][METRIC]) | {"p": p_values.get(method)} for method in runs}


def _rows(name: str, table: Plan) -> list[Figure]:
    full = table.rows[0]
    return [
        Figure(
            f"{name}, {row.method}",
            f"recall@10 {row.recall:.3f}, {METRIC} {row.ndcg:.4f}",
            "–" if row is full else f"full {full.ndcg:.4f}, p = {row.p:.4f}; error {row.error:.3f}",
            None if row is full else full.memory_bytes / row.memory_bytes,
            f"{row.memory_bytes:,.0f} / {row.disk_bytes:,.0f} bytes, fitted in {row.fit_s:.0f} s",
            value=row.ndcg,
        )
        for row in table.rows
    ]


def _hybrid_rows(name: str, hybrid: dict) -> list[Figure]:
    full = hybrid["none"]["mean"]
    return [
        Figure(
            f"{name}, {method}, hybrid",
            f"{METRIC} {found['mean']:.4f}",
            f"full {full:.4f}, p = {found['p']:.4f}",
            found["mean"] / full,
            value=found["mean"],
        )
        for method, found in hybrid.items()
        if method != "none"
    ]


if __name__ == "__main__":
    main()

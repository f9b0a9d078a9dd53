"""How well retrieved passages fit what answers a question: character recall, precision and IoU over chunkers.

The protocol is that of Smith and Troynikov 2024, "Evaluating Chunking Strategies for Retrieval": all documents of a
collection stand in one index, a question retrieves its best passages (5), and their characters are compared with the
excerpts that answer it. Recall = found ÷ referenced, precision = found ÷ retrieved, IoU = found ÷ (retrieved +
missed), each averaged over the questions. Text that two passages share is found once but retrieved twice, as there.
What is returned is the chunk, its section, or sentences at several thresholds; the latter two may be fewer than five.

The collection's folder holds corpus.jsonl, queries.jsonl and excerpts.jsonl. It is ingested once for each chunker and
size (`--keep` keeps the indexes). The default collection is chunking_evaluation below $LIMPID_COLLECTIONS.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, Report, arguments, publish
from benchmarks.synthetic_index import kept_or_temporary
from core.index import Index, open_index
from core.settings import Settings
from eval.passages import Stretch, load_excerpts, score
from eval.significance import Interval, bootstrap_interval
from eval.trec import load_queries
from ingest.pipeline import ingest
from ingest.sources import discover
from search.retriever import Retriever

CHUNKERS, SIZES = ("structure", "topic", "fixed"), (200,)
PASSAGES, MODES = ("chunk", "section", "sentences"), ("hybrid",)
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7)
FILES = ("corpus.jsonl", "queries.jsonl", "excerpts.jsonl")
MEASURES = ("recall", "precision", "iou")
N_PASSAGES = 5
AIM = {"recall": 0.92, "iou": 0.08}
AIMED_AT = "chunking_evaluation"


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the excerpts that answer it."""

    text: str
    excerpts: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One way of cutting and retrieving, its scores and what it returned for each question.

    `values` has shape (n_questions, 3), as `MEASURES`; `n_passages` and `n_chars` have shape (n_questions,).
    """

    chunker: str
    size: int
    passage: str
    threshold: float | None
    mode: str
    n_chunks: int
    values: np.ndarray
    n_passages: np.ndarray
    n_chars: np.ndarray

    @property
    def name(self) -> str:
        """Such as `structure 200, sentences .6, hybrid`."""
        threshold = "" if self.threshold is None else f" {self.threshold:g}".replace("0.", ".")
        return f"{self.chunker} {self.size}, {self.passage}{threshold}, {self.mode}"

    def intervals(self) -> dict[str, Interval]:
        """Each measure's mean with its 95% bootstrap interval."""
        return {name: bootstrap_interval(column) for name, column in zip(MEASURES, self.values.T, strict=True)}


def load_questions(collection: Path) -> list[Question]:
    """The questions that have excerpts, in file order."""
    excerpts = load_excerpts(collection / "excerpts.jsonl").by_query
    texts = load_queries(collection / "queries.jsonl")
    return [Question(text, excerpts[key]) for key, text in texts.items() if key in excerpts]


def main() -> None:
    """Ingest, retrieve, score, print, write; without a collection it says so and ends well."""
    parser = arguments("chunking", __doc__)
    parser.add_argument("collection", type=Path, nargs="?", help=f"folder [$LIMPID_COLLECTIONS/{AIMED_AT}]")
    parser.add_argument("--chunkers", nargs="+", default=CHUNKERS, help=f"[{' '.join(CHUNKERS)}]")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="chunk sizes in encoder tokens")
    parser.add_argument("--passages", nargs="+", default=PASSAGES, help=f"what is returned [{' '.join(PASSAGES)}]")
    parser.add_argument("--thresholds", nargs="+", type=float, default=THRESHOLDS, help="of passages of sentences")
    parser.add_argument("--modes", nargs="+", default=MODES, help=f"search modes [{' '.join(MODES)}]")
    parser.add_argument("--limit", type=int, default=N_PASSAGES, help=f"passages for a question [{N_PASSAGES}]")
    parser.add_argument("--keep", type=Path, help="folder to keep the indexes in, or to find them in")
    args = parser.parse_args()
    collection = _collection(args.collection)
    if collection is None:
        return
    questions = load_questions(collection)
    rows: list[Row] = []
    with kept_or_temporary(args.keep) as keep:
        for chunker, size in itertools.product(args.chunkers, args.sizes):
            with _open(keep / f"{collection.name}-{chunker}-{size}", collection, chunker, size) as index:
                for passage, mode in itertools.product(args.passages, args.modes):
                    for threshold in args.thresholds if passage == "sentences" else (None,):
                        measured = _measure(index, questions, passage, threshold, mode, args.limit)
                        n_chunks = index.store.count_chunks()
                        rows.append(Row(chunker, size, passage, threshold, mode, n_chunks, *measured))
                        print(rows[-1].name, rows[-1].values.mean(axis=0).round(4), flush=True)
    publish(_report(rows, collection.name, len(questions), args.limit), args.out)


def _collection(named: Path | None) -> Path | None:
    """The collection's folder; None, with the reason printed, where there is none."""
    root = os.environ.get("LIMPID_COLLECTIONS")
    if named is None and not root:
        print("chunking: skipped, no collection is named: give its folder, or set LIMPID_COLLECTIONS.")
        return None
    folder = named or Path(root) / AIMED_AT
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        print(f"chunking: skipped, {folder} has no {', '.join(missing)}.")
        return None
    return folder


def _open(folder: Path, collection: Path, chunker: str, size: int) -> Index:
    """The collection's index, brought in step with it: nothing is embedded where it is already."""
    settings = Settings(index=str(folder), chunker=chunker, chunk_tokens=size)
    index = open_index(settings, create=True)
    try:
        summary = ingest(index, discover([str(collection / "corpus.jsonl")]), settings)
        if index.meta.fingerprint.chunker != chunker:
            raise SystemExit(f"Asked for chunker {chunker!r}, got {index.meta.fingerprint.chunker!r}.")
    except BaseException:
        index.close()
        raise
    print(f"{chunker} {size}: {summary}", flush=True)
    return index


def _measure(
    index: Index, questions: Iterable[Question], passage: str, threshold: float | None, mode: str, limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The scores of each question, float64, shape (n_questions, 3), its passages and their characters."""
    retriever = Retriever(index) if threshold is None else Retriever(index, passage_threshold=threshold)
    values, n_passages, n_chars = [], [], []
    for question in questions:
        hits = retriever.search(question.text, limit, mode, passage=passage).hits
        spans = [(hit.chunk.document_id, hit.passage or hit.chunk) for hit in hits]
        retrieved = [(document_id, span.start, span.end) for document_id, span in spans]
        values.append(score(retrieved, question.excerpts))
        n_passages.append(len(retrieved))
        n_chars.append(sum(end - start for _, start, end in retrieved))
    return np.array(values), np.array(n_passages), np.array(n_chars)


def _report(rows: Sequence[Row], collection: str, n_questions: int, limit: int) -> Report:
    intervals = [row.intervals() for row in rows]
    figures, details = [], []
    for row, found in zip(rows, intervals, strict=True):
        is_best = not any(_beats(other, found) for other in intervals)
        is_aimed = collection == AIMED_AT
        met = all(found[measure].mean >= aim for measure, aim in AIM.items())
        figures.append(
            Figure(
                f"recall / precision / IoU %, {row.name}" + (" (Pareto)" if is_best else ""),
                " / ".join(_percent(found[measure]) for measure in MEASURES),
                f"{row.n_passages.mean():.1f} passages, {row.n_chars.mean():,.0f} characters",
                aim="recall ≥ 92, IoU ≥ 8" if is_aimed else "–",
                met=met if is_aimed else None,
                value=found["recall"].mean,
            )
        )
        details.append(
            {
                "name": row.name,
                "chunker": row.chunker,
                "size": row.size,
                "passage": row.passage,
                "threshold": row.threshold,
                "mode": row.mode,
                "n_chunks": row.n_chunks,
                "n_passages": float(row.n_passages.mean()),
                "n_chars": float(row.n_chars.mean()),
                "n_chars_p95": float(np.quantile(row.n_chars, 0.95)),
                "is_pareto": is_best,
                **{measure: interval.to_json() for measure, interval in found.items()},
            }
        )
    notes = [
        f"{collection}: {n_questions} questions, at most {limit} passages each, all documents in one index; means with "
        "95% bootstrap intervals. A row is marked Pareto where no other has as much recall and as much IoU and more "
        "of one of them."
    ]
    command = f"python -m benchmarks.chunking $LIMPID_COLLECTIONS/{collection}"
    return Report("chunking", command, figures, notes, (), {"collection": collection, "rows": details})


def _beats(one: Mapping[str, Interval], other: Mapping[str, Interval]) -> bool:
    """Whether `one` is at least as good in recall and IoU, and better in one of them."""
    gains = [one[measure].mean - other[measure].mean for measure in ("recall", "iou")]
    return min(gains) >= 0 and max(gains) > 0


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"


if __name__ == "__main__":
    main()

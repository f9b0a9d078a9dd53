"""Changes whose worth only queries can tell: another fusion weight, another chunk size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from api.console import Console
from api.loading import progress_shown
from api.opening import retriever
from api.tuning import find_weight, keep
from core.errors import InputError
from core.index import Index, open_index
from core.settings import Settings
from eval.significance import LEVEL
from ingest.pipeline import reingest

LEADING = ("char_recall@5", "nDCG@10")  # decides: that of excerpts where there are any


def weigh(
    index: Index, settings: Settings, console: Console, queries: Path, qrels: Path | None
) -> dict[str, float | str]:
    """Set the weight of the dense leg as `limpid tune` does; returns it before and after, and what it is based on."""
    before = (index.meta.tuning or {}).get("alpha", settings.dense_weight)
    found = find_weight(index, retriever(index, settings, console.note), settings, console, queries, qrels).tuning
    keep(index, found)
    return {"before": before, "after": found.alpha, "basis": found.basis}


@contextmanager
def cut_otherwise(index: Index, settings: Settings, console: Console, chunk_tokens: int) -> Iterator[Index]:
    """A trial index of the same documents in chunks of another size, beside the index, removed afterwards.

    Raises `InputError` where the index has that size already, or is compressed: its full vectors are gone.
    """
    made = index.meta.fingerprint
    if made.chunk_tokens == chunk_tokens:
        raise InputError(f"The index has chunks of {chunk_tokens} tokens already. Try another size.")
    if made.compression != "none":
        raise InputError(f"The index is compressed to {made.compression}; a size can be tried on full vectors only.")
    same = {name: getattr(made, name) for name in ("chunker", "language", "bm25_k1", "bm25_b")}
    with tempfile.TemporaryDirectory() as folder:
        update = {"index": f"{folder}/trial", "model": made.model, "chunk_tokens": chunk_tokens, **same}
        trial = settings.model_copy(update=update)
        ids = [record.id for record in index.store.records() if record.generation]
        texts = (index.store.record(document_id).document for document_id in ids)
        with open_index(trial, create=True, notify=console.note) as opened, progress_shown(console) as show:
            reingest(opened, texts, trial, on_progress=show)
            yield opened


def is_gain(rows: list[Mapping]) -> bool:
    """Whether the leading metric of hybrid search has surely risen."""
    by_metric = {row["metric"]: row for row in rows if row["mode"] == "hybrid"}
    row = next(by_metric[metric] for metric in LEADING if metric in by_metric)
    return row["p"] < LEVEL and row["difference"]["mean"] > 0

"""Judged collections: where they are, what they are called, and their indexes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.index import Index, open_index
from core.settings import Settings
from ingest.pipeline import ingest
from ingest.sources import discover

JUDGED = ("corpus.jsonl", "queries.jsonl", "qrels.tsv")


def collection_folders(root: Path | None, only: Sequence[str] | None, needed: Sequence[str] = JUDGED) -> list[Path]:
    """Folders below `root`, or else $LIMPID_COLLECTIONS, that hold the files `needed`; `only` those names, if given."""
    named = root or (Path(os.environ["LIMPID_COLLECTIONS"]) if os.environ.get("LIMPID_COLLECTIONS") else None)
    if named is None:
        return []
    found = sorted(folder for folder in named.iterdir() if all((folder / name).is_file() for name in needed))
    return [folder for folder in found if not only or folder.name in only]


def family_of(name: str) -> str:
    """Collections that share texts or queries share a family: what the name begins with, up to `_` and a language."""
    stem, _, language = name.rpartition("_")
    return stem if stem and len(language) == len("en") else name


@contextmanager
def ingested(folder: Path, keep: Path) -> Iterator[Index]:
    """The open index of a collection, made below `keep` unless it is there already."""
    settings = Settings(index=str(keep / folder.name))
    with open_index(settings, create=True) as index:
        print(f"{folder.name}: {ingest(index, discover([str(folder / 'corpus.jsonl')]), settings)}", flush=True)
        yield index

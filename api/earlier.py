"""What earlier reports on an index have computed, kept beside it: a report of an unchanged index reads it back."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

from api.jobs.writing import data_folder
from core.index import Index
from core.settings import Settings

FOLDER = "report-cache"
LIBRARIES = ("numpy", "scipy", "scikit-learn", "openTSNE", "umap-learn", "rank-bm25")  # their versions may matter
QUICKLY = 1  # gzip's level


class Earlier:
    """The last result of each name, see `eval.recall.Recall`; a new one takes its place.

    A result counts only for the same inputs, index, encoder, libraries and sources of the evaluation. It is only ever a
    shortcut: what is missing, damaged or of something else is made anew, and what can't be written isn't kept.
    """

    def __init__(self, folder: Path | None, context: str = ""):
        """`folder` holds the results, none where it is None; `context` is what all of them follow from."""
        self._folder = folder
        self._context = context

    @classmethod
    def of(cls, settings: Settings, index: Index) -> Earlier:
        """Those of an index, in its own folder; of a collection, where a server keeps jobs of it on this machine."""
        beside = data_folder(settings)
        made = {"fingerprint": asdict(index.meta.fingerprint), "encoder": index.embedder.weights_hash}
        context = f"{json.dumps(made, sort_keys=True)} {index.embedder.runtime} {_sources()}"
        return cls(beside / FOLDER if beside.is_dir() else None, context)

    def __call__(self, name: str, key: str, make: Callable[[], Any]) -> Any:
        """What was made under this name with this key and in this context, else what `make` gives."""
        if self._folder is None:
            return make()
        path = self._folder / f"{name}.json.gz"
        whole = blake2b(f"{self._context}\n{key}".encode(), digest_size=16).hexdigest()
        known = _read(path, whole)
        if known is None:
            known = make()
            _write(path, whole, known)
        return known


def _read(path: Path, key: str) -> Any:
    """The result of this key, None where the file holds another one, or none that can be read."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return json.loads(file.read()) if file.readline() == f"{key}\n" else None
    except (OSError, EOFError, zlib.error, ValueError):
        return None


def _write(path: Path, key: str, result: Any) -> None:
    draft = path.with_suffix(".new")
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with gzip.open(draft, "wt", QUICKLY, encoding="utf-8") as file:
            file.write(f"{key}\n{json.dumps(result, default=lambda value: value.item())}\n")
        draft.replace(path)


@cache
def _sources() -> str:
    """A hash of the evaluation's program and coefficients, and of the versions of what it computes with."""
    found = blake2b(digest_size=16)
    root = Path(str(files("eval")))
    for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".json")):
        found.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    for library in LIBRARIES:
        with suppress(PackageNotFoundError):
            found.update(f"{library} {version(library)}\0".encode())
    return found.hexdigest()

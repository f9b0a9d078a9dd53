"""Vectors of texts: each distinct text is encoded once, and remembered on disk for the next time."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from core.embed import Embedder

# Texts given to the encoder in one call: enough to fill it with texts of like length, few enough that an interruption
# is heeded within seconds.
TEXTS_PER_CALL = 1024
KEYS_PER_QUERY = 500  # the oldest limit of SQLite on variables is 999
EVICTED_SHARE = 0.1  # of a full cache, the oldest first
BUSY_TIMEOUT_S = 5.0


class VectorCache:
    """Vectors on disk by (weights, runtime, prompt, text), for all indexes of a user; a full cache drops the oldest.

    Only ever a shortcut: where its file can't be used it holds nothing, and nothing is lost.
    """

    def __init__(self, folder: Path, embedder: Embedder, max_bytes: int, role: str = "document"):
        """`max_bytes` bounds the file, one for each encoder; 0 keeps no cache. `role`: what texts are, or "query"."""
        self.role = role
        self._path = folder / f"{embedder.weights_hash[:32]}.sqlite"
        self._max_bytes = max_bytes
        self._n_bytes = 2 * embedder.dimension
        space = f"{embedder.runtime}\0{embedder.tokenizer.max_tokens}\0{embedder.prompts[role]}\0"
        self._space = blake2b(space.encode(), digest_size=16)
        self._file = (_open(self._path) or _open(self._path)) if max_bytes else None

    def get(self, texts: Iterable[str]) -> dict[str, np.ndarray]:
        """The vectors that are known, float16 (dimension,), by text."""
        known: dict[str, np.ndarray] = {}
        if self._file is None:
            return known
        by_key = {self._key(text): text for text in texts}
        keys = list(by_key)
        try:
            for first in range(0, len(keys), KEYS_PER_QUERY):
                batch = keys[first : first + KEYS_PER_QUERY]
                among = f"SELECT key, vector FROM vectors WHERE key IN ({','.join('?' * len(batch))})"
                for key, blob in self._file.execute(among, batch):
                    if len(blob) == self._n_bytes:
                        known[by_key[key]] = np.frombuffer(blob, dtype=np.float16)
        except sqlite3.Error:
            self.close()
        return known

    def put(self, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Remember the vectors of texts, float16 (n_texts, dimension)."""
        if self._file is None:
            return
        rows = ((self._key(text), vector.tobytes()) for text, vector in zip(texts, vectors, strict=True))
        try:
            with self._file:
                self._file.executemany("INSERT OR IGNORE INTO vectors (key, vector) VALUES (?, ?)", rows)
                self._evict()
        except sqlite3.Error:
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def _evict(self) -> None:
        names = ("page_count", "freelist_count", "page_size")
        n_pages, n_free, page_size = (self._file.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
        if (n_pages - n_free) * page_size > self._max_bytes:
            first, last = self._file.execute("SELECT min(id), max(id) FROM vectors").fetchone()
            self._file.execute("DELETE FROM vectors WHERE id <= ?", (first + int((last - first) * EVICTED_SHARE),))

    def _key(self, text: str) -> bytes:
        digest = self._space.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()


def _open(path: Path) -> sqlite3.Connection | None:
    """The cache's file; None where it can't be used, and then a broken one is out of the way."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False)
        file.execute("PRAGMA journal_mode=WAL")
        file.execute("PRAGMA synchronous=NORMAL")
        file.execute("CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY, key BLOB UNIQUE, vector BLOB)")
    except (sqlite3.OperationalError, OSError):  # busy, read-only, no space
        return None
    except sqlite3.DatabaseError:  # not a database, or no more
        for suffix in ("", "-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return None
    return file


class Vectors:
    """Vectors of texts from the cache, else from the encoder.

    They are rounded to float16 and normalised again either way, so that an index doesn't depend on what was cached;
    the rounding moves no cosine by more than 1e-6.
    """

    def __init__(self, embedder: Embedder, cache: VectorCache):
        self._encode = embedder.encode_documents if cache.role == "document" else _telling(embedder.encode_queries)
        self._cache = cache

    def of(
        self, texts: Iterable[str], on_progress: Callable[[int], None], check: Callable[[], None] = lambda: None
    ) -> dict[str, np.ndarray]:
        """The texts' vectors, float32 (dimension,) of length 1, by text; each distinct text is encoded once.

        `on_progress` gets the number of texts just done; `check` is called every few seconds and may raise.
        """
        wanted = list(dict.fromkeys(texts))
        vectors = {text: _unit(vector) for text, vector in self._cache.get(wanted).items()}
        if vectors:
            on_progress(len(vectors))
        # Like lengths into one call, so that little is spent on padding.
        unknown = sorted((text for text in wanted if text not in vectors), key=len, reverse=True)
        for first in range(0, len(unknown), TEXTS_PER_CALL):
            check()
            batch = unknown[first : first + TEXTS_PER_CALL]
            rounded = self._encode(batch, on_progress).astype(np.float16)
            self._cache.put(batch, rounded)
            vectors |= zip(batch, map(_unit, rounded), strict=True)
        return vectors


def _telling(encode: Callable[[Sequence[str]], np.ndarray]) -> Callable[..., np.ndarray]:
    """An encoder of queries, which tells once that all are done."""

    def told(texts: Sequence[str], on_progress: Callable[[int], None]) -> np.ndarray:
        vectors = encode(texts)
        on_progress(len(texts))
        return vectors

    return told


def _unit(rounded: np.ndarray) -> np.ndarray:
    vector = rounded.astype(np.float32)
    return vector / np.linalg.norm(vector)

"""The features of the queries that were asked, kept on disk for tuning; texts are not kept."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from threading import Lock

import numpy as np

from core.errors import DependencyError
from search.features import NAMES

KEPT = 1000  # the last queries; a corpus is tuned by 50
SLACK = 2  # how many times `KEPT` the file may hold before it is cut


class QueryLog:
    """An append-only file of one JSON array a line. Safe to use from several threads; one process writes it."""

    def __init__(self, path: Path):
        """The file may be absent. Raises `DependencyError` where it can't be read."""
        self.path = path
        self.n_added = 0
        self._lock = Lock()
        self._rows: deque[list[float]] = deque(self._read(), KEPT)
        self._n_lines = len(self._rows)

    def add(self, row: np.ndarray) -> None:
        """Append one query's features. Raises `DependencyError` where the file can't be written."""
        kept = [round(float(value), 5) for value in row]
        with self._lock:
            self._rows.append(kept)
            self.n_added += 1
            self._n_lines += 1
            try:
                if self._n_lines > SLACK * KEPT:
                    self._rewrite()
                else:
                    with open(self.path, "a", encoding="utf-8") as file:
                        file.write(json.dumps(kept) + "\n")
            except OSError as error:
                raise DependencyError(f"Can't write the query log {self.path}: {error.strerror}.") from None

    def rows(self) -> np.ndarray:
        """The last queries' features, float64, shape (n_queries, n_features)."""
        with self._lock:
            return np.array(list(self._rows)).reshape(-1, len(NAMES))

    def _read(self) -> list[list[float]]:
        """What the file holds; a line that was cut short, or is of other features, is left out."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise DependencyError(f"Can't read the query log {self.path}: {error.strerror}.") from None
        return [row for line in lines if len(row := _parse(line)) == len(NAMES)]

    def _rewrite(self) -> None:
        shorter = self.path.with_suffix(".new")
        shorter.write_text("".join(json.dumps(row) + "\n" for row in self._rows), encoding="utf-8")
        shorter.replace(self.path)
        self._n_lines = len(self._rows)


def _parse(line: str) -> list[float]:
    try:
        row = json.loads(line)
    except ValueError:
        return []
    return row if isinstance(row, list) and all(isinstance(value, int | float) for value in row) else []

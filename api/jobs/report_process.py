"""The process that makes a server's report: chunks come on stdin, the report goes to a folder.

Tells on stdout how far it is, runs at the lowest priority, and ends when the server does.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

from api.console import Console
from api.jobs.report import PAGE
from api.jobs.report_parts import write_parts
from api.reporting import diagnose_index, write_report
from core.fingerprint import Meta
from core.index import Index, open_model
from core.store import StoredChunk

NICENESS = 19
TOLD_EVERY_S = 0.2


class SentChunks:
    """As much of a `core.store.Store` as a report needs: the chunks that come down a pipe, once."""

    def __init__(self, pipe: BinaryIO, n_chunks: int):
        """Reads nothing."""
        self._pipe = pipe
        self._n_chunks = n_chunks

    def count_chunks(self) -> int:
        """See `Store`."""
        return self._n_chunks

    def scan(self, *, vectors: bool = False) -> Iterator[list[StoredChunk]]:
        """See `Store`. Raises `EOFError` where the pipe ends before the last chunk."""
        while (batch := pickle.load(self._pipe)) is not None:
            yield batch
        Thread(target=_end_with, args=(self._pipe.fileno(),), daemon=True).start()


@dataclass(frozen=True)
class Teller(Console):
    """Tells the server what is being done, a line of JSON at a time."""

    channel: int = 1

    @contextmanager
    def progress(self, label: str, total: float | None = None) -> Iterator[Any]:
        """See `Console.progress`."""
        last = 0.0

        def advance(done: float, total: float | None = None, label: str | None = None, detail: str = "") -> None:
            nonlocal last
            if label and time.monotonic() - last > TOLD_EVERY_S:
                last = time.monotonic()
                self._tell(label)

        self._tell(label)
        yield advance

    def _tell(self, stage: str) -> None:
        os.write(self.channel, json.dumps({"stage": stage}).encode() + b"\n")


def main() -> None:
    """Make the report that stdin asks for, into the folder that the command line names."""
    os.nice(NICENESS)
    channel = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints is for the log
    folder, pipe = Path(sys.argv[1]), sys.stdin.buffer
    asked = pickle.load(pipe)
    settings, meta, console = asked["settings"], Meta.from_json(asked["meta"]), Teller(quiet=True, channel=channel)
    embedder = open_model(settings, meta.fingerprint, lambda line: None, meta.projection)
    index = Index(SentChunks(pipe, asked["n_chunks"]), embedder, meta, asked["generation"])  # type: ignore[arg-type]
    diagnosis = diagnose_index(index, settings, console)
    report = write_report(index, settings, console, folder / PAGE, diagnosis)
    write_parts(report, diagnosis, folder)


def _end_with(pipe: int) -> None:
    """End this process when nobody holds the other end of a pipe any more."""
    os.read(pipe, 1)
    os._exit(1)

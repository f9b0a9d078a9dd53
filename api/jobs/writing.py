"""Who may change an index that a server holds: one at a time, and nobody while another process copies it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from core.errors import DependencyError, IndexLocked
from core.settings import Settings

LOCK = "writing.lock"
PAUSE_S = 0.1


def data_folder(settings: Settings) -> Path:
    """Where a server keeps what belongs to an index besides documents: uploads, jobs, the last report.

    The folder of an embedded index itself; for a collection on a Qdrant server one of its own below `jobs_dir`.
    """
    if settings.is_server:
        return settings.jobs_dir / quote(settings.collection, safe="")
    return Path(settings.index)


@contextmanager
def alone(folder: Path, patience_s: float = 0.0, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Change the index of this `data_folder` in the block, or copy it, while nobody else does either.

    `check` is called while this waits, and may raise. Raises `IndexLocked` where it takes longer than `patience_s`,
    `DependencyError` where the folder can't be written.
    """
    deadline = time.monotonic() + patience_s
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DependencyError(
            f"{folder} can't be written ({error.strerror}). Set jobs_dir to a folder that can."
        ) from None
    try:
        while not _take(handle):
            check()
            if time.monotonic() >= deadline:
                raise IndexLocked("Something else is changing or copying this index. Try again in a moment.")
            time.sleep(PAUSE_S)
        yield
    finally:
        os.close(handle)  # which lets go of the lock, as the end of the process does


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

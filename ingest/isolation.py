"""Extraction in child processes: a parser's crash, hang or hunger for memory costs one document and nothing else."""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from types import TracebackType
from typing import Self

from core.errors import DependencyError
from ingest.child import MIB, Limits, memory_reason, read, receive, send
from ingest.extract import Extracted
from ingest.sources.items import Failure, Source

# Formats whose reading is little more than decoding; every other one has a parser of its own, which gets a process.
READ_HERE = frozenset(("text", "markdown", "beir", "record"))
LOAD = "ingest.extract:load"
MAX_CHILDREN = 4
# What may be in work or wait for the caller: enough to fill a batch of the encoder, little beside its memory.
WINDOW_DOCUMENTS = 64
WINDOW_BYTES = 64 * MIB
START_TIMEOUT_S = 60.0  # the child imports for .2 s; a machine that swaps takes its time

_FOLDER_PREFIX = "limpid-extract-"
_START = "import sys; sys.path[:] = {path!r}; from ingest.child import main; main({channel}, {lifeline})"
_NO_START = "The process that extracts documents can't be started"
_ENVIRONMENT = {
    # The encoder wants the cores, and documents are extracted in parallel as they are.
    "RAYON_NUM_THREADS": "1",
    "TOKIO_WORKER_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Each heap reserves 64 MB of address space, which counts as memory taken.
    "MALLOC_ARENA_MAX": "1",
}
_OUT_OF_MEMORY = (b"memory allocation of", b"bad_alloc", b"MemoryError", b"out of memory")  # what dying parsers print
_LOG_TAIL_BYTES = 4096

Result = Extracted | Failure


@dataclass(frozen=True, slots=True)
class _Entry:
    """An item on its way through; `future` is None where no child is needed."""

    item: Source | Failure
    future: Future[Result] | None

    @property
    def size(self) -> int:
        """About how many bytes it holds in memory."""
        size = len(self.item.data) if isinstance(self.item, Source) else 0
        if self.future is not None and self.future.done() and not self.future.exception():
            result = self.future.result()
            size += len(result.document.text) if isinstance(result, Extracted) else 0
        return size


def _has_room(window: deque[_Entry]) -> bool:
    """Whether to read on: always for the first item, further only while there is something to wait for."""
    if not window:
        return True
    if len(window) >= WINDOW_DOCUMENTS or all(entry.future is None for entry in window):
        return False
    return sum(entry.size for entry in window) < WINDOW_BYTES


class Extractor:
    """Extracts documents, untrusted ones in child processes that start when they are first needed.

    `load` names the function that reads a source, "module:function". To be used in a `with` statement: leaving it ends
    the children, whatever they are at, and removes their temporary files. One thread at a time may iterate over it.
    """

    def __init__(self, limits: Limits, n_children: int | None = None, load: str = LOAD):
        self._limits = limits
        self._load_name = load
        self._load = resolve_name(load)
        self._n_children = n_children or min(MAX_CHILDREN, os.cpu_count() or 1)
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.close()

    def extract(self, items: Iterable[Source | Failure]) -> Iterator[tuple[Source | Failure, Result]]:
        """Each source with its document or the reason why it has none, in order; a failure comes back as it is.

        Reads ahead in `items` so that children work while the caller does, but no further than `WINDOW_DOCUMENTS` and
        `WINDOW_BYTES`, and not at all while sources need no child.

        Raises `DependencyError` when a child process can't be started.
        """
        rest = iter(items)
        window: deque[_Entry] = deque()
        while True:
            while _has_room(window) and (item := next(rest, None)) is not None:
                is_untrusted = isinstance(item, Source) and item.format not in READ_HERE
                window.append(_Entry(item, self._submit(item) if is_untrusted else None))
            if not window:
                return
            entry = window.popleft()
            yield entry.item, self._result(entry)

    def close(self) -> None:
        """End all children and forget what they were working on."""
        with self._lock:
            self._is_closed = True
            busy = list(self._busy)
        for child in busy:
            child.hang_up()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for child in self._idle:
            child.stop()
        self._idle.clear()

    def _result(self, entry: _Entry) -> Result:
        if entry.future is not None:
            return entry.future.result()
        return read(self._load, entry.item, self._limits) if isinstance(entry.item, Source) else entry.item

    def _submit(self, source: Source) -> Future[Result]:
        if self._threads is None:
            _sweep()
            self._threads = ThreadPoolExecutor(self._n_children, "extract")
        return self._threads.submit(self._extract, source)

    def _extract(self, source: Source) -> Result:
        """Runs in one thread for each child."""
        child = self._take()
        try:
            return child.read(source)
        finally:
            with self._lock:
                self._busy.discard(child)
                if not child.is_spent:
                    self._idle.append(child)
            if child.is_spent:
                child.stop()

    def _take(self) -> _Child:
        with self._lock:
            child = self._idle.pop() if self._idle else None
        child = child or _Child(self._load_name, self._limits)
        with self._lock:
            self._busy.add(child)
            if self._is_closed:
                child.hang_up()
        return child


class _Child:
    """A running child process, started and ready; `is_spent` once it can read no more.

    Raises `DependencyError` when it can't be started.
    """

    def __init__(self, load: str, limits: Limits):
        self._limits = limits
        self.is_spent = False
        self._folder = tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-")
        self._log = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
        self._channel, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()  # closed when this process ends, however it does
        try:
            self._process = self._start(theirs.fileno(), lifeline)
        except OSError as error:
            self._release()
            raise DependencyError(f"{_NO_START}: {error.strerror or error}.") from None
        finally:
            theirs.close()
            os.close(lifeline)
        if not self._is_ready(load):
            lines = self._log_tail().decode(errors="replace").strip().splitlines()
            self.stop()
            raise DependencyError(f"{_NO_START}: {lines[-1] if lines else 'it gives no reason'}.")

    def read(self, source: Source) -> Result:
        """What the child makes of a source; spent when that ended it."""
        deadline = time.monotonic() + self._limits.timeout_s
        answer = None
        try:
            send(self._channel, pickle.dumps(source, pickle.HIGHEST_PROTOCOL), deadline)
            answer = receive(self._channel, deadline)
        except TimeoutError:
            self.is_spent = True
            limit = f"{self._limits.timeout_s:g} s"
            return Failure(source.uri, f"takes longer than {limit} to be read; raise extract_timeout_s")
        except OSError:
            pass  # the child has gone
        if answer is None:
            self.is_spent = True
            return Failure(source.uri, self._cause_of_death())
        self.is_spent = bool(answer[0])
        return pickle.loads(memoryview(answer)[1:])

    def hang_up(self) -> None:
        """Have a `read` in another thread end at once, without a document."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """End the process with all that it started, and remove its files."""
        self._kill()
        self._release()

    def _start(self, channel: int, lifeline: int) -> subprocess.Popen:
        path = [os.path.abspath(entry) for entry in sys.path]  # "" is the current folder, where the child isn't
        return subprocess.Popen(
            [sys.executable, "-c", _START.format(path=path, channel=channel, lifeline=lifeline)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(channel, lifeline),
            cwd=self._folder,
            # kreuzberg unpacks a library into the temporary folder and runs it: the folder must be nobody else's.
            env=os.environ | _ENVIRONMENT | {"TMPDIR": self._folder},
            process_group=0,  # Ctrl-C is for the parent; and what a parser starts can be ended with it
        )

    def _is_ready(self, load: str) -> bool:
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            send(self._channel, pickle.dumps((load, self._limits)), deadline)
            return receive(self._channel, deadline) is not None
        except OSError:
            return False

    def _cause_of_death(self) -> str:
        """Why the process ended before it answered."""
        status = self._kill()  # too late to change how it ended
        if any(sign in self._log_tail() for sign in _OUT_OF_MEMORY):
            return memory_reason(self._limits)
        how = signal.strsignal(-status) if status < 0 else f"exit status {status}"
        return f"crashes its parser ({how}). Repair it, or convert it to another format."

    def _kill(self) -> int:
        """End the process group; returns the status that its leader ended with."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses where only a zombie is left
                os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def _log_tail(self) -> bytes:
        """The last that the process and its parsers printed."""
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _LOG_TAIL_BYTES))
        return self._log.read()

    def _release(self) -> None:
        self._channel.close()
        self._log.close()
        os.close(self._lifeline)
        shutil.rmtree(self._folder, ignore_errors=True)


def _sweep() -> None:
    """Remove the temporary folders of runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER_PREFIX}*"):
        owner = folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]
        if owner.isdecimal() and not _is_running(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True

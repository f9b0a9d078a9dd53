"""A real `limpid serve` over a synthetic index: the folder it opens, the process, its memory, one plain client."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from benchmarks.cli import limpid
from benchmarks.machine import resident_mb
from benchmarks.synthetic import SyntheticCorpus
from benchmarks.synthetic_index import MIN_FREE_MB, build

START_S, STOP_S, ANSWER_S = 120, 60, 60  # a process that takes longer to start or stop, or an answer, has failed


def write_index(corpus: SyntheticCorpus, keep: Path) -> Path:
    """The corpus below `keep` as an index of the default encoder, made there unless it is already; its folder.

    The vectors are synthetic, only the encoder's name is real: what a query costs is, what it finds means nothing.
    """
    from core.embed import open_embedder
    from core.fingerprint import Meta, fingerprint_of
    from core.settings import Settings
    from core.store.generations import FIRST, FOLDERS, FolderGenerations
    from core.unrelated import measure_unrelated

    folder = keep / f"served-{corpus.n}x{corpus.dimension}-{corpus.seed}"
    generations = FolderGenerations(folder, MIN_FREE_MB)
    if generations.current() == FIRST:
        return folder
    bare, built = build(corpus, keep)
    shutil.rmtree(folder, ignore_errors=True)  # unfinished
    shutil.copytree(bare, folder / FOLDERS / str(FIRST))
    settings = Settings(index=str(folder), offline=True)
    encoder = open_embedder(settings.model, settings.cache_dir, offline=True)
    store = generations.open(FIRST)
    try:
        unrelated = measure_unrelated(store, encoder).to_json()
        made_with = fingerprint_of(settings, encoder)
        meta = Meta(made_with, built.avg_len, exact=True, fields={"year": "integer"}, unrelated=unrelated)
        store.write_meta(meta.to_json())
    finally:
        store.close()
    generations.switch(FIRST)
    return folder


@contextmanager
def copied(index: Path) -> Iterator[Path]:
    """A copy of an index for the time of the block, since only one process may hold an index open."""
    with tempfile.TemporaryDirectory(dir=index.parent) as folder:
        yield Path(shutil.copytree(index, Path(folder) / "index"))


class Plain:
    """One client with one open connection, by the standard library."""

    def __init__(self, url: str):
        """`url` is the server's."""
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_S)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The status and the JSON of the answer."""
        self._connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        self._connection.close()


class Served:
    """`limpid serve` on a free port of this machine, as a context manager that ends the process.

    Raises `RuntimeError` where it doesn't start, or doesn't end by itself when told to.
    """

    def __init__(self, index: Path):
        """Starts nothing yet."""
        self._index = index

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name) / "log"
        command = [*limpid(), "serve", "--port", "0", "--json", "--index", str(self._index.resolve())]
        # As a user's: the defaults, whatever this machine sets, and with byte code kept.
        foreign = {"PYTHONDONTWRITEBYTECODE"} | {name for name in os.environ if name.startswith("LIMPID_")}
        environment = {name: value for name, value in os.environ.items() if name not in foreign}
        environment |= {"LIMPID_OFFLINE": "true", "PYTHONPATH": str(Path(__file__).parents[1])}
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder.name, env=environment, text=True, stdout=subprocess.PIPE, stderr=log
            )
        too_late = threading.Timer(START_S, self._process.kill)
        too_late.start()
        line = self._process.stdout.readline()
        too_late.cancel()
        self.url: str = json.loads(line or "{}").get("url", "")
        if not self.url:
            self._end()
            raise RuntimeError(f"`{' '.join(command)}` didn't start:\n{line}{self._told()}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        code = self._end()
        told = self._told()
        self._folder.cleanup()
        if code and kind is None:
            raise RuntimeError(f"`limpid serve` ended with {code}:\n{told}")

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def n_logged_errors(self) -> int:
        """Lines of the log that tell of errors so far."""
        with self._log.open(encoding="utf-8", errors="replace") as lines:
            return sum(" ERROR " in line for line in lines)

    def _end(self) -> int:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._process.stdout.close()
        return code

    def _told(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2_000:]


class Beside:
    """Something that is done again and again in a thread while the block runs."""

    def __init__(self, every_s: float):
        """`every_s` is from one beginning to the next, or longer where it takes longer."""
        self._every_s = every_s

    def __enter__(self) -> Self:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._is_over.is_set():
            self.look()
            due = max(due + self._every_s, time.monotonic())
            self._is_over.wait(due - time.monotonic())

    def look(self) -> None:
        """What is done."""
        raise NotImplementedError


class Memory(Beside):
    """A process' memory, looked at every second; `samples` are resident MB, and those of them that no file backs."""

    def __init__(self, pid: int):
        """Of the process `pid`."""
        super().__init__(1.0)
        self._pid = pid
        self.samples: list[tuple[float, float]] = []

    def look(self) -> None:
        """See `Beside`."""
        self.samples.append(resident_mb(self._pid))


class Probes(Beside):
    """One more client, with one request every tenth of a second, each over a connection of its own.

    `rows` are (when it began, in seconds since 1970, milliseconds, status); the status is 0 where nothing came back.
    """

    def __init__(self, url: str, path: str, bodies: Sequence[dict[str, Any]]):
        """It posts the `bodies` in turn."""
        super().__init__(0.1)
        self._url, self._path, self._bodies = url, path, bodies
        self.rows: list[tuple[float, float, int]] = []

    def look(self) -> None:
        """See `Beside`."""
        client, body = Plain(self._url), self._bodies[len(self.rows) % len(self._bodies)]
        began, started = time.time(), time.perf_counter()
        try:
            status, _ = client.post(self._path, body)
        except OSError:
            status = 0
        client.close()
        self.rows.append((began, 1000 * (time.perf_counter() - started), status))

    def answered_s(self, since: float) -> float:
        """Seconds from `since` to the first answer 200 to a request that was sent later, infinite where none came."""
        came = (began + ms / 1000 for began, ms, status in self.rows if began >= since and status == 200)
        return next(came, float("inf")) - since

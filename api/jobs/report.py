"""The last quality report of an index, kept; a server's are made by a process of their own, see `ReportProcess`."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from api.jobs.spool import now
from api.jobs.writing import data_folder
from api.opening import count_chunks
from core.copying import versions
from core.errors import DependencyError, StorageFull
from core.index import Index
from core.settings import Settings

REPORT, PAGE, ABOUT = "report.json", "report.html", "about.json"
PARTS, MAP, PLACES = "parts.json", "map.json", "places.json"  # what this server's own pages show
LOG_CHARACTERS = 2000  # of what a process that failed has printed, for the server's log
CHECKED_S = 0.2
_START = "import sys; sys.path[:] = {path!r}; from api.jobs.report_process import main; main()"
_SECRETS = {"api_keys": None, "qdrant_api_key": None}
_logger = logging.getLogger("limpid.report")


class KeptReport(NamedTuple):
    """The last report that was made: of which generation, and when it had been read from the index."""

    folder: Path
    made: str
    generation: int
    signature: str

    def is_of(self, index: Index) -> bool:
        """Whether the index' documents are still those that the report was made of."""
        return (self.generation, self.signature) == (index.generation, signature(index))

    def read(self) -> dict[str, Any]:
        """The report as JSON values."""
        return json.loads((self.folder / REPORT).read_bytes())

    def page(self) -> str:
        """The report as a page that needs nothing else."""
        return (self.folder / PAGE).read_text(encoding="utf-8")

    def parts(self) -> dict[str, Any]:
        """What this server's own page shows beside the report, see `api.jobs.report_parts`."""
        return json.loads((self.folder / PARTS).read_bytes())

    def places(self) -> dict[str, Any]:
        """The map in short, see `api.jobs.report_parts`."""
        return json.loads((self.folder / PLACES).read_bytes())


def kept_report(settings: Settings) -> KeptReport | None:
    """The last report of an index, None where none was made."""
    root = data_folder(settings) / "report"
    try:
        folder = root / (root / "CURRENT").read_text(encoding="utf-8").strip()
        about = json.loads((folder / ABOUT).read_bytes())
        return KeptReport(folder, about["made"], about["generation"], about["signature"])
    except (OSError, ValueError, KeyError):
        return None


def named(settings: Settings) -> str:
    """What a report calls an index: its collection, or its folder without the path to it."""
    return settings.collection if settings.is_server else Path(settings.index).resolve().name


def about(index: Index) -> dict[str, Any]:
    """What a report has to remember of the index that it is made of, from the moment that it is read."""
    return {"made": now(), "generation": index.generation, "signature": signature(index)}


def begin(settings: Settings) -> Path:
    """An empty folder for a report of this index, for `keep`. Raises `DependencyError` where none can be made."""
    root = data_folder(settings) / "report"
    try:
        root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=root))
    except OSError as error:
        raise DependencyError(f"{root} can't be written ({error.strerror}). Set jobs_dir.") from None


def keep(settings: Settings, folder: Path, about: dict[str, Any]) -> None:
    """Put the finished report of a folder in the place of the last one, unless that was made of a later reading.

    Raises `StorageFull` where there is no room for it.
    """
    last = kept_report(settings)
    if last is not None and last.made > about["made"]:
        shutil.rmtree(folder, ignore_errors=True)
        return
    root = folder.parent
    try:
        (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        draft = root / "CURRENT.new"
        draft.write_text(f"{folder.name}\n", encoding="utf-8")
        draft.replace(root / "CURRENT")
    except OSError as error:
        raise StorageFull(f"The report can't be kept: {error.strerror}. Make room.") from None
    for other in root.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other, ignore_errors=True)


def signature(index: Index) -> str:
    """What changes whenever the documents of an index do, or what they are cut into: SHA-256, in hexadecimal."""
    with index.store.reading():
        held = versions(index.store)
    return sha256(json.dumps(sorted(held.items())).encode()).hexdigest()


class ReportProcess:
    """Makes one report: `send` it an index, then `finish`; leaving it ends the process, whatever it is at."""

    def __init__(self, settings: Settings, told: Callable[[str], None]):
        """`settings` are the index' own; `told` gets what is being done, and may raise."""
        self._settings = settings
        self._told = told
        self._folder = begin(settings)
        self._is_kept = False
        self._log = (self._folder / "log").open("w+b")
        path = [os.path.abspath(entry) for entry in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=path), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            process_group=0,  # Ctrl-C is for the server, which then ends it
        )
        self._about: dict[str, Any] = {}
        self._listener: Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self._process.kill()
        self._process.wait()
        if self._listener:
            self._listener.join()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):  # what was on its way to a process that has gone
                pipe.close()
        if not self._is_kept:
            shutil.rmtree(self._folder, ignore_errors=True)

    def send(self, index: Index) -> None:
        """Give it all chunks of an index with their vectors. Raises `InputError` for an index without chunks."""
        n_chunks = count_chunks(index, "report on")
        self._about = about(index)
        settings = self._settings.model_copy(update=_SECRETS)
        header = {"settings": settings, "meta": index.meta.to_json(), "generation": index.generation}
        try:
            self._put({**header, "n_chunks": n_chunks})
            for batch in index.store.scan(vectors=True):
                self._told("reading vectors")
                self._put([replace(found, sentences=found.sentences.astype(np.float16)) for found in batch])
            self._put(None)
        except BrokenPipeError:
            raise self._failure() from None

    def finish(self, check: Callable[[], None]) -> None:
        """Wait for the report and keep it in the place of the last one; `check` is called meanwhile and may raise.

        Raises `StorageFull` where there is no room for it, `DependencyError` where the process fails.
        """
        self._listener = Thread(target=self._listen, name="limpid-report", daemon=True)
        self._listener.start()
        while self._process.poll() is None:
            check()
            self._listener.join(CHECKED_S)
        if self._process.returncode:
            raise self._failure()
        keep(self._settings, self._folder, self._about)
        self._is_kept = True

    def _put(self, value: Any) -> None:
        pickle.dump(value, self._process.stdin, pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def _listen(self) -> None:
        for line in self._process.stdout:
            try:
                self._told(json.loads(line)["stage"])
            except Exception:  # the server shuts down: whoever waits for the process is told too
                return

    def _failure(self) -> DependencyError:
        self._process.wait()
        self._log.seek(0)
        printed = self._log.read().decode(errors="replace").strip()[-LOG_CHARACTERS:]
        return DependencyError(f"The process that makes reports ended with {self._process.returncode}: {printed}")

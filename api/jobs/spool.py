"""Jobs on disk: what was handed over and a small record of each, both durable before anyone is told that they are.

Each job is a folder named by its id. One that is being received has another name until it is whole.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

from core.errors import DependencyError, StorageFull

Kind = Literal["ingest", "report", "fix"]
State = Literal["waiting", "running", "done", "failed"]
RECORD, TEXTS = "job.json", "texts.jsonl"
RECEIVING = "receiving-"
MEGABYTE = 2**20
KEPT = 100  # finished jobs of an index; older records are removed


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, and what became of it.

    `names` are those of the uploaded files, in the order of their numbered copies in the job's folder; `metadata` is
    said of all of them. `n_texts` is the number of texts beside them. `n_tries` counts how often it was begun and not
    ended by anyone. `outcome` is an ingest's summary; `error` says why the whole of it failed. `fix` is what a fix is
    about, see `api.jobs.fix`.
    """

    id: str
    kind: Kind
    created: str
    state: State = "waiting"
    names: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)
    n_texts: int = 0
    n_tries: int = 0
    started: str | None = None
    finished: str | None = None
    outcome: dict[str, Any] | None = None
    error: str | None = None
    fix: dict[str, Any] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed")


def new_job(kind: Kind, **given: Any) -> Job:
    """A job that waits, with an id that can't be guessed."""
    return Job(uuid4().hex, kind, now(), **given)


def now() -> str:
    """The time in UTC, to the microsecond, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Spool:
    """The jobs of one index in a folder, which is made when the first comes.

    Every method may raise `StorageFull` or `DependencyError`.
    """

    def __init__(self, folder: Path, min_free_mb: float = 0.0):
        """Touches nothing. Nothing is received while less than `min_free_mb` are free."""
        self._folder = folder
        self._min_free_mb = min_free_mb

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        """A folder for what is handed over; whatever isn't added in the block is removed."""
        with _told():
            self._folder.mkdir(parents=True, exist_ok=True)
            free_mb = shutil.disk_usage(self._folder).free / MEGABYTE
            if free_mb < self._min_free_mb:
                told = f"{free_mb:,.0f} MB are free for {self._folder}; min_free_mb is {self._min_free_mb:,.0f}"
                raise StorageFull(f"Nothing can be received: {told}. Make room, or set jobs_dir.")
            folder = Path(tempfile.mkdtemp(prefix=RECEIVING, dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, job: Job, folder: Path) -> None:
        """Take over a folder whose files are on disk as a job's."""
        with _told():
            _write(folder / RECORD, job)
            _sync(folder)
            folder.rename(self._folder / job.id)
            _sync(self._folder)
            _sync(self._folder.parent)

    def save(self, job: Job) -> None:
        """Replace a job's record; with the end of a job what was handed over goes."""
        with _told():
            folder = self._folder / job.id
            draft = folder / f"{RECORD}.new"
            _write(draft, job)
            draft.replace(folder / RECORD)
            _sync(folder)
            if job.is_over:
                for path in folder.iterdir():
                    if path.name != RECORD:
                        path.unlink()

    def remove(self, job: Job) -> None:
        """Forget a job."""
        shutil.rmtree(self._folder / job.id, ignore_errors=True)

    def load(self) -> list[Job]:
        """All jobs, oldest first; clears what was being received when a process was killed.

        A job that was running then waits again.
        """
        jobs = []
        for folder in list(self._folder.glob("*")):
            if folder.name.startswith(RECEIVING):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            with suppress(OSError, ValueError, TypeError, KeyError):  # not a job's folder: it stays as it is
                stored = json.loads((folder / RECORD).read_bytes())
                job = Job(**stored | {"names": tuple(stored["names"])})
                jobs.append(replace(job, state="waiting") if job.state == "running" else job)
        return sorted(jobs, key=lambda job: (job.created, job.id))

    def files(self, job: Job) -> list[Path]:
        """The copies of the uploaded files, in the order of their names."""
        return [file_path(self._folder / job.id, number) for number in range(len(job.names))]

    def texts(self, job: Job) -> list[dict[str, Any]]:
        """The texts beside them, as they were given."""
        if not job.n_texts:
            return []
        with _told(), (self._folder / job.id / TEXTS).open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]


def file_path(folder: Path, number: int) -> Path:
    """Where the file with this number is kept: no name that a client gives is ever a path."""
    return folder / f"{number}.file"


def write_texts(folder: Path, texts: list[dict[str, Any]]) -> None:
    """Keep texts that were handed over. Raises `StorageFull` or `DependencyError`."""
    with _told(), (folder / TEXTS).open("w", encoding="utf-8") as lines:
        for text in texts:
            lines.write(json.dumps(text) + "\n")
        lines.flush()
        os.fsync(lines.fileno())


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else DependencyError
        place = f" ({error.filename})" if error.filename else ""
        raise kind(f"A job can't be kept on disk: {error.strerror}{place}. Make room, or set jobs_dir.") from None


def _write(path: Path, job: Job) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(asdict(job), file)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make what a folder lists durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

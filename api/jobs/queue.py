"""Work that takes longer than a request: ingests of what was uploaded, and reports. It survives a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from math import inf
from pathlib import Path
from threading import Event, Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from api.jobs.spool import KEPT, Job, Spool, new_job, now
from api.jobs.writing import alone, data_folder
from api.serving.keys import tenant_settings
from api.serving.problems import public_detail
from core.errors import LimpidError, NotFound, Overloaded
from core.settings import Settings

if TYPE_CHECKING:
    from api.serving.live import LiveIndex
    from api.serving.tenants import Tenants
    from ingest.pipeline import Summary
    from ingest.sources.uploads import Uploads

# Of different tenants, at the same time: each keeps a batch of documents in memory, and the encoder is shared anyway.
MAX_RUNNING = 4
MAX_WAITING = 1000  # jobs of one index
MAX_TRIES = 3  # a job that has ended the process so often isn't begun again
STOPPED_WITHIN_S = 30.0  # a job stops between two batches; a parser at work may take longer, and is left behind
OUTCOMES = ("new", "updated", "unchanged", "removed", "failed")  # of documents
Count = Callable[[str, int], None]
_logger = logging.getLogger("limpid.jobs")


class Progress(NamedTuple):
    """How far a running job is: what is going on; for an ingest documents, chunks and bytes done."""

    stage: str
    documents: int = 0
    chunks: int = 0
    done_bytes: int = 0
    total_bytes: int = 0


class Stopped(Exception):
    """The server shuts down; the job goes on when it starts again."""


class Jobs:
    """The jobs of all tenants. Safe to use from several threads."""

    def __init__(self, tenants: Tenants, settings: Settings, count: Count = lambda outcome, n_documents: None):
        """Starts nothing. `count` is told how many documents of an ingest had which outcome."""
        self._tenants = tenants
        self._settings = settings
        self._count = count
        self._queues: dict[str, JobQueue] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._slots = Semaphore(MAX_RUNNING)

    def of(self, tenant: str) -> JobQueue:
        """The jobs of a tenant's index."""
        with self._lock:
            if tenant not in self._queues:
                settings = tenant_settings(self._settings, tenant)
                self._queues[tenant] = JobQueue(
                    lambda: self._tenants.live(tenant), settings, self._stopping, self._slots, self._count
                )
            return self._queues[tenant]

    def resume(self) -> None:
        """Go on with what an earlier process left unfinished."""
        for tenant in ("", *self._tenants_on_disk()):
            self.of(tenant).resume()

    def stop(self) -> None:
        """Have running jobs stop soon, and begin no other; returns at once."""
        self._stopping.set()

    @property
    def is_stopping(self) -> bool:
        """Whether the server shuts down."""
        return self._stopping.is_set()

    @property
    def n_waiting(self) -> int:
        """Jobs of all tenants that haven't begun."""
        return sum(job.state == "waiting" for queue in list(self._queues.values()) for job in queue.all())

    def close(self) -> None:
        """Stop, and wait until running jobs have."""
        self.stop()
        for queue in list(self._queues.values()):
            queue.join(STOPPED_WITHIN_S)

    def _tenants_on_disk(self) -> list[str]:
        if self._settings.is_server:
            own = data_folder(self._settings)
            prefix = f"{own.name}--"
            folders = [path for path in own.parent.glob("*") if path.name.startswith(prefix)]
            return [path.name.removeprefix(prefix) for path in folders if (path / "jobs").is_dir()]
        return [path.parent.name for path in Path(self._settings.index).glob("tenants/*/jobs")]


class JobQueue:
    """The jobs of one index, done one after another in a thread that ends when none is left."""

    def __init__(
        self, live: Callable[[], LiveIndex], settings: Settings, stopping: Event, slots: Semaphore, count: Count
    ):
        """`settings` are the index' own. Reads what is known of earlier jobs."""
        self._live = live
        self._settings = settings
        self._stopping = stopping
        self._slots = slots
        self._count = count
        self.spool = Spool(data_folder(settings) / "jobs", settings.min_free_mb)
        self._jobs = {job.id: job for job in self.spool.load()}
        self._progress: dict[str, Progress] = {}
        self._lock = Lock()
        self._thread: Thread | None = None

    def all(self) -> list[Job]:
        """The jobs that are known, latest first."""
        with self._lock:
            return list(reversed(self._jobs.values()))

    def find(self, job_id: str) -> tuple[Job, Progress | None]:
        """A job and, while it runs, how far it is. Raises `NotFound`."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                raise NotFound(f"There is no job {job_id!r}. GET /v1/jobs lists the latest {KEPT}.")
            return job, self._progress.get(job_id)

    def add(self, job: Job, folder: Path) -> Job:
        """Do a job whose files are in a folder of the spool, after those that wait; what it needs is on disk then.

        Raises `Overloaded` where as many wait as may.
        """
        n_waiting = sum(known.state == "waiting" for known in self.all())
        if n_waiting >= MAX_WAITING:
            raise Overloaded(f"{n_waiting:,} jobs wait already. Try again later, with more documents to a request.")
        self.spool.add(job, folder)
        with self._lock:
            self._jobs[job.id] = job
        self.resume()
        return job

    def add_report(self) -> Job:
        """Make a report; where one waits already, that one."""
        with self._lock:
            waiting = [job for job in self._jobs.values() if job.kind == "report" and job.state == "waiting"]
        if waiting:
            return waiting[0]
        with self.spool.receiving() as folder:
            return self.add(new_job("report"), folder)

    def add_fix(self, fix: dict[str, Any]) -> Job:
        """Do what a report advises, or take it back, see `api.jobs.fix`."""
        with self.spool.receiving() as folder:
            return self.add(new_job("fix", fix=fix), folder)

    def resume(self) -> None:
        """Work, if there is anything to do and nobody does it yet."""
        with self._lock:
            if self._thread is None and self._next() and not self._stopping.is_set():
                self._thread = Thread(target=self._work, name="limpid-jobs", daemon=True)
                self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
            if thread.is_alive():
                _logger.warning("A job didn't stop within %g s; it goes on after the next start.", timeout_s)

    def _next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.state == "waiting"), None)

    def _work(self) -> None:
        while True:
            with self._lock:
                job = None if self._stopping.is_set() else self._next()
                if job is None:
                    self._thread = None
                    return
            try:
                with self._slots:
                    self._do(job)
            except Stopped:
                with suppress(LimpidError):
                    self._change(replace(job, state="waiting"))
            except LimpidError as error:  # the job's record can't be written
                _logger.error("Job %s: %s", job.id, error)
                self._change(replace(job, state="failed", finished=now(), error=_told(job, error)), is_kept=False)

    def _do(self, job: Job) -> None:
        """Run a job to its end and record that. Raises `Stopped`, or what goes wrong with the record itself."""
        if job.n_tries >= MAX_TRIES:
            told = f"The server ended {MAX_TRIES} times while it was at work on this, so it was given up."
            self._change(replace(job, state="failed", finished=now(), error=told))
            return
        running = replace(job, state="running", started=now(), n_tries=job.n_tries + 1)
        self._change(running)
        try:
            outcome = {"ingest": self._ingest, "report": self._report, "fix": self._fix}[job.kind](running)
            ended = replace(running, state="done", outcome=outcome)
        except Stopped:
            raise
        except Exception as error:
            ended = replace(running, state="failed", error=_told(job, error))
        self._change(replace(ended, finished=now()))

    def _change(self, job: Job, *, is_kept: bool = True) -> None:
        """Record what a job has become, on disk first; forget the oldest ones."""
        if is_kept:
            self.spool.save(job)
        with self._lock:
            self._jobs[job.id] = job
            if job.state != "running":
                self._progress.pop(job.id, None)
            over = [old for old in self._jobs.values() if old.is_over]
            for old in over[: max(0, len(over) - KEPT)]:
                del self._jobs[old.id]
                self.spool.remove(old)

    def _tell(self, job: Job, progress: Progress) -> None:
        """Note how far a job is. Raises `Stopped`."""
        with self._lock:
            self._progress[job.id] = progress
        self._check()

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    @contextmanager
    def _alone(self, job: Job) -> Iterator[LiveIndex]:
        """The index, which nobody else changes meanwhile, in its current generation."""
        live = self._live()
        self._tell(job, Progress("waiting: index in use"))
        with alone(data_folder(self._settings), inf, self._check):
            live.refresh()
            yield live

    def _ingest(self, job: Job) -> dict[str, Any]:
        from ingest.pipeline import ingest

        def run(index: Any, _: Any) -> Summary:
            return ingest(index, self._sources(job), self._settings, prune=True, on_progress=self._shown(job))

        with self._alone(job) as live:
            summary = live.answer(run)
        outcome = summary.to_json()
        for name in OUTCOMES:
            self._count(name, outcome[name])
        return {"summary": str(summary), **outcome}

    def _shown(self, job: Job) -> Callable[[Any], None]:
        """Notes how far a writing job is."""

        def show(progress: Any) -> None:
            done = (progress.n_documents, progress.n_chunks, progress.done_bytes, progress.total_bytes)
            self._tell(job, Progress(progress.stage, *done))

        return show

    def _sources(self, job: Job) -> Uploads:
        from api.loading import archive_limits, document_bytes
        from ingest.sources.uploads import InlineText, Upload, Uploads

        files = [Upload(path, name) for path, name in zip(self.spool.files(job), job.names, strict=True)]
        texts = [InlineText(**text) for text in self.spool.texts(job)]
        limits = archive_limits(self._settings)
        return Uploads(files, texts, job.metadata, document_bytes(self._settings), limits, self._check)

    def _report(self, job: Job) -> None:
        from api.jobs.report import ReportProcess

        with ReportProcess(self._settings, lambda stage: self._tell(job, Progress(stage))) as process:
            with self._alone(job) as live:
                live.answer(lambda index, _: process.send(index))
            process.finish(self._check)

    def _fix(self, job: Job) -> None:
        from api.jobs.fix import fix

        with self._alone(job) as live:
            live.answer(lambda index, _: fix(index, self._settings, job.fix or {}, self._shown(job)))


def _told(job: Job, error: Exception) -> str:
    """What a client may read of the reason why a job failed."""
    if isinstance(error, LimpidError):
        detail, reference = public_detail(error)
        return f"{detail} ({reference})" if reference else detail
    _logger.error("Job %s failed: %r", job.id, error)
    return f"It failed unexpectedly. The server's log tells the operator why, under the job's id {job.id}."

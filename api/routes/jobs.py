"""Jobs over HTTP: what was begun, how far it is, and what became of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Annotated

import anyio
from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from api.jobs.queue import JobQueue, Jobs, Progress
from api.jobs.spool import Job, Kind, State
from api.serving import problems
from api.serving.tenants import Caller

LISTED = 100  # sources of a job that its answer names
LOOKED_EVERY_S = 0.2
ALIVE_EVERY_S = 15.0  # a line that says nothing, so that no proxy takes the connection for dead


class ProgressAnswer(BaseModel):
    """How far a running job is."""

    stage: str = Field(description="What is being done.")
    documents: int = Field(description="Documents written.")
    chunks: int = Field(description="Chunks written.")
    done_bytes: int = Field(description="Bytes of the sources done.")
    total_bytes: int = Field(description="Of how many; 0 where that isn't known.")


class FailureAnswer(BaseModel):
    """A source that couldn't be indexed."""

    uri: str
    reason: str


class SplitsAnswer(BaseModel):
    """What became of the places at which `limpid fix` had divided documents that have changed."""

    kept: int
    dropped: int


class OutcomeAnswer(BaseModel):
    """What an ingest did, by document."""

    summary: str = Field(description="The counts in one line, as `limpid ingest` prints them.")
    new: int
    updated: int
    renamed: int
    unchanged: int
    removed: int = Field(description="Documents that an earlier file of the same name held, and this one doesn't.")
    failed: int
    chunks: int = Field(description="Chunks written.")
    splits: SplitsAnswer
    skipped: dict[str, int] = Field(description="How many members of archives were left out, by reason.")
    failures: list[FailureAnswer]


class FixAnswer(BaseModel):
    """What a fix is about."""

    kind: str = Field(description="The kind of finding.")
    undo: bool = Field(description="Whether it takes back what an earlier one has done.")


class JobAnswer(BaseModel):
    """Work that goes on after its request was answered."""

    id: str
    kind: Kind
    state: State = Field(description="Waiting, running, done, or failed as a whole: see `error`.")
    created: str = Field(description="When it was asked for: UTC, ISO 8601.")
    started: str | None
    finished: str | None
    sources: list[str] = Field(description=f"Addresses of the uploaded files; the first {LISTED}.")
    n_sources: int = Field(description="How many files and texts there are in all.")
    progress: ProgressAnswer | None = Field(description="Only while it is running.")
    outcome: OutcomeAnswer | None = Field(description="Only of an ingest that is done.")
    error: str | None = Field(description="Why the whole of it failed.")
    fix: FixAnswer | None = Field(None, description="Only of a fix that the report's page asked for.")


class JobsAnswer(BaseModel):
    """The latest jobs, the last one first."""

    jobs: list[JobAnswer]


class EventStream(StreamingResponse):
    """Server-sent events."""

    media_type = "text/event-stream"


def _jobs_of(request: Request) -> Jobs:
    return request.app.state.jobs


async def queue_of(caller: Caller, jobs: Annotated[Jobs, Depends(_jobs_of)]) -> JobQueue:
    """The jobs of the caller's tenant."""
    return await to_thread.run_sync(jobs.of, caller.tenant)


Queue = Annotated[JobQueue, Depends(queue_of)]
router = APIRouter()


@router.get("/jobs", summary="The latest jobs")
async def list_jobs(queue: Queue) -> JobsAnswer:
    """The last one first; of finished ones a hundred are kept."""
    return JobsAnswer(jobs=[describe_job(*queue.find(job.id)) for job in queue.all()])


@router.get("/jobs/{job_id}", responses=problems.documented(404, 422), summary="A job's progress and outcome")
async def show_job(queue: Queue, job_id: str) -> JobAnswer:
    """`POST /v1/documents` and `POST /v1/report` answer with the id."""
    return describe_job(*queue.find(job_id))


@router.get(
    "/jobs/{job_id}/events",
    response_class=EventStream,
    responses={
        200: {"description": "Events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **problems.documented(404, 422),
    },
    summary="A job's progress as server-sent events",
)
async def follow_job(queue: Queue, job_id: str, jobs: Annotated[Jobs, Depends(_jobs_of)]) -> EventStream:
    """Each event is named after the job's state, and its data is the job; the stream ends with the job.

    Where the server shuts down it ends before: ask again afterwards.
    """
    queue.find(job_id)  # a problem document now, not in the middle of a stream
    return EventStream(_events(queue, job_id, jobs), headers={"Cache-Control": "no-store"})


async def _events(queue: JobQueue, job_id: str, jobs: Jobs) -> AsyncIterator[str]:
    told, told_at = None, 0.0
    while True:
        answer = describe_job(*queue.find(job_id))
        if answer != told:
            told, told_at = answer, time.monotonic()
            yield f"event: {answer.state}\ndata: {answer.model_dump_json()}\n\n"
        elif time.monotonic() - told_at > ALIVE_EVERY_S:
            told_at = time.monotonic()
            yield ":\n\n"
        if answer.state in ("done", "failed") or jobs.is_stopping:
            return
        await anyio.sleep(LOOKED_EVERY_S)


def describe_job(job: Job, progress: Progress | None = None) -> JobAnswer:
    """What a client gets to know of a job."""
    from ingest.sources.uploads import upload_uri

    return JobAnswer(
        id=job.id,
        kind=job.kind,
        state=job.state,
        created=job.created,
        started=job.started,
        finished=job.finished,
        sources=[upload_uri(name) for name in job.names[:LISTED]],
        n_sources=len(job.names) + job.n_texts,
        progress=ProgressAnswer(**progress._asdict()) if progress else None,
        outcome=OutcomeAnswer(**job.outcome) if job.outcome else None,
        error=job.error,
        fix=FixAnswer(kind=job.fix["kind"], undo=job.fix["undo"]) if job.fix else None,
    )

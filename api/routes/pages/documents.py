"""The page of documents: what is indexed, what is being indexed, uploads and removals."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from api import pages
from api.jobs.queue import JobQueue
from api.routes import documents as api
from api.routes.jobs import JobAnswer, Queue, describe_job
from api.routes.pages.failing import failed, page_router
from api.serving.tenants import Caller, Live, needs

PER_PAGE = 50
JOBS_SHOWN = 8
ABOUT_REPORTS = ("report", "fix")  # kinds of jobs that the report's page shows
router = page_router()


@router.get("/documents")
def documents_page(live: Live, caller: Caller, queue: Queue, after: str | None = None) -> Response:
    """What is indexed, a page at a time, and the latest jobs."""
    listed = api.documents(live, PER_PAGE, after)
    status = api.status(live)
    shown = {"listed": listed, "after": after, "holds": status, "jobs": latest(queue)}
    limit_mb = live.settings.max_upload_mb
    return pages.render("documents", caller, per_page=PER_PAGE, max_upload_mb=limit_mb, kind="", **shown)


@router.post("/documents", dependencies=[Depends(needs("write"))])
async def upload(request: Request, live: Live, queue: Queue) -> Response:
    """Take files in as `POST /v1/documents` does, and show the page on which their job is seen."""
    answer = await api.add_documents(request, Response(), live, queue)
    return shown_problem(request, answer) or RedirectResponse("documents#jobs", 303)


@router.post("/delete", dependencies=[Depends(needs("write"))])
def delete(request: Request, live: Live, id: str) -> Response:
    """Remove a document as `DELETE /v1/documents/{id}` does."""
    answer = api.delete_document(live, id)
    return shown_problem(request, answer) or RedirectResponse("documents", 303)


@router.get("/jobs")
def jobs_part(caller: Caller, queue: Queue, kind: str = "") -> HTMLResponse:
    """The list of the latest jobs by itself, with which a page replaces the one it holds."""
    jobs = latest(queue, ABOUT_REPORTS, 1) if kind == "report" else latest(queue)
    return pages.render("jobs", caller, jobs=jobs, kind=kind)


def latest(queue: JobQueue, kinds: Collection[str] = (), n: int = JOBS_SHOWN) -> list[JobAnswer]:
    """The latest jobs, of some kinds or of all, the last one first."""
    found = [job for job in queue.all() if not kinds or job.kind in kinds][:n]
    return [describe_job(*queue.find(job.id)) for job in found]


def shown_problem(request: Request, answer: Any) -> Response | None:
    """The page of a problem document, None for any other answer."""
    if not isinstance(answer, JSONResponse) or answer.status_code < 400:
        return None

    problem = json.loads(answer.body)
    page = failed(request, answer.status_code, problem["title"], problem["detail"])
    page.headers.update(
        {name: value for name, value in answer.headers.items() if name in ("retry-after", "connection")}
    )
    return page

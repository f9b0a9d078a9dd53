"""The page of the quality report: what limits retrieval here, and what can be done about it at once."""

from __future__ import annotations

from fastapi import Depends, Response
from fastapi.responses import RedirectResponse

from api import pages
from api.jobs.report import kept_report
from api.mending import DOABLE
from api.routes import report as api
from api.routes.jobs import Queue
from api.routes.pages.documents import ABOUT_REPORTS, latest
from api.routes.pages.failing import page_router
from api.serving.tenants import Caller, Live, needs
from core.errors import InputError

OPEN = 4  # findings of a kind that are shown at once
router = page_router()


@router.get("/report")
def report_page(live: Live, caller: Caller, queue: Queue) -> Response:
    """The last report and how it stands to the index; how far another one or a fix is."""
    kept = kept_report(live.settings)
    jobs = [job for job in latest(queue, ABOUT_REPORTS, 1) if job.kind == "fix" or job.state != "done"]
    shown = {"kept": kept, "parts": None, "is_current": False, "open": OPEN, "jobs": jobs, "kind": "report"}
    if kept is not None:
        shown |= {"parts": kept.parts(), "is_current": live.answer(lambda index, _: kept.is_of(index))}
    return pages.render("report", caller, **shown)


@router.get("/report.html")
def whole_report(live: Live) -> Response:
    """The last report as a page that can be saved, see `GET /v1/report`."""
    return api.report(live, "text/html")


@router.post("/report", dependencies=[Depends(needs("write"))])
def make_report(queue: Queue) -> Response:
    """Make one as `POST /v1/report` does."""
    queue.add_report()
    return RedirectResponse("report", 303)


@router.post("/fix", dependencies=[Depends(needs("write"))])
def fix(queue: Queue, kind: str, made: str = "", undo: bool = False) -> Response:
    """Do what the report that was `made` then advises about a kind of finding, or take it back, in a job."""
    if kind not in DOABLE:
        raise InputError(f"{kind[:40]!r} can't be fixed here; {', '.join(DOABLE)} can.")
    queue.add_fix({"kind": kind, "made": made, "undo": undo})
    return RedirectResponse("report", 303)

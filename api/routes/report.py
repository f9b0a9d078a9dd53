"""The quality report over HTTP: the last one that was made, and the making of another."""

from __future__ import annotations

import re
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field

from api.jobs.report import KeptReport, kept_report
from api.routes.jobs import JobAnswer, Queue, describe_job
from api.serving import problems
from api.serving.tenants import Live, needs
from core.errors import NotFound

# The page forbids itself all but its one script, known by its hash; as a header that holds from the first byte.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


class ReportAnswer(BaseModel):
    """The last quality report, and how it stands to the index as it is now."""

    made: str = Field(description="When the index was read for it: UTC, ISO 8601.")
    generation: int = Field(description="Number of the index' generation that was read.")
    is_current: bool = Field(description="False where documents have changed since; POST /v1/report makes it anew.")
    report: dict[str, Any] = Field(description="As of `limpid report --json`; `limpid report --schema` describes it.")


router = APIRouter()


@router.get(
    "/report",
    response_model=ReportAnswer,
    responses={
        200: {
            "description": "The report; as a page where `Accept` asks for text/html",
            "content": {"text/html": {"schema": {"type": "string"}}},
        },
        **problems.documented(404, 422),
    },
    summary="The last quality report",
)
def report(live: Live, accept: Annotated[str, Header(include_in_schema=False)] = "") -> Any:
    """Where retrieval on this corpus fails, and what to do. The page needs nothing else and can be saved."""
    kept = kept_report(live.settings)
    if kept is None:
        raise NotFound("No report was made of this index yet. POST /v1/report makes one.")
    if "text/html" in accept:
        return _page(kept)
    is_current = live.answer(lambda index, _: kept.is_of(index))
    return ReportAnswer(made=kept.made, generation=kept.generation, is_current=is_current, report=kept.read())


@router.post(
    "/report",
    status_code=202,
    responses=problems.documented(403, 507),
    dependencies=[Depends(needs("write"))],
    summary="Make a quality report",
)
async def make_report(response: Response, queue: Queue) -> JobAnswer:
    """The answer is a job; where one waits already, that one. It may take minutes, in a process of its own."""
    job = await to_thread.run_sync(queue.add_report)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return describe_job(job)


def _page(kept: KeptReport) -> Response:
    page = kept.page()
    policy = POLICY.search(page)
    headers = {"Content-Security-Policy": f"{policy[1]}; frame-ancestors 'none'"} if policy else {}
    return HTMLResponse(page, headers=headers)

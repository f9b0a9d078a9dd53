"""The documents of an index over HTTP."""

from __future__ import annotations

import heapq
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import ClientDisconnect

from api.described import describe_record, read_document
from api.jobs.uploads import MAX_TEXTS, METADATA_NAMES, TooLarge, TooSlow, UnknownKind, receive
from api.jobs.writing import alone, data_folder
from api.routes.jobs import JobAnswer, Queue, describe_job
from api.schemas import MAX_PAGE, DocumentAnswer, DocumentsAnswer, DocumentText, IndexStatus
from api.serving import problems
from api.serving.tenants import Live, needs
from core.errors import IndexLocked, NotFound
from core.index import Index, describe_store

DELETE_PATIENCE_S = 2.0  # how long a deletion waits for a job that is writing
BUSY_S = 5  # after which to try again
RECEIVED = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {
                    "type": "array",
                    "minItems": 1,
                    "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                    "description": "Files, each with its name.",
                },
                "metadata": {
                    "type": "object",
                    "additionalProperties": {"type": ["string", "number", "boolean", "array", "null"]},
                    "description": "JSON in a field of the form: what is said of all files, to filter by.",
                    **METADATA_NAMES,
                },
            },
            "additionalProperties": False,
        }
    },
    "application/json": {
        "schema": {
            "anyOf": [
                {"$ref": "#/components/schemas/TextRequest"},
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": MAX_TEXTS,
                    "items": {"$ref": "#/components/schemas/TextRequest"},
                },
            ]
        }
    },
}


class DeletedAnswer(BaseModel):
    """What was removed."""

    deleted: list[str] = Field(description="The id of the document.")


class _AnyText(Convertor[str]):
    """Like Starlette's `path`, but matches line breaks too: a document's id may hold any character."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("any_text", _AnyText())
router = APIRouter()


@router.get("/status", summary="What the index holds and how it was made")
def status(live: Live) -> IndexStatus:
    """Numbers of documents and chunks, and the fingerprint."""
    return IndexStatus(**live.answer(lambda index, _: describe_store(index.store, index.meta, index.generation)))


@router.get("/documents", responses=problems.documented(422), summary="List the documents, in the order of their ids")
def documents(
    live: Live,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
    after: Annotated[str | None, Query(description="Start behind this id: the `next` of the last page.")] = None,
) -> DocumentsAnswer:
    """A page at a time; `next` leads to the following one."""
    return live.answer(lambda index, _: _page(index, limit, after))


@router.post(
    "/documents",
    status_code=202,
    responses=problems.documented(400, 403, 408, 413, 415, 422, 507),
    dependencies=[Depends(needs("write"))],
    openapi_extra={"requestBody": {"required": True, "content": RECEIVED}},
    summary="Upload files, or hand over texts",
)
async def add_documents(request: Request, response: Response, live: Live, queue: Queue) -> JobAnswer:
    """The answer is a job, whose progress and outcome are at `/v1/jobs/{id}`.

    A document with the id of one that is there takes its place once it is complete.
    """
    with queue.spool.receiving() as folder:
        try:
            job = await receive(request, folder, live.settings)
        except TooLarge as error:
            told = f"The body is larger than {error.limit_bytes:,} bytes. Send less at once, or raise max_upload_mb."
            return problems.problem(413, "Body too large", told, headers={"Connection": "close"})
        except UnknownKind:
            told = "Send files as multipart/form-data, or documents as application/json."
            return problems.problem(415, "Unsupported Media Type", told, headers={"Connection": "close"})
        except (TooSlow, ClientDisconnect):
            told = "The body didn't come to its end in time. Send it again."
            return problems.problem(408, "Request Timeout", told, headers={"Connection": "close"})
        job = await to_thread.run_sync(queue.add, job, folder)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return describe_job(job)


@router.get(
    "/documents/{document_id:any_text}",
    responses=problems.documented(404, 422),
    response_model_exclude_unset=True,
    summary="One document with its text",
)
def document(
    live: Live,
    document_id: str,
    chunks: Annotated[bool, Query(description="Add its chunks, by position.")] = False,
) -> DocumentText:
    """Percent-encode the id, slashes included."""
    found = live.answer(lambda index, _: read_document(index.store, document_id, chunks=chunks))
    if found is None:
        raise _absent(document_id)
    return DocumentText(**found)


@router.delete(
    "/documents/{document_id:any_text}",
    responses=problems.documented(403, 404, 422),
    dependencies=[Depends(needs("write"))],
    summary="Remove a document",
)
def delete_document(live: Live, document_id: str) -> DeletedAnswer:
    """Percent-encode the id, slashes included. The index is then as if the document had never been there.

    While a job is writing this is a 503: try again later.
    """
    from ingest.pipeline import remove

    def delete(index: Index, _: Any) -> bool:
        record = index.store.record(document_id)
        if record is None or not record.generation:
            return False
        remove(index, [document_id], live.settings)
        return True

    try:
        with alone(data_folder(live.settings), DELETE_PATIENCE_S):
            live.refresh()
            is_deleted = live.answer(delete)
    except IndexLocked:
        told = "A job is changing the index. Try again when it is done; GET /v1/jobs lists them."
        return problems.problem(503, "Index busy", told, headers={"Retry-After": str(BUSY_S)})
    if not is_deleted:
        raise _absent(document_id)
    return DeletedAnswer(deleted=[document_id])


def _absent(document_id: str) -> NotFound:
    return NotFound(f"There is no document {document_id!r}. GET /v1/documents lists them.")


def _page(index: Index, limit: int, after: str | None) -> DocumentsAnswer:
    """One page of documents: a scan over all records that keeps no more than the page."""
    total = 0

    def wanted():
        nonlocal total
        for record in index.store.records():
            if record.generation:  # without one its first version isn't complete yet
                total += 1
                if after is None or record.id > after:
                    yield record

    found = heapq.nsmallest(limit + 1, wanted(), key=lambda record: record.id)
    listed = [DocumentAnswer(**describe_record(record)) for record in found[:limit]]
    return DocumentsAnswer(documents=listed, total=total, next=listed[-1].id if len(found) > limit else None)

"""The documents of an index over HTTP."""

from __future__ import annotations

import heapq
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.convertors import Convertor, register_url_convertor

from api import problems
from api.described import describe_record, read_document
from api.schemas import MAX_PAGE, DocumentAnswer, DocumentsAnswer, DocumentText, IndexStatus
from api.tenants import Live
from core.errors import NotFound
from core.index import Index, describe_store


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
        raise NotFound(f"There is no document {document_id!r}. GET /v1/documents lists them.")
    return DocumentText(**found)


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

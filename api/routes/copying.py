"""A whole index over HTTP, portion by portion: how other commands copy it while this process holds it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from api.serving import problems
from api.serving.tenants import Live
from core.copying import package, versions
from core.index import Index

MAX_DOCUMENTS = 1024


class Copyable(BaseModel):
    """What a copy has to hold in the end."""

    generation: int = Field(description="Number of the generation that answers.")
    meta: dict[str, Any] = Field(description="What the index remembers: fingerprint, average length, projection.")
    documents: dict[str, Annotated[list[str | int], Field(min_length=4, max_length=4)]] = Field(
        description="By id: address, content hash, version, number of chunks."
    )


class PackageRequest(BaseModel):
    """The documents that are wanted."""

    model_config = ConfigDict(extra="forbid", strict=True)

    document_ids: list[str] = Field(min_length=1, max_length=MAX_DOCUMENTS, description="Unknown ids are left out.")


class PackageAnswer(BaseModel):
    """Documents with all that is stored of them."""

    records: list[dict[str, Any]] = Field(description="Each document's record, with its text.")
    chunks: list[dict[str, Any]] = Field(
        description="Each chunk, `dense` (float32) and `sentences` (float16), little-endian, row by row, in base64."
    )


router = APIRouter()


@router.get("/copy", summary="What a copy of the index has to hold")
def copyable(live: Live) -> Copyable:
    """Which documents there are, in which versions."""
    return live.answer(lambda index, _: _copyable(index))


@router.post("/copy", responses=problems.documented(413, 422), summary="Some documents with chunks and vectors")
def copied(live: Live, body: PackageRequest) -> PackageAnswer:
    """In the order in which they were asked for."""
    return PackageAnswer(**live.answer(lambda index, _: package(index.store, body.document_ids).to_json()))


def _copyable(index: Index) -> Copyable:
    with index.store.reading():
        return Copyable(generation=index.generation, meta=index.meta.to_json(), documents=versions(index.store))

"""The requests that a client can make, each defined once for the blocking client and the asynchronous one.

What a function takes is what its endpoint takes; None stands for the server's default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from api.schemas import DocumentsAnswer, DocumentText, Fusion, IndexStatus, Mode, PassageKind, SearchAnswer
from api.served import document_path

if TYPE_CHECKING:
    from api.routes.context import ContextAnswer, Encoding, Format, Kind, Order
    from api.routes.documents import DeletedAnswer
    from api.routes.jobs import JobAnswer, JobsAnswer
    from api.routes.report import ReportAnswer
    from api.routes.space import SimilarAnswer, Strategy, WalkAnswer

# The models of an answer are imported where they are needed: they stand beside the endpoints, which need an engine.
Answer = TypeVar("Answer", bound=BaseModel)
File = str | Path | tuple[str, bytes]  # a path, or a name and what is in it


@dataclass(frozen=True, slots=True)
class Call(Generic[Answer]):
    """A request, and the model of its answer."""

    method: str
    path: str
    answer: type[Answer]
    json: Any = None
    params: Mapping[str, Any] | None = None
    data: Mapping[str, str] | None = None
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None


def search(
    query: str,
    *,
    k: int | None = None,
    mode: Mode | None = None,
    fusion: Fusion | None = None,
    filter: str | None = None,
    explain: bool | None = None,
    passage: PassageKind | None = None,
    offset: int | None = None,
    neighbours: int | None = None,
    group: Literal["document"] | None = None,
    per_document: int | None = None,
    diversity: float | None = None,
    rerank: bool | None = None,
) -> Call[SearchAnswer]:
    """The passages that answer a query, best first."""
    return Call("POST", "/v1/search", SearchAnswer, json=_given(locals()))


def context(
    query: str,
    max_tokens: int,
    *,
    encoding: Encoding | None = None,
    format: Format | None = None,
    passage: Kind | None = None,
    order: Order | None = None,
    k: int | None = None,
    mode: Mode | None = None,
    fusion: Fusion | None = None,
    filter: str | None = None,
) -> Call[ContextAnswer]:
    """A context for a language model, within a budget of tokens and ready to be cited."""
    given = _given(locals())
    from api.routes.context import ContextAnswer

    return Call("POST", "/v1/context", ContextAnswer, json=given)


def similar(
    like: Sequence[str] = (),
    unlike: Sequence[str] = (),
    *,
    k: int | None = None,
    strategy: Strategy | None = None,
    filter: str | None = None,
) -> Call[SimilarAnswer]:
    """The passages that are like some examples (ids, or `text:` and words) and unlike others."""
    given = _given(locals()) | {"like": list(like), "unlike": list(unlike)}
    from api.routes.space import SimilarAnswer

    return Call("POST", "/v1/similar", SimilarAnswer, json=given)


def walk(start: str, end: str, *, steps: int | None = None, filter: str | None = None) -> Call[WalkAnswer]:
    """The passages on the way from one example to another."""
    given = {"from": start, "to": end} | _given({"steps": steps, "filter": filter})
    from api.routes.space import WalkAnswer

    return Call("POST", "/v1/walk", WalkAnswer, json=given)


def page(limit: int | None = None, after: str | None = None) -> Call[DocumentsAnswer]:
    """One page of the documents; its `next` is the following page's `after`."""
    return Call("GET", "/v1/documents", DocumentsAnswer, params=_given({"limit": limit, "after": after}))


def document(document_id: str, *, chunks: bool = False) -> Call[DocumentText]:
    """One document with its text, and with its chunks where they are wanted."""
    return Call("GET", document_path(document_id), DocumentText, params={"chunks": chunks})


def add(
    text: str,
    *,
    id: str | None = None,
    title: str | None = None,
    uri: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Call[JobAnswer]:
    """Hand over a document as text. The answer is a job, see `wait`."""
    return add_all([_given(locals())])


def add_all(texts: Sequence[Mapping[str, Any]]) -> Call[JobAnswer]:
    """Hand over documents: of each its `text`, and its `id`, `title`, `uri` and `metadata` where it has them."""
    from api.routes.jobs import JobAnswer

    return Call("POST", "/v1/documents", JobAnswer, json=[dict(text) for text in texts])


def upload(*files: File, metadata: Mapping[str, Any] | None = None) -> Call[JobAnswer]:
    """Upload files, which are read into memory, with metadata for all of them. The answer is a job, see `wait`.

    Raises `OSError` for a file that can't be read.
    """
    from api.routes.jobs import JobAnswer

    read = [file if isinstance(file, tuple) else (Path(file).name, Path(file).read_bytes()) for file in files]
    data = {"metadata": json.dumps(metadata)} if metadata else None
    return Call("POST", "/v1/documents", JobAnswer, data=data, files=[("file", file) for file in read])


def delete(document_id: str) -> Call[DeletedAnswer]:
    """Remove a document."""
    from api.routes.documents import DeletedAnswer

    return Call("DELETE", document_path(document_id), DeletedAnswer)


def job(job_id: str) -> Call[JobAnswer]:
    """A job's progress and outcome."""
    from api.routes.jobs import JobAnswer

    return Call("GET", f"/v1/jobs/{quote(job_id, safe='')}", JobAnswer)


def jobs() -> Call[JobsAnswer]:
    """The latest jobs, the last one first."""
    from api.routes.jobs import JobsAnswer

    return Call("GET", "/v1/jobs", JobsAnswer)


def report() -> Call[ReportAnswer]:
    """The last quality report."""
    from api.routes.report import ReportAnswer

    return Call("GET", "/v1/report", ReportAnswer)


def make_report() -> Call[JobAnswer]:
    """Make a quality report. The answer is a job, see `wait`."""
    from api.routes.jobs import JobAnswer

    return Call("POST", "/v1/report", JobAnswer)


def status() -> Call[IndexStatus]:
    """What the index holds and how it was made."""
    return Call("GET", "/v1/status", IndexStatus)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}

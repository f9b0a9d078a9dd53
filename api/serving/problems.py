"""Everything that goes wrong over HTTP becomes a problem document (RFC 9457), here and nowhere else."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from api.failures import http_status
from api.schemas import FieldFault, Problem
from api.serving.logs import REQUEST_ID, request_id
from core.errors import Forbidden, InputError, LimpidError, NotFound, Overloaded

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_logger = logging.getLogger("limpid.http")


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    instance: str | None = None,
    errors: list[FieldFault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document; its type is a URN made of the title, or about:blank where that is the status' own phrase."""
    kind = "about:blank" if title == HTTPStatus(status).phrase else f"urn:limpid:{title.lower().replace(' ', '-')}"
    body = Problem(type=kind, title=title, status=status, detail=detail, instance=instance, errors=errors or [])
    # A failure outside all middleware gets these too.
    safe = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return JSONResponse(body.model_dump(exclude_defaults=True), status, {**safe, **(headers or {})}, MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict]:
    """The OpenAPI entries of these problems, and of any other as the default."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    entries: dict[int | str, dict] = {
        status: {"description": HTTPStatus(status).phrase, "content": content} for status in sorted(statuses)
    }
    return {**entries, "default": {"description": "Any other failure", "content": content}}


def public_detail(error: LimpidError) -> tuple[str, str | None]:
    """What a client may read of an error, and its reference in the log where that holds more.

    Only messages about the request itself are passed on: the others may name folders and servers.
    """
    if isinstance(error, InputError | NotFound | Forbidden | Overloaded):
        return str(error), None
    reference = uuid.uuid4().urn
    _logger.error("%s: %s: %s", reference, type(error).__name__, error)
    return "The server can't answer this now. Try again later; its log tells the operator what to mend.", reference


def install(app: FastAPI) -> None:
    """Make `app` answer every failure with a problem document."""
    app.add_exception_handler(LimpidError, _limpid)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def from_error(error: LimpidError) -> JSONResponse:
    """The problem document of one of Limpid's own errors."""
    status, title = http_status(error)
    detail, reference = public_detail(error)
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return problem(status, title, detail, instance=reference, headers=headers)


async def _limpid(request: Request, error: LimpidError) -> JSONResponse:
    return from_error(error)


async def _validation(request: Request, error: RequestValidationError) -> JSONResponse:
    faults = [_fault(fault) for fault in error.errors()]
    told = " ".join(f"{fault.field}: {fault.message}." for fault in faults)
    detail = f"{told} Correct the request; /openapi.json describes what {request.url.path} takes."
    return problem(422, "Unusable input", detail, errors=faults)


def _fault(fault: dict) -> FieldFault:
    place = fault["loc"]
    if fault["type"] == "json_invalid":
        return FieldFault(field="body", message=f"not JSON ({fault['ctx']['error']} at character {place[-1] + 1})")
    if len(place) == 1:  # the body as a whole
        return FieldFault(field="body", message="send a JSON object, with Content-Type: application/json")
    is_blank = fault["type"] == "string_pattern_mismatch" and fault["ctx"]["pattern"] == r"\S"
    message = "It is blank; write something that can be seen" if is_blank else fault["msg"]
    return FieldFault(field=".".join(map(str, place[1:])), message=message)


async def _http(request: Request, error: HTTPException) -> JSONResponse:
    phrase = HTTPStatus(error.status_code).phrase
    details = {
        400: "The body can't be read. Send JSON in UTF-8.",
        404: "There is nothing at this address. /openapi.json lists what there is.",
        405: f"{request.method} isn't supported here. The Allow header says what is.",
    }
    return problem(error.status_code, phrase, details.get(error.status_code, phrase), headers=error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    reference = uuid.uuid4().urn
    _logger.error("%s: %s; where, it says below", reference, type(error).__name__)  # no address: it may name a document
    detail = "The server failed unexpectedly. Its log tells the operator why; quote the instance given here."
    # This is answered outside all middleware, and the server closes the connection behind it.
    headers = {REQUEST_ID: request_id.get(), "Connection": "close"}
    return problem(500, HTTPStatus(500).phrase, detail, instance=reference, headers=headers)

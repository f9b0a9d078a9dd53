"""Receiving documents: a body goes to disk as it comes, within limits, and nothing of a refused one stays."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import anyio
from anyio import to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.jobs.spool import Job, file_path, new_job, write_texts
from core.errors import InputError, StorageFull
from core.settings import Settings

MEGABYTE = 2**20
MAX_INLINE_BYTES = 16 * MEGABYTE  # of a JSON body, which is read at once
MAX_FILES, MAX_TEXTS = 1000, 10_000  # of one request
MAX_NAME_CHARACTERS, MAX_ID_CHARACTERS, MAX_ADDRESS_CHARACTERS = 1000, 1000, 2000
MAX_FAULTS = 20  # told of a body
MAX_FIELD_BYTES = MEGABYTE  # of a form's field that isn't a file
IDLE_S = 60.0  # how long a client may send nothing
FORM_FIELDS = "file (repeatable, with a file name) and metadata (a JSON object)"


class TooLarge(Exception):
    """A body over its limit, in bytes."""

    def __init__(self, limit_bytes: int):
        """`limit_bytes` is what it may have."""
        self.limit_bytes = limit_bytes


class UnknownKind(Exception):
    """A body of a content type that can't be received."""


class TooSlow(Exception):
    """A client that stopped in the middle of a body."""


def _no_file(uri: str) -> str:
    if uri.lower().startswith("file:"):
        raise ValueError("file: addresses are those of files that `limpid ingest` has read; give another, or none")
    return uri


# What can be filtered by; how a name may be spelt is described, and checked with all that is said of a document.
Value = str | bool | int | float | list[str] | None
METADATA_NAMES: dict[str, JsonValue] = {"propertyNames": {"pattern": r"""^[^\s\d"'<>=!(),\\][^\s"'<>=!(),\\]*$"""}}


class TextRequest(BaseModel):
    """A document that is given as text."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(
        "", max_length=MAX_ID_CHARACTERS, description="What it is known by; by default its `uri`, else its content."
    )
    title: str = Field("", max_length=MAX_ID_CHARACTERS, description="What it is called.")
    text: str = Field(pattern=r"\S", description="The document itself; it has a visible character at least.")
    uri: Annotated[str, AfterValidator(_no_file)] = Field(
        "", max_length=MAX_ADDRESS_CHARACTERS, description="Where it is from, shown with its passages."
    )
    metadata: dict[str, Value] = Field(
        {},
        description="Fields to filter by. A name begins with a letter or _ and has no blanks, quotes or <>=!(),.",
        json_schema_extra=METADATA_NAMES,
    )


_TEXTS = TypeAdapter(Annotated[list[TextRequest], Field(min_length=1, max_length=MAX_TEXTS)])


async def receive(request: Request, folder: Path, settings: Settings) -> Job:
    """The job that a request's body asks for, its files on disk in `folder`.

    Raises `InputError` for what can't be used, `TooLarge`, `TooSlow` or `UnknownKind` for what isn't received, and
    `StorageFull` where the disk has no room.
    """
    limit = int(settings.max_upload_mb * MEGABYTE)
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind == b"multipart/form-data":
        boundary = options.get(b"boundary")
        if not boundary:
            raise InputError("The Content-Type of the form lacks its boundary. Let the client library set it.")
        return await _receive_form(request, boundary, folder, limit)
    if kind == b"application/json":
        return await _receive_texts(request, folder, min(limit, MAX_INLINE_BYTES))
    raise UnknownKind


async def _receive_form(request: Request, boundary: bytes, folder: Path, limit_bytes: int) -> Job:
    form = await to_thread.run_sync(_Form, boundary, folder)
    try:
        async for part in _stream(request, limit_bytes):
            await to_thread.run_sync(form.write, part)
        return await to_thread.run_sync(form.finish)
    finally:
        form.close()


async def _receive_texts(request: Request, folder: Path, limit_bytes: int) -> Job:
    body = bytearray()
    async for part in _stream(request, limit_bytes):
        body += part
    return await to_thread.run_sync(_read_texts, bytes(body), folder)


def _read_texts(body: bytes, folder: Path) -> Job:
    one = body.lstrip()[:1] == b"{"
    try:
        texts = [TextRequest.model_validate_json(body)] if one else _TEXTS.validate_json(body)
    except ValidationError as error:
        faults = error.errors(include_url=False)[:MAX_FAULTS]
        if faults[0]["type"] == "json_invalid":
            raise InputError(f"The body isn't JSON in UTF-8 ({faults[0]['ctx']['error']}). Mend it.") from None
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from None
    given = [text.model_dump() for text in texts]
    for text in given:
        text["metadata"] = _checked(text["metadata"])
        if "title" in text["metadata"]:
            raise InputError("A document's metadata holds a title. Give it as `title`, beside the text.")
    write_texts(folder, given)
    return new_job("ingest", n_texts=len(given))


async def _stream(request: Request, limit_bytes: int) -> AsyncIterator[bytes]:
    """The body as it comes. Raises `TooLarge` as soon as that is known, `TooSlow` where nothing comes any more."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise TooLarge(limit_bytes)
    n_bytes = 0
    stream = request.stream()
    while True:
        with anyio.move_on_after(IDLE_S) as waiting:
            part = await anext(stream, None)
        if waiting.cancelled_caught:
            raise TooSlow
        if part is None:
            return
        n_bytes += len(part)
        if n_bytes > limit_bytes:
            raise TooLarge(limit_bytes)
        if part:
            yield part


class _Form:
    """Writes the files of a multipart form to a folder while the form is parsed."""

    def __init__(self, boundary: bytes, folder: Path):
        self._folder = folder
        self._names: list[str] = []
        self._metadata: dict[str, Any] | None = None
        self._header: list[bytearray] = [bytearray(), bytearray()]  # the name and value of the one being read
        self._disposition = ""
        self._file: BinaryIO | None = None
        self._field: bytearray | None = None
        self._is_complete = False
        callbacks = {
            "on_part_begin": self._begin,
            "on_header_begin": lambda: [part.clear() for part in self._header],
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._end,
            "on_end": self._complete,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as error:
            raise InputError(f"The form can't be read: {error}.") from None

    def write(self, part: bytes) -> None:
        """Take the next bytes of the body. Raises `InputError` or `StorageFull`."""
        try:
            self._parser.write(part)
        except FormParserError as error:
            raise InputError(f"The form can't be read: {error}. Let a client library write it.") from None
        except OSError as error:
            raise StorageFull(f"An upload can't be kept: {error.strerror}. Make room.") from None

    def finish(self) -> Job:
        """After the last byte: the job. Raises `InputError` for an incomplete form, or one without files."""
        if not self._is_complete:
            raise InputError("The form ends in the middle. Send it again.")
        if not self._names:
            raise InputError(f"The form holds no file. Its fields are {FORM_FIELDS}.")
        return new_job("ingest", names=tuple(self._names), metadata=self._metadata or {})

    def close(self) -> None:
        """Let go of what is open."""
        if self._file is not None:
            with suppress(OSError):  # on a full disk what is left to write fails anew
                self._file.close()

    def _begin(self) -> None:
        self._disposition = ""

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = value.decode("latin-1")

    def _open(self) -> None:
        """Begin a file or a field. A file's name is bytes in UTF-8; others are kept as they are."""
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"")
        if field == b"file" and b"filename" in options:
            self._names.append(self._checked_name(options[b"filename"].decode("utf-8", "surrogateescape")))
            self._file = file_path(self._folder, len(self._names) - 1).open("xb")
        elif field == b"metadata" and self._metadata is None:
            self._field = bytearray()
        else:
            told = field.decode(errors="replace")[:100]
            raise InputError(f"The form has a field {told!r} that isn't known here. Its fields are {FORM_FIELDS}.")

    def _checked_name(self, name: str) -> str:
        if not name or len(name) > MAX_NAME_CHARACTERS:
            raise InputError(f"A file's name has {len(name)} characters; 1 to {MAX_NAME_CHARACTERS:,} are supported.")
        if name in self._names:
            raise InputError(f"Two files are named {name!a}. Give each a name of its own.")
        if len(self._names) == MAX_FILES:
            raise InputError(f"The form holds more than {MAX_FILES:,} files. Send them in several requests.")
        return name

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
        elif self._field is not None:
            self._field += data[start:end]
            if len(self._field) > MAX_FIELD_BYTES:
                raise InputError(f"The form's metadata has more than {MAX_FIELD_BYTES:,} bytes. Shorten it.")

    def _end(self) -> None:
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
        elif self._field is not None:
            self._metadata, self._field = _parsed(bytes(self._field)), None

    def _complete(self) -> None:
        self._is_complete = True


def _parsed(field: bytes) -> dict[str, Any]:
    try:
        values = json.loads(field)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError('metadata isn\'t a JSON object in UTF-8, such as {"year": 2024}.')
    return _checked(values)


def _checked(metadata: dict[str, Any]) -> dict[str, Any]:
    """Metadata that can be filtered by. Raises `InputError`, naming the key that can't."""
    from ingest.sources.metadata import check_metadata

    return check_metadata(metadata)

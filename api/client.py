"""A typed client of a running `limpid serve`: `Client` blocks, `AsyncClient` is awaited; both have the same methods.

    with Client("http://127.0.0.1:8000", key="…") as client:
        for hit in client.search("operator precedence", k=3).hits:
            print(hit.title, hit.text)

Failures are Limpid's own errors with the server's words: `InputError` for a request that can't be used, `NotFound`,
`Forbidden` for a key that is missing or may not, `IndexMismatch`, `IndexLocked`, `StorageFull`, and `DependencyError`
where the server is overloaded, broken or not there. What it refuses for the moment (429, 503) is tried again.
"""

from __future__ import annotations

import inspect
from asyncio import sleep as async_sleep
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import wraps
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from api import calls
from api.calls import Call
from api.failures import error_class
from api.schemas import DocumentAnswer
from core.errors import DependencyError, LimpidError

if TYPE_CHECKING:
    from api.routes.jobs import JobAnswer

TIMEOUT_S = 60.0
MAX_RETRIES = 2
MAX_WAIT_S = 60.0  # a server that asks for more isn't waited for
FIRST_WAIT_S = 0.5  # where it doesn't say how long; twice as long each time
POLLED_EVERY_S = 0.5
PAGE = 1000  # documents asked for at once
RETRIED = frozenset({429, 503})
Given = ParamSpec("Given")
Answer = TypeVar("Answer", bound=BaseModel)


def _blocking(build: Callable[Given, Call[Answer]]) -> Callable[Concatenate[Client, Given], Answer]:
    @wraps(build)
    def method(self: Client, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return self.send(build(*args, **kwargs))

    return _as_method(method)


def _awaited(build: Callable[Given, Call[Answer]]) -> Callable[Concatenate[AsyncClient, Given], Awaitable[Answer]]:
    @wraps(build)
    async def method(self: AsyncClient, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        return await self.send(build(*args, **kwargs))

    return _as_method(method)


def _as_method(method: Any) -> Any:
    """With the signature that `help` shows: the request's, and `self`."""
    known = inspect.signature(method)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__signature__ = known.replace(
        parameters=[own, *known.parameters.values()], return_annotation=inspect.Signature.empty
    )
    return method


class Client:
    """Requests to a server, one after the other."""

    search = _blocking(calls.search)
    context = _blocking(calls.context)
    similar = _blocking(calls.similar)
    walk = _blocking(calls.walk)
    page = _blocking(calls.page)
    document = _blocking(calls.document)
    add = _blocking(calls.add)
    add_all = _blocking(calls.add_all)
    upload = _blocking(calls.upload)
    delete = _blocking(calls.delete)
    job = _blocking(calls.job)
    jobs = _blocking(calls.jobs)
    report = _blocking(calls.report)
    make_report = _blocking(calls.make_report)
    status = _blocking(calls.status)

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S, max_retries: int = MAX_RETRIES
    ):
        """`url` is the server's address, `key` one of its API keys. Nothing is asked yet."""
        self.url = url
        self._max_retries = max_retries
        self._client = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def documents(self) -> Iterator[DocumentAnswer]:
        """All documents without their texts, page by page, in the order of their ids."""
        after = None
        while True:
            page = self.page(PAGE, after)
            yield from page.documents
            if (after := page.next) is None:
                return

    def wait(self, job_id: str, timeout_s: float | None = None) -> JobAnswer:
        """The job once it is done or has failed. Raises `DependencyError` where that takes longer than `timeout_s`."""
        deadline = _deadline(timeout_s)
        while (job := self.job(job_id)).state not in ("done", "failed"):
            sleep(_pause(job_id, deadline))
        return job

    def send(self, call: Call[Answer]) -> Answer:
        """What the server answers. Raises as this module says."""
        attempt = 0
        while True:
            try:
                response = self._client.request(**_options(call))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _unreachable(self.url, error) from error
            if (wait_s := _wait_s(response, attempt, self._max_retries)) is None:
                return _answer(response, call)
            sleep(wait_s)
            attempt += 1


class AsyncClient:
    """Requests to a server, as many at a time as are awaited."""

    search = _awaited(calls.search)
    context = _awaited(calls.context)
    similar = _awaited(calls.similar)
    walk = _awaited(calls.walk)
    page = _awaited(calls.page)
    document = _awaited(calls.document)
    add = _awaited(calls.add)
    add_all = _awaited(calls.add_all)
    upload = _awaited(calls.upload)
    delete = _awaited(calls.delete)
    job = _awaited(calls.job)
    jobs = _awaited(calls.jobs)
    report = _awaited(calls.report)
    make_report = _awaited(calls.make_report)
    status = _awaited(calls.status)

    def __init__(
        self, url: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S, max_retries: int = MAX_RETRIES
    ):
        """`url` is the server's address, `key` one of its API keys. Nothing is asked yet."""
        self.url = url
        self._max_retries = max_retries
        self._client = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout_s)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def documents(self) -> AsyncIterator[DocumentAnswer]:
        """All documents without their texts, page by page, in the order of their ids."""
        after = None
        while True:
            page = await self.page(PAGE, after)
            for document in page.documents:
                yield document
            if (after := page.next) is None:
                return

    async def wait(self, job_id: str, timeout_s: float | None = None) -> JobAnswer:
        """The job once it is done or has failed. Raises `DependencyError` where that takes longer than `timeout_s`."""
        deadline = _deadline(timeout_s)
        while (job := await self.job(job_id)).state not in ("done", "failed"):
            await async_sleep(_pause(job_id, deadline))
        return job

    async def send(self, call: Call[Answer]) -> Answer:
        """What the server answers. Raises as this module says."""
        attempt = 0
        while True:
            try:
                response = await self._client.request(**_options(call))
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise _unreachable(self.url, error) from error
            if (wait_s := _wait_s(response, attempt, self._max_retries)) is None:
                return _answer(response, call)
            await async_sleep(wait_s)
            attempt += 1


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _options(call: Call) -> dict[str, Any]:
    """What httpx needs of a call."""
    options = {name: getattr(call, name) for name in ("json", "params", "data", "files")}
    given = {name: value for name, value in options.items() if value is not None}
    return {"method": call.method, "url": call.path, **given}


def _answer(response: httpx.Response, call: Call[Answer]) -> Answer:
    if not response.is_success:
        raise _failure(response)
    try:
        return call.answer.model_validate_json(response.content)
    except ValidationError as error:
        told = f"{response.url} doesn't answer as Limpid does"
        raise DependencyError(f"{told}. Is it a Limpid server of this version?") from error


def _failure(response: httpx.Response) -> LimpidError:
    """The error that a problem document tells of."""
    try:
        detail = str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{response.url} answered {response.status_code} {response.reason_phrase}."
    return error_class(response.status_code)(detail)


def _unreachable(url: str, error: Exception) -> DependencyError:
    told = str(error) or type(error).__name__
    return DependencyError(f"The server at {url} can't be asked ({told}). Is it running?")


def _wait_s(response: httpx.Response, attempt: int, max_retries: int) -> float | None:
    """How long to wait before the request is tried again; None where it isn't."""
    if response.status_code not in RETRIED or attempt >= max_retries:
        return None
    wait_s = _retry_after_s(response.headers.get("retry-after", ""))
    if wait_s is None:
        wait_s = FIRST_WAIT_S * 2**attempt
    return wait_s if wait_s <= MAX_WAIT_S else None


def _retry_after_s(value: str) -> float | None:
    """What a Retry-After header says: seconds, or a date (RFC 9110, 10.2.3); None where it says neither."""
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else monotonic() + timeout_s


def _pause(job_id: str, deadline: float | None) -> float:
    if deadline is not None and monotonic() >= deadline:
        raise DependencyError(f"The job {job_id} isn't done yet. Wait longer; it goes on meanwhile.")
    return POLLED_EVERY_S

"""The typed client against the app on a real socket, and against a server that refuses."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from api import calls
from api import client as module
from api.app import create_app
from api.client import AsyncClient, Client
from api.jobs.uploads import TextRequest
from api.routes.context import ContextRequest
from api.routes.space import SimilarRequest, WalkRequest
from api.schemas import SearchRequest
from core import errors
from core.embed import Embedder
from core.index import open_index
from core.settings import Settings
from tests.api.chat.upstream import serving
from tests.api.conftest import DOCUMENTS, STRANGE_IDS

METHODS = [
    name
    for name, function in vars(calls).items()
    if inspect.isfunction(function) and function.__module__ == calls.__name__ and not name.startswith("_")
]


@pytest.fixture(scope="module")
def url(index_folder: Path, tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[str]:
    """Address of a served app with two keys."""
    copied = tmp_path_factory.mktemp("client") / "index"
    shutil.copytree(index_folder, copied)
    settings = Settings(index=str(copied), offline=True, api_keys="own,acme:theirs")
    with open_index(settings, embedder=embedder) as index, serving(create_app(index, settings)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client that may do everything."""
    with Client(url, key="own") as opened:
        yield opened


class Refusing:
    """A server that answers with `answers`, one after the other, the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.n_asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Say nothing."""

            def do_GET(self) -> None:
                status, headers, body = outer.answers[min(outer.n_asked, len(outer.answers) - 1)]
                outer.n_asked += 1
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    server = Refusing()
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client would have slept, which it doesn't."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(module, "sleep", slept.append)
    monkeypatch.setattr(module, "async_sleep", sleep)
    return slept


def ask_both(url: str, ask: Callable[[Any], Any], **options: Any) -> list[Any]:
    """What the blocking client and the other one give, errors included."""

    async def awaited() -> Any:
        async with AsyncClient(url, **options) as client:
            return await ask(client)

    def blocking() -> Any:
        with Client(url, **options) as client:
            return ask(client)

    given = []
    for attempt in (blocking, lambda: asyncio.run(awaited())):
        try:
            given.append(attempt())
        except errors.LimpidError as error:
            given.append((type(error), str(error)))
    return given


class TestAnswers:
    def test_they_are_the_endpoints_answers(self, client: Client, url: str):
        answer = client.search("how should black tea steep", k=2, explain=True, filter="year > 2000")
        body = {"query": "how should black tea steep", "k": 2, "explain": True, "filter": "year > 2000"}
        raw = httpx.post(f"{url}/v1/search", json=body, headers={"Authorization": "Bearer own"}).json()
        assert answer.model_dump(mode="json", exclude_unset=True) | {"took_ms": 0} == raw | {"took_ms": 0}
        assert answer.hits[0].title == "Brewing tea"

    def test_contexts_examples_and_ways(self, client: Client):
        context = client.context("how should black tea steep", 100, format="xml")
        assert context.n_tokens <= 100
        assert context.passages[0].title == "Brewing tea"
        assert client.similar(["loops"], ["text:tea"], k=1).hits[0].document_id != "loops"
        assert len(client.walk("loops", "bicycle", steps=2).steps) == 2

    def test_documents_come_page_by_page(self, client: Client, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(module, "PAGE", 4)
        ids = [document.id for document in client.documents()]
        assert ids == sorted(document.id for document in DOCUMENTS)
        assert client.status().documents == len(ids)

    @pytest.mark.parametrize("document_id", STRANGE_IDS)
    def test_any_id_is_found(self, client: Client, document_id: str):
        found = client.document(document_id, chunks=True)
        assert (found.id, len(found.chunks)) == (document_id, 1)

    def test_both_clients_give_the_same(self, url: str):
        one, other = ask_both(url, lambda client: client.search("bees and honey", k=5), key="own")
        assert one.hits == other.hits

        async def listed() -> list[str]:
            async with AsyncClient(url, "own") as client:
                return [document.id async for document in client.documents()]

        with Client(url, "own") as client:
            assert asyncio.run(listed()) == [document.id for document in client.documents()]

    def test_a_document_is_added_uploaded_and_deleted(self, url: str, tmp_path: Path):
        (tmp_path / "ships.md").write_text("# Ships\n\nA frigate carries three masts.\n")
        with Client(url, "theirs") as client:
            job = client.wait(client.add("A narwhal has one tusk.", id="narwhal", title="Narwhals").id, timeout_s=60)
            assert (job.state, job.outcome.new) == ("done", 1)
            files = (tmp_path / "ships.md", ("boats.txt", b"A dinghy has no deck."))
            job = client.wait(client.upload(*files, metadata={"year": 1800}).id, timeout_s=60)
            assert (job.state, job.outcome.new) == ("done", 2)
            assert client.search("which ship has masts", filter="year = 1800").hits[0].title == "Ships"
            assert client.jobs().jobs[0].id == job.id
            assert client.delete("narwhal").deleted == ["narwhal"]
            with pytest.raises(errors.NotFound, match="narwhal"):
                client.document("narwhal")

    def test_waiting_may_end_before_the_job(self, url: str):
        async def wait() -> None:
            async with AsyncClient(url, "theirs") as client:
                job = await client.add("A sloop has one mast. " * 50, id="sloop")
                with pytest.raises(errors.DependencyError, match="isn't done yet"):
                    await client.wait(job.id, timeout_s=0)
                assert (await client.wait(job.id, timeout_s=60)).state == "done"

        asyncio.run(wait())


class TestFailures:
    def test_problems_are_errors_with_the_server_s_words(self, client: Client, url: str):
        with pytest.raises(errors.InputError, match="k: Input should be greater than or equal to 1"):
            client.search("tea", k=0)
        with pytest.raises(errors.NotFound, match="There is no document 'nobody'"):
            client.document("nobody")
        with pytest.raises(errors.NotFound, match="No report was made"):
            client.report()
        assert ask_both(url, lambda client: client.status(), key="wrong") == 2 * [
            (errors.Forbidden, "This address needs a valid key. Send it as a header: Authorization: Bearer KEY.")
        ]

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, errors.InputError), (403, errors.Forbidden), (404, errors.NotFound), (409, errors.IndexMismatch),
            (413, errors.InputError), (423, errors.IndexLocked), (500, errors.LimpidError),
            (502, errors.DependencyError), (507, errors.StorageFull),
        ],
    )  # fmt: skip
    def test_every_status_has_its_error(self, refusing: Refusing, status: int, kind: type):
        refusing.answers = [(status, {}, b'{"detail": "so it is"}')]
        assert ask_both(refusing.url, lambda client: client.status()) == 2 * [(kind, "so it is")]
        assert refusing.n_asked == 2

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
    def test_a_server_that_isn_t_limpid_is_told(self, refusing: Refusing, body: bytes):
        refusing.answers = [(200, {}, body), (404, {}, body)]
        with Client(refusing.url) as client:
            with pytest.raises(errors.DependencyError, match="doesn't answer as Limpid does"):
                client.status()
            with pytest.raises(errors.NotFound, match="answered 404 Not Found"):
                client.status()

    def test_a_server_that_isn_t_there_is_told(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
        for kind, told in ask_both(url, lambda client: client.status()):
            assert (kind, "Is it running?" in told, url in told) == (errors.DependencyError, True, True)


class TestRetries:
    BUSY = b'{"detail": "busy"}'

    @pytest.mark.parametrize("status", [429, 503])
    def test_what_is_refused_for_the_moment_is_tried_again_when_it_says(
        self, refusing: Refusing, waits: list[float], status: int
    ):
        refusing.answers = [(status, {"retry-after": "3"}, self.BUSY), (status, {}, self.BUSY)]
        given = ask_both(refusing.url, lambda client: client.status())
        assert given[0] == (errors.DependencyError, "busy")
        assert waits == [3, 1, 0.5, 1]  # the second client gets no Retry-After
        assert refusing.n_asked == 6

    def test_it_goes_on_once_it_is_answered(self, refusing: Refusing, waits: list[float], client: Client):
        body = client.status().model_dump_json().encode()
        refusing.answers = [(503, {"retry-after": "1"}, self.BUSY), (200, {}, body)]
        with Client(refusing.url) as other:
            assert other.status() == client.status()
        assert waits == [1]

    def test_a_date_is_understood(self, refusing: Refusing, waits: list[float]):
        later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        refusing.answers = [(503, {"retry-after": later}, self.BUSY)]
        with Client(refusing.url, max_retries=1) as client, pytest.raises(errors.DependencyError):
            client.status()
        assert 25 < waits[0] <= 30

    def test_too_long_a_wait_isn_t_waited(self, refusing: Refusing, waits: list[float]):
        refusing.answers = [(429, {"retry-after": "3600"}, self.BUSY)]
        with Client(refusing.url) as client, pytest.raises(errors.DependencyError):
            client.status()
        assert (waits, refusing.n_asked) == ([], 1)


class TestShape:
    def test_both_clients_have_every_call(self):
        for name in METHODS:
            for kind in (Client, AsyncClient):
                method = getattr(kind, name)
                assert method.__doc__ == getattr(calls, name).__doc__
                taken = list(inspect.signature(method).parameters)
                assert taken == ["self", *inspect.signature(getattr(calls, name)).parameters]
        public = [{name for name in vars(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)]
        assert public[0] == public[1]

    @pytest.mark.parametrize(
        ("build", "request_model"),
        [
            (calls.search, SearchRequest),
            (calls.context, ContextRequest),
            (calls.similar, SimilarRequest),
            (calls.walk, WalkRequest),
            (calls.add, TextRequest),
        ],
    )
    def test_a_call_takes_what_its_endpoint_takes(self, build: Callable, request_model: type):
        assert set(inspect.signature(build).parameters) == set(request_model.model_fields)

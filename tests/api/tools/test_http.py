"""`/mcp` of a real server on loopback: keys, tenants, foreign hosts, sizes, and a loop that never stands still."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import anyio
import httpx
import pytest
import uvicorn
from mcp import Client

from api.app import create_app
from api.serving.access import MAX_BODY_BYTES
from api.serving.keys import KeyFile
from core.embed import Embedder
from core.errors import DependencyError
from core.index import Index, open_index
from core.settings import Settings
from core.types import Document
from core.unrelated import measure_unrelated
from search.retriever import Retriever
from tests.api.conftest import fill
from tests.api.tools.client import ERAS, ask, call, over_http, talk

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
WORDS = {"reader": "marmalade", "alpha": "zeppelin", "beta": "quokka"}  # of each key's owner, and of nobody else
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


@contextmanager
def running(index: Index, settings: Settings, secret: str = "") -> Iterator[str]:
    """The address of a server over the index; `secret` is a key for everything."""
    app = create_app(index, settings, secret)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def about(word: str, field: str) -> tuple[Document, ...]:
    """Documents in which a word occurs that occurs nowhere else, in a field of their own."""
    told = f"The {word} is kept in the cellar. Every {word} has a number."
    return tuple(
        Document(f"{word}-{n}", f"file:///{word}/{n}.txt", f"On {word} {n}", told, "", metadata={field: n})
        for n in range(3)
    )


class Served:
    """A server with keys, and what each key is."""

    def __init__(self, url: str, keys: dict[str, str]):
        self.url = url
        self.keys = keys

    def __getitem__(self, owner: str):
        return over_http(self.url, self.keys[owner])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Served]:
    """One key that may read only, two tenants with documents of their own."""
    folder = tmp_path_factory.mktemp("served") / "index"
    measured = None  # once for all three: what it is doesn't matter here, and it takes a second
    with ExitStack() as opened:
        for words, place in (("marmalade", ""), ("zeppelin", "tenants/alpha"), ("quokka", "tenants/beta")):
            settings = Settings(index=str(folder / place), offline=True)
            index = opened.enter_context(open_index(settings, create=True, embedder=embedder))
            fill(index, about(words, f"n_{words}"))
            index.meta.fields = {f"n_{words}": "integer"}
            index.meta.unrelated = measured = measured or measure_unrelated(index.store, embedder).to_json()
            index.save()
            if place:
                index.close()
            else:
                own = index
        keys = {"alpha": "alpha-secret", "beta": "beta-secret"}
        keys["reader"] = KeyFile(folder / "keys.json").add("reader", "", "read", None)
        with running(
            own, Settings(index=str(folder), offline=True, api_keys="alpha:alpha-secret,beta:beta-secret")
        ) as url:
            yield Served(url, keys)


@pytest.fixture(scope="module")
def open_server(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server without keys."""
    with running(index, Settings(index=str(tmp_path_factory.mktemp("open")), offline=True)) as url:
        yield url


class TestTransport:
    @pytest.mark.parametrize("era", ERAS)
    def test_the_sdk_s_client_gets_what_a_search_gives(self, open_server: str, index: Index, era: str):
        answer = call(over_http(open_server), "search", era, query="how long should tea steep", k=3).structured_content
        expected = Retriever(index).search("how long should tea steep", 3).hits
        assert [hit["chunk_id"] for hit in answer["hits"]] == [hit.chunk.id for hit in expected]
        assert [hit["text"] for hit in answer["hits"]] == [hit.chunk.text for hit in expected]

    @pytest.mark.parametrize("era", ERAS)
    def test_one_connection_takes_many_calls_at_once(self, open_server: str, era: str):
        async def use(client: Client) -> list[str]:
            found = [""] * 8

            async def search(place: int, query: str) -> None:
                answer = await client.call_tool("search", {"query": query, "k": 1})
                found[place] = answer.structured_content["hits"][0]["document_id"]

            async with anyio.create_task_group() as tasks:
                for place in range(8):
                    tasks.start_soon(search, place, ("brewing tea", "rivers of ice")[place % 2])
            return found

        assert talk(over_http(open_server), use, era) == ["https://example.org/tea", "file:///library/glaciers.pdf"] * 4

    def test_it_is_no_part_of_the_described_api(self, open_server: str):
        assert "/mcp" not in httpx.get(f"{open_server}/openapi.json").json()["paths"]

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    def test_there_are_no_streams_and_no_sessions(self, open_server: str, method: str):
        answer = httpx.request(method, f"{open_server}/mcp", headers=HEADERS)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        started = httpx.post(f"{open_server}/mcp", json=INITIALIZE, headers=HEADERS)
        assert started.json()["result"]["serverInfo"]["name"] == "limpid"
        assert "mcp-session-id" not in started.headers

    def test_a_slow_call_holds_nobody_up(self, open_server: str, monkeypatch: pytest.MonkeyPatch):
        entered, leave = threading.Event(), threading.Event()
        search = Retriever.search

        def slow(*arguments: object, **options: object) -> object:
            entered.set()
            leave.wait(20)
            return search(*arguments, **options)

        monkeypatch.setattr(Retriever, "search", slow)
        with ThreadPoolExecutor() as pool:
            slow_call = pool.submit(call, over_http(open_server), "search", query="tea")
            try:
                assert entered.wait(20)
                assert httpx.get(f"{open_server}/healthz", timeout=10).status_code == 200
                assert not slow_call.done()
            finally:
                leave.set()
            assert not slow_call.result().is_error


class TestAccess:
    @pytest.mark.parametrize("key", [None, "nonsense"])
    def test_a_key_is_needed(self, served: Served, key: str | None):
        headers = HEADERS | ({"Authorization": f"Bearer {key}"} if key else {})
        answer = httpx.post(f"{served.url}/mcp", json=INITIALIZE, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_a_key_that_may_only_read_is_enough(self, served: Served):
        assert ask(served["reader"], "search", query="marmalade")["hits"][0]["document_id"].startswith("marmalade")

    @pytest.mark.parametrize(
        ("headers", "status"), [({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403)]
    )
    def test_foreign_names_and_pages_are_refused(self, open_server: str, headers: dict, status: int):
        answer = httpx.post(f"{open_server}/mcp", json=INITIALIZE, headers=HEADERS | headers)
        assert answer.status_code == status

    def test_bodies_are_limited(self, open_server: str):
        assert httpx.post(f"{open_server}/mcp", content=b" " * (MAX_BODY_BYTES + 1), headers=HEADERS).status_code == 413

    @pytest.mark.parametrize("content", [b"{", b"[]", b"[" * 50_000, b'{"jsonrpc": "2.0"}', b"\xff"])
    @pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28", "nonsense"])
    def test_what_is_no_message_is_refused(self, open_server: str, content: bytes, version: str):
        headers = HEADERS | {"MCP-Protocol-Version": version}
        answer = httpx.post(f"{open_server}/mcp", content=content, headers=headers)
        assert answer.status_code in (202, 400)
        assert "Traceback" not in answer.text


class TestTenants:
    @pytest.mark.parametrize("owner", WORDS)
    def test_each_sees_its_own(self, served: Served, owner: str):
        word = WORDS[owner]
        listed = ask(served[owner], "list_documents")
        assert listed["total"] == 3
        assert [document["document_id"] for document in listed["documents"]] == [f"{word}-{n}" for n in range(3)]
        answer = ask(served[owner], "search", query=word, filter=f"n_{word} >= 1")
        assert sorted(hit["document_id"] for hit in answer["hits"]) == [f"{word}-1", f"{word}-2"]

    @pytest.mark.parametrize("owner", WORDS)
    def test_and_nothing_of_another_s(self, served: Served, owner: str):
        foreign = [word for other, word in WORDS.items() if other != owner]
        calls = (
            ("search", {"query": "what is kept in the cellar?"}),
            ("context", {"query": "what is kept in the cellar?"}),
            ("similar", {"like": ["text:kept in the cellar"]}),
            ("list_documents", {}),
            ("report", {}),
        )

        async def use(client: Client) -> list[str]:
            told = [await client.call_tool(tool, arguments) for tool, arguments in calls]
            told += [await client.list_resources(), await client.list_tools()]
            return [answer.model_dump_json() for answer in told]

        told = " ".join(talk(served[owner], use))
        assert WORDS[owner] in told
        assert not any(word in told for word in foreign)

    @pytest.mark.parametrize(("owner", "other"), [("reader", "alpha"), ("alpha", "beta"), ("beta", "reader")])
    def test_what_is_another_s_is_as_unknown_as_what_never_was(self, served: Served, owner: str, other: str):
        word = WORDS[other]
        chunk = ask(served[other], "search", query="cellar", k=1)["hits"][0]["chunk_id"]
        asked = (
            ("read_document", "document_id", f"{word}-0", "never-was-0"),
            ("similar", "like", [f"{word}-0"], ["never-was-0"]),
            ("similar", "like", [chunk], ["0123456789abcdef"]),
            ("search", "filter", f"n_{word} = 1", "n_never = 1"),
        )

        async def use(client: Client) -> list[tuple[str, str]]:
            told = []
            for tool, name, *given in asked:
                more = {"query": "cellar"} if tool == "search" else {}
                answers = [await client.call_tool(tool, {name: value, **more}) for value in given]
                assert all(answer.is_error for answer in answers)
                told.append(tuple(answer.content[0].text for answer in answers))
            return told

        for (_, _, theirs, never), (of_theirs, of_never) in zip(asked, talk(served[owner], use), strict=True):
            names = [value[0] if isinstance(value, list) else value.partition(" ")[0] for value in (theirs, never)]
            assert of_theirs.replace(names[0], "X") == of_never.replace(names[1], "X")
        assert ask(served[owner], "search", query=word, k=1)["unknown_terms"] == [word]

    def test_a_client_may_not_change_its_key_s_tenant(self, served: Served):
        """Whatever a request claims beside its key."""
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "list_documents", "arguments": {}},
        }
        headers = HEADERS | {
            "Authorization": f"Bearer {served.keys['beta']}",
            "Mcp-Session-Id": "alpha",
            "X-Tenant": "alpha",
        }
        answer = httpx.post(f"{served.url}/mcp?tenant=alpha", json=body, headers=headers)
        assert "quokka-0" in answer.text
        assert "zeppelin" not in answer.text


class TestFailures:
    @pytest.mark.parametrize(
        "error", [DependencyError("/secret is gone, key hunter2"), RuntimeError("/secret hunter2")]
    )
    @pytest.mark.parametrize("era", ERAS)
    def test_no_internals_leave_the_server(
        self, open_server: str, index: Index, monkeypatch: pytest.MonkeyPatch, caplog, error: Exception, era: str
    ):
        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(index.store, "candidates", fail)
        with caplog.at_level(logging.ERROR):
            result = call(over_http(open_server), "search", era, query="tea")
        assert result.is_error
        told = result.content[0].text
        assert "secret" not in told
        assert "hunter2" not in told
        reference = told.rpartition(" ")[2].rstrip(".")
        assert reference.startswith("urn:uuid:")
        assert reference in caplog.text
        assert "/secret" in caplog.text

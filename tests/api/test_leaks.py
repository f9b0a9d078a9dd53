"""Tenants: nothing of one reaches another, at any address of the API.

Two worlds are compared: one in which every tenant has documents, and one in which only the tenant that asks has.
Whatever it asks, also for what is another's by name, the answers are the same to the last digit.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest
from fastapi import APIRouter, FastAPI

from api.app import create_app
from api.console import Console
from api.jobs.report_parts import write_parts
from api.jobs.spool import Job, Spool
from api.reporting import diagnose_index, write_report
from api.routes import mcp, pages
from api.serving.keys import ROLES, digest_of
from core.embed import Embedder
from core.index import open_index
from core.settings import Settings
from core.types import Document
from tests.api.chat.upstream import MODEL, Upstream, running_upstream, serving
from tests.api.conftest import _chunks, fill

ANIMALS = {"": "quokka", "acme": "okapi", "beta": "narwhal"}  # by tenant: a word that only its documents know
PAIRS = list(permutations(ANIMALS, 2))
ROUND = [("", "acme"), ("acme", "beta"), ("beta", "")]  # enough where a test takes long
QUERY = "how is the {} fed"
# What differs from one request to the next whoever asks.
VOLATILE = {
    r'"took_ms": ?[\d.]+': '"took_ms": 0',
    r"in [\d.,]+ ms": "in 0 ms",
    r'"created": ?\d+': '"created": 0',
    r"chatcmpl-\w+": "chatcmpl",
    r"urn:uuid:[\w-]+": "urn:uuid",
}


class Ask(NamedTuple):
    """A request."""

    method: str
    url: str
    body: Any = None
    headers: dict[str, str] | None = None
    form: dict[str, str] | None = None


def documents(tenant: str) -> tuple[Document, ...]:
    """Three documents of a tenant; one has an id that every tenant has, all have words that every tenant has."""
    animal = ANIMALS[tenant]
    texts = {
        f"{animal}-1": f"The {animal} is fed with hay at nine.\n\nKeepers weigh every {animal} on Mondays.",
        "shared": f"House rules. The {animal} sleeps at noon, so be quiet and brew the coffee elsewhere.",
        f"{animal}-2": "Coffee is brewed at ten. " * (1 + len(animal)),
    }
    meta = {"topic": animal, "year": 2000 + len(animal)}
    return tuple(
        Document(name, f"file:///{animal}/{name}.md", f"About the {animal}", text, "", metadata=meta)
        for name, text in texts.items()
    )


def job_id(tenant: str) -> str:
    """Of the job that a tenant has done."""
    return digest_of(f"job of {tenant}")[:32]


def chunk_id(tenant: str) -> str:
    """Of the first chunk of a tenant's first document."""
    return _chunks(documents(tenant)[0])[0].id


def key(tenant: str, role: str) -> str:
    """The secret of a tenant's key."""
    return f"secret-{tenant}-{role}"


def tool(name: str, **arguments: Any) -> Ask:
    """A call of an MCP tool."""
    return rpc("tools/call", name=name, arguments=arguments)


def rpc(method: str, **params: Any) -> Ask:
    """An MCP message."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return Ask("POST", "/mcp", body, {"accept": "application/json, text/event-stream"})


def chat(question: str, **options: Any) -> Ask:
    """A question to the language model."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": question}], **options}
    return Ask("POST", "/v1/chat/completions", body)


# What is asked at each address, by the animal of the tenant that asks and that of another one. An address without an
# entry fails the test below: add requests that would show the other's documents if anything did.
READING: dict[str, Callable[[str, str], list[Ask]]] = {
    "POST /v1/search": lambda own, other: [
        Ask("POST", "/v1/search", {"query": query, "mode": mode, "explain": True, **more})
        for query in (QUERY.format(ANIMALS[own]), QUERY.format(ANIMALS[other]), "brew coffee")
        for mode, more in (
            ("hybrid", {}),
            ("sparse", {"group": "document", "passage": "section"}),
            ("hybrid", {"filter": f'topic = "{ANIMALS[other]}"'}),
        )
    ],
    "POST /v1/context": lambda own, other: [
        Ask("POST", "/v1/context", {"query": QUERY.format(ANIMALS[who]), "max_tokens": 200}) for who in (own, other)
    ],
    "POST /v1/similar": lambda own, other: [
        Ask("POST", "/v1/similar", {"like": [name]})
        for name in (f"{ANIMALS[own]}-1", f"{ANIMALS[other]}-1", "shared", chunk_id(other), f"text:{ANIMALS[other]}")
    ],
    "POST /v1/walk": lambda own, other: [
        Ask("POST", "/v1/walk", {"from": f"{ANIMALS[own]}-1", "to": name})
        for name in ("shared", f"{ANIMALS[other]}-1", chunk_id(other))
    ],
    "POST /v1/chat/completions": lambda own, other: [
        chat(QUERY.format(ANIMALS[own])),
        chat(QUERY.format(ANIMALS[other])),
        chat(QUERY.format(ANIMALS[other]), stream=True),
    ],
    "GET /v1/models": lambda own, other: [Ask("GET", "/v1/models")],
    "GET /v1/documents": lambda own, other: [
        Ask("GET", "/v1/documents"),
        Ask("GET", "/v1/documents?limit=1"),
        Ask("GET", f"/v1/documents?after={ANIMALS[other]}"),
    ],
    "GET /v1/documents/{document_id}": lambda own, other: [
        Ask("GET", f"/v1/documents/{quote(name, safe='')}?chunks=true")
        for name in (f"{ANIMALS[own]}-1", "shared", f"{ANIMALS[other]}-1", f"../{other}/{ANIMALS[other]}-1")
    ],
    "GET /v1/status": lambda own, other: [Ask("GET", "/v1/status")],
    "GET /v1/copy": lambda own, other: [Ask("GET", "/v1/copy")],
    "POST /v1/copy": lambda own, other: [
        Ask("POST", "/v1/copy", {"document_ids": [f"{ANIMALS[own]}-1", "shared", f"{ANIMALS[other]}-1"]})
    ],
    "GET /v1/jobs": lambda own, other: [Ask("GET", "/v1/jobs")],
    "GET /v1/jobs/{job_id}": lambda own, other: [Ask("GET", f"/v1/jobs/{job_id(who)}") for who in (own, other)],
    "GET /v1/jobs/{job_id}/events": lambda own, other: [
        Ask("GET", f"/v1/jobs/{job_id(who)}/events") for who in (own, other)
    ],
    "GET /v1/report": lambda own, other: [
        Ask("GET", "/v1/report"), Ask("GET", "/v1/report", None, {"accept": "text/html"})
    ],
    "GET /healthz": lambda own, other: [Ask("GET", "/healthz")],
    "GET /readyz": lambda own, other: [Ask("GET", "/readyz")],
    "POST /mcp": lambda own, other: [
        rpc("tools/list"),
        rpc("resources/list"),
        tool("search", query=QUERY.format(ANIMALS[other])),
        tool("context", query=QUERY.format(ANIMALS[other]), max_tokens=200),
        tool("read_document", document_id=f"{ANIMALS[other]}-1"),
        tool("read_document", document_id="shared"),
        tool("similar", like=[f"{ANIMALS[other]}-1"]),
        tool("similar", like=["shared"]),
        tool("list_documents"),
        tool("report"),
    ],
}  # fmt: skip
PAGES: dict[str, Callable[[str, str], list[Ask]]] = {
    "GET /": lambda own, other: [
        Ask("GET", "/"), Ask("GET", f"/?q={ANIMALS[other]}"), Ask("GET", f"/?q=coffee&filter=topic={ANIMALS[other]}")
    ],
    "GET /similar": lambda own, other: [
        Ask("GET", f"/similar?like={name}") for name in (chunk_id(own), chunk_id(other), "shared")
    ],
    "GET /document": lambda own, other: [
        Ask("GET", f"/document?id={name}") for name in (f"{ANIMALS[own]}-1", f"{ANIMALS[other]}-1", "shared")
    ],
    "GET /documents": lambda own, other: [Ask("GET", "/documents")],
    "GET /jobs": lambda own, other: [Ask("GET", "/jobs")],
    "GET /report": lambda own, other: [Ask("GET", "/report")],
    "GET /report.html": lambda own, other: [Ask("GET", "/report.html")],
    "GET /map": lambda own, other: [Ask("GET", "/map"), Ask("GET", f"/map?q={ANIMALS[other]}")],
    "GET /map.json": lambda own, other: [Ask("GET", "/map.json")],
    "GET /static/map.js": lambda own, other: [Ask("GET", "/static/map.js")],
    "GET /ask": lambda own, other: [Ask("GET", "/ask"), Ask("GET", f"/ask?q={ANIMALS[other]}")],
    "POST /ask": lambda own, other: [Ask("POST", "/ask", form={"question": QUERY.format(ANIMALS[other])})],
}  # fmt: skip
# Done below, or, by a page, through the same functions as at an address that is.
WRITING = {"POST /v1/documents", "DELETE /v1/documents/{document_id}", "POST /v1/report"}
WRITING |= {"POST /documents", "POST /delete", "POST /report", "POST /fix"}
OF_THE_SERVER = {"GET /metrics"}


class World:
    """A running server, and clients with a key of each tenant and role."""

    def __init__(self, app: FastAPI, address: str, upstream: Upstream):
        self.app = app
        self.upstream = upstream
        self._client = httpx.Client(base_url=address, timeout=60, trust_env=False)

    def ask(self, tenant: str, ask: Ask, role: str = "read") -> httpx.Response:
        """The answer that a tenant gets."""
        headers = {"authorization": f"Bearer {key(tenant, role)}", **(ask.headers or {})}
        return self._client.request(ask.method, ask.url, json=ask.body, data=ask.form, headers=headers)

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()


def told(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, type and text of an answer, without what differs between any two."""
    text = answer.text
    for volatile, plain in VOLATILE.items():
        text = re.sub(volatile, plain, text)
    return answer.status_code, answer.headers.get("content-type", ""), text


def job_done(tenant: str) -> Job:
    """A job's record that names what a tenant has uploaded."""
    counts = dict.fromkeys(("new", "updated", "renamed", "unchanged", "removed", "failed", "chunks"), 0)
    failure = {"uri": f"upload:///{ANIMALS[tenant]}.md", "reason": f"no {ANIMALS[tenant]}"}
    outcome = {"summary": "", **counts, "splits": {"kept": 0, "dropped": 0}, "skipped": {}, "failures": [failure]}
    moment = "2026-01-01T00:00:00+00:00"
    names = (f"{ANIMALS[tenant]}.md",)
    return Job(job_id(tenant), "ingest", moment, "done", names, started=moment, finished=moment, outcome=outcome)


def populate(folder: Path, tenant: str, embedder: Embedder) -> None:
    """A tenant's index with documents, a job and a report."""
    with open_index(Settings(index=str(folder), offline=True), create=True, embedder=embedder) as index:
        fill(index, documents(tenant))
    spool = Spool(folder / "jobs")
    with spool.receiving() as received:
        spool.add(job_done(tenant), received)
    report = folder / "report" / "one"
    report.mkdir(parents=True)
    about = {"made": "2026-01-01T00:00:00+00:00", "generation": 1, "signature": ANIMALS[tenant]}
    (report / "about.json").write_text(json.dumps(about))
    (folder / "report" / "CURRENT").write_text("one")
    quiet, settings = Console(quiet=True), Settings(index="index", offline=True)
    with open_index(Settings(index=str(folder), offline=True), embedder=embedder) as index:
        diagnosis = diagnose_index(index, settings, quiet)
        made = write_report(index, settings, quiet, report / "report.html", diagnosis)
    write_parts(made, diagnosis, report)
    (report / "report.json").write_text(json.dumps(made))


def keys() -> list[dict[str, str]]:
    """A key of every role for every tenant."""
    return [
        {"name": key(tenant, role), "digest": digest_of(key(tenant, role)), "tenant": tenant, "role": role}
        for tenant in ANIMALS
        for role in ROLES
    ]


@pytest.fixture(scope="module")
def world_of(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Callable[..., World]]:
    """Gives the server on which these tenants have documents."""
    root = tmp_path_factory.mktemp("leaks")
    for tenant in ANIMALS:
        populate(root / "of" / (tenant or "main"), tenant, embedder)
    open_index(Settings(index=str(root / "of" / "none"), offline=True), create=True, embedder=embedder).close()
    made: dict[tuple[str, ...], World] = {}
    with ExitStack() as stack:

        def make(*populated: str) -> World:
            if populated not in made:
                folder = root / "-".join(["world", *populated])
                shutil.copytree(root / "of" / ("main" if "" in populated else "none"), folder)
                for tenant in filter(None, populated):
                    shutil.copytree(root / "of" / tenant, folder / "tenants" / tenant)
                (folder / "keys.json").write_text(json.dumps(keys()))
                upstream = stack.enter_context(running_upstream())
                settings = Settings(index=str(folder), offline=True, chat_url=upstream.url, chat_model=MODEL)
                index = stack.enter_context(open_index(settings, embedder=embedder))
                app = create_app(index, settings)
                world = World(app, stack.enter_context(serving(app)), upstream)
                stack.callback(world.close)
                made[populated] = world
            return made[populated]

        yield make


@pytest.fixture(scope="module")
def full(world_of: Callable[..., World]) -> World:
    """The server on which every tenant has documents."""
    return world_of(*ANIMALS)


def routes(router: APIRouter) -> set[str]:
    """Every method and path of a router, with those that it includes."""
    found: set[str] = set()
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        found |= routes(inner) if inner else {f"{method} {route.path}" for method in route.methods - {"HEAD"}}
    return found


def test_every_address_has_its_requests(full: World) -> None:
    described = full.app.openapi()["paths"]
    known = {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}
    known |= routes(pages.router) | routes(mcp.router)
    assert not known - set(READING) - set(PAGES) - WRITING - OF_THE_SERVER


@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_answers_are_those_of_a_server_without_the_others(
    world_of: Callable[..., World], full: World, own: str, other: str
) -> None:
    alone = world_of(own)
    n_seen = 0
    for address, asked in (READING | PAGES).items():
        for ask in asked(own, other):
            with_others, without = told(full.ask(own, ask)), told(alone.ask(own, ask))
            assert with_others == without, (address, ask)
            assert with_others[0] < 500, (address, ask)
            foreign = set(ANIMALS.values()) - {ANIMALS[own]}
            sent = f"{ask.url} {json.dumps(ask.body)} {ask.form}"
            shown = [animal for animal in foreign if animal in with_others[2] and animal not in sent]
            assert not shown, (address, ask)
            n_seen += ANIMALS[own] in with_others[2]
    assert n_seen > 20  # its own documents are there


@pytest.mark.parametrize(("own", "other"), ROUND)
def test_a_prompt_holds_nothing_of_another(full: World, own: str, other: str) -> None:
    full.upstream.reset()
    full.ask(own, chat("what is fed with hay, and where is the coffee?"))
    prompts = json.dumps(full.upstream.requests)
    assert ANIMALS[own] in prompts
    assert ANIMALS[other] not in prompts


@pytest.mark.parametrize(("own", "other"), ROUND[:2])
def test_writing_reaches_nothing_of_another(full: World, own: str, other: str) -> None:
    before = [told(full.ask(other, ask)) for ask in READING["GET /v1/documents"](other, own)]
    theirs = f"/v1/documents/{ANIMALS[other]}-1"
    gone = full.ask(own, Ask("DELETE", theirs), "write")
    unknown = full.ask(own, Ask("DELETE", f"/v1/documents/{'x' * len(ANIMALS[other])}-1"), "write")
    assert gone.status_code == unknown.status_code == 404
    assert gone.text.replace(ANIMALS[other], "x" * len(ANIMALS[other])) == unknown.text
    for role, status in (("read", 403), ("write", 202)):
        answer = full.ask(own, Ask("POST", "/v1/documents", {"id": f"{ANIMALS[other]}-1", "text": "Mine."}), role)
        assert answer.status_code == status, answer.text
    is_done = False
    while not is_done:
        is_done = full.ask(own, Ask("GET", answer.headers["location"])).json()["state"] == "done"
        time.sleep(0.05)
    assert full.ask(other, Ask("GET", answer.headers["location"])).status_code == 404
    assert full.ask(own, Ask("GET", theirs)).json()["text"] == "Mine."
    assert full.ask(own, Ask("DELETE", theirs), "write").status_code == 200
    assert [told(full.ask(other, ask)) for ask in READING["GET /v1/documents"](other, own)] == before


@pytest.mark.parametrize("tenant", ANIMALS)
def test_a_report_is_made_of_the_caller_s_documents(full: World, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that makes it is given this much and no more."""
    given: list[str] = []

    class Recorded:
        def __init__(self, settings: Settings, told: Callable):
            given.append(settings.index)

        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None:
            """Ends nothing."""

        def send(self, index: Any) -> None:
            given.extend(record.id for record in index.store.records() if record.generation)

        def finish(self, check: Callable) -> None:
            """Is done."""

    monkeypatch.setattr("api.jobs.report.ReportProcess", Recorded)
    answer = full.ask(tenant, Ask("POST", "/v1/report"), "write")
    assert answer.status_code == 202
    while full.ask(tenant, Ask("GET", answer.headers["location"])).json()["state"] != "done":
        time.sleep(0.02)
    assert Path(given[0]).name == (tenant or given[0].rpartition("/")[2])
    assert sorted(given[1:]) == sorted(document.id for document in documents(tenant))


def test_metrics_name_no_tenant_and_no_document(full: World) -> None:
    for tenant, animal in ANIMALS.items():
        full.ask(tenant, Ask("GET", f"/v1/documents/{animal}-1"))
        full.ask(tenant, Ask("GET", f"/nowhere/{animal}"))
    answer = full.ask("", Ask("GET", "/metrics"), "admin")
    assert answer.status_code == 200
    assert "/v1/documents/{document_id}" in answer.text
    for name in (*ANIMALS.values(), "acme", "beta", "secret-"):
        assert name not in answer.text
    for tenant in ("acme", "beta"):
        assert full.ask(tenant, Ask("GET", "/metrics"), "admin").status_code == 403

"""More requests than can be answered: turned away at once, and answered again when it is over."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from pathlib import Path

import anyio
import httpx
import pytest

from api.app import create_app
from api.serving import access
from api.serving.overload import Overload
from core.index import Index
from core.settings import Settings
from tests.api.command import start
from tests.api.conftest import Client, Write
from tests.api.test_http import assert_problem

N_THREADS, N_WAITING, N_ASKING = 2, 3, 20


def test_what_waits_is_bounded_and_the_rest_is_told_at_once(index: Index, monkeypatch: pytest.MonkeyPatch):
    go_on = threading.Event()
    monkeypatch.setattr("api.app.N_THREADS", N_THREADS)
    encode = type(index.embedder).encode_query

    def slow(self, text: str):
        assert go_on.wait(10)
        return encode(self, text)

    monkeypatch.setattr(type(index.embedder), "encode_query", slow)
    app = create_app(index, Settings(offline=True, max_waiting=N_WAITING))

    async def ask() -> tuple[list[httpx.Response], httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            bodies = [{"query": f"number {number}", "mode": "dense"} for number in range(N_ASKING)]
            asked = [asyncio.create_task(client.post("/v1/search", json=body)) for body in bodies]
            while sum(task.done() for task in asked) < N_ASKING - N_THREADS - N_WAITING:
                await anyio.sleep(0.01)
            alive = await client.get("/healthz")
            go_on.set()
            answers = [await task for task in asked]
            return answers, alive, await client.post("/v1/search", json=bodies[0])

    answers, alive, afterwards = asyncio.run(ask())
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * (N_THREADS + N_WAITING) + [503] * (N_ASKING - N_THREADS - N_WAITING)
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert "5 requests are open" in assert_problem(refused, 503)["detail"]
    assert refused.headers["retry-after"] == "1"
    assert alive.status_code == 200
    assert afterwards.status_code == 200


@pytest.mark.parametrize("url", ["/healthz", "/readyz", "/openapi.json", "/static/style.css"])
def test_what_is_never_turned_away(client: Client, monkeypatch: pytest.MonkeyPatch, url: str):
    full = Client(Overload(client.app, 0))
    assert full.get(url).status_code == 200
    assert_problem(full.get("/v1/documents"), 503)


def test_what_stays_open_keeps_nobody_else_out(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("api.serving.overload.MAX_LONG", 0)
    full = Client(Overload(client.app, 1))
    assert_problem(full.request("POST", "/v1/documents", json={"text": "a"}), 503)
    assert_problem(full.get("/v1/jobs/nothing/events"), 503)
    assert_problem(full.request("POST", "/documents"), 503)
    assert_problem(full.request("POST", "/ask"), 503)
    assert full.get("/v1/jobs").status_code == 200


def test_a_body_that_doesn_t_end(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access, "BODY_S", 0.05)

    async def stalled():
        yield b'{"query": '
        await asyncio.sleep(5)

    assert_problem(client.request("POST", "/v1/search", content=stalled()), 408)


def test_a_server_that_is_stopped_finishes_its_requests_and_goes_on_with_its_jobs(tmp_path: Path, write: Write):
    """The real process: an upload is stopped in the middle, its stream of events ends, and the next start ends it."""
    from core.index import open_index

    settings = Settings(index=str(tmp_path / ".limpid"), offline=True)
    with open_index(settings, create=True, notify=lambda line: None):
        pass
    text = "Number {} is about gannets that dive from a great height into the sea. "
    many = [{"id": f"n{n}", "text": text.format(n) * 60} for n in range(80)]
    server = start(tmp_path, "serve", "--port", "0", "--json", "--quiet")
    heard: list[str] = []
    try:
        url = json.loads(server.stdout.readline())["url"]
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            _wait_for((tmp_path / ".limpid" / "served.json").exists)
            job_id = client.post("/v1/documents", json=many).json()["id"]
            events = f"{url}/v1/jobs/{job_id}/events"
            listening = threading.Thread(
                target=lambda: heard.append(httpx.get(events, timeout=60, trust_env=False).text)
            )
            listening.start()
            _wait_for(lambda: (client.get(f"/v1/jobs/{job_id}").json()["progress"] or {}).get("total_bytes"))
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0
    listening.join(10)
    assert heard[0].startswith("event: ")
    assert "event: done" not in heard[0]

    again = start(tmp_path, "serve", "--port", "0", "--json", "--quiet")
    try:
        url = json.loads(again.stdout.readline())["url"]
        _wait_for((tmp_path / ".limpid" / "served.json").exists)
        with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
            last = client.get(f"/v1/jobs/{job_id}/events").text.strip().rpartition("event: ")[2]
            assert last.startswith("done\n")
            assert json.loads(last.partition("data: ")[2])["outcome"]["failed"] == 0
            assert client.get("/v1/status").json()["documents"] == 80
    finally:
        again.send_signal(signal.SIGINT)
        again.communicate(timeout=60)


def _wait_for(is_so) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)

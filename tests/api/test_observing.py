"""What is seen from outside: counters, times, log lines, request ids and traces, and what isn't in them."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.serving.logs import JsonLines, TextLines, install, request_id
from api.serving.tracing import Tracer
from core.errors import DependencyError
from core.index import Index
from core.settings import Settings
from search.stages import STAGES
from tests.api.conftest import Client
from tests.api.test_http import assert_problem

QUERY = "why does green tea turn bitter"


@pytest.fixture
def app(index: Index) -> FastAPI:
    """An application whose counters are at zero."""
    return create_app(index, Settings(offline=True))


@pytest.fixture
def client(app: FastAPI) -> Client:
    """A client of it."""
    return Client(app)


def counted(client: Client) -> dict[tuple[str, ...], float]:
    """What /metrics says: name and label values → value."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


class TestMetrics:
    def test_requests_count_under_their_route(self, client: Client):
        client.search(query=QUERY)
        client.search(query="")
        client.get("/v1/documents/bicycle")
        client.get("/v1/documents/bicycle%20thief")
        client.get("/nowhere/bicycle")
        client.request("BREW", "/v1/search")
        client.get("/?q=bicycle")
        client.get("/static/style.css")
        found = counted(client)
        for key in (
            ("POST", "/v1/search", "200"),
            ("POST", "/v1/search", "422"),
            ("GET", "/v1/documents/{document_id}", "200"),
            ("GET", "/v1/documents/{document_id}", "404"),
            ("GET", "none", "404"),
            ("other", "/v1/search", "405"),
            ("GET", "/", "200"),
            ("GET", "/static/{path}", "200"),
        ):
            assert found["limpid_requests_total", *key] == 1, key
        assert found["limpid_request_seconds_count", "/v1/search"] == 3
        assert found["limpid_requests_in_flight",] == 1  # this one
        assert "bicycle" not in client.get("/metrics").text

    def test_stages_of_a_search_and_the_cache(self, client: Client):
        for _ in range(2):
            client.search(query="a question that no other test has asked")
        found = counted(client)
        n = {stage: found["limpid_stage_seconds_count", stage] for stage in STAGES}
        assert n == {"encode": 1, "legs": 2, "fusion": 2, "signals": 2, "payload": 2, "rerank": 0}
        assert found["limpid_stage_seconds_sum", "legs"] > 0
        assert (found["limpid_query_vectors_total", "hit"], found["limpid_query_vectors_total", "miss"]) == (1, 1)

    def test_indexes_jobs_and_the_process(self, app: FastAPI, client: Client):
        app.state.metrics.ingested("new", 3)
        found = counted(client)
        assert found["limpid_open_indexes",] == 1
        assert found["limpid_jobs_waiting",] == 0
        assert found["limpid_requests_waiting",] == 0
        assert found["limpid_ingested_documents_total", "new"] == 3
        assert found["limpid_ingested_documents_total", "failed"] == 0
        assert found["process_resident_memory_bytes",] > 1e6

    def test_failures_and_refusals_count(self, index: Index, monkeypatch: pytest.MonkeyPatch):
        locked = Client(create_app(index, Settings(offline=True, api_keys="one")))
        locked.get("/v1/status")

        def fail(*_: object) -> None:
            raise RuntimeError

        monkeypatch.setattr(index.store, "records", fail)
        headers = {"authorization": "Bearer one"}
        locked.get("/v1/status", headers=headers)
        text = locked.get("/metrics", headers=headers).text
        assert 'limpid_requests_total{method="GET",route="none",status="401"} 1.0' in text
        assert 'limpid_requests_total{method="GET",route="/v1/status",status="500"} 1.0' in text


class TestRequestIds:
    def test_a_sane_one_is_taken_any_other_replaced(self, client: Client):
        assert client.get("/healthz", headers={"x-request-id": "abc-1.2_3"}).headers["x-request-id"] == "abc-1.2_3"
        made = set()
        for given in ("", "a b", "x" * 65, "<script>", "-", "é".encode()):
            made.add(client.get("/healthz", headers={"x-request-id": given}).headers["x-request-id"])
        assert len(made) == 6
        assert all(len(one) == 32 and one.isalnum() for one in made)

    def test_refusals_and_failures_have_one(self, client: Client, index: Index, monkeypatch: pytest.MonkeyPatch):
        def fail(*_: object) -> None:
            raise RuntimeError

        assert client.get("/", headers={"host": "evil.test", "x-request-id": "me"}).headers["x-request-id"] == "me"
        monkeypatch.setattr(index.store, "records", fail)
        answer = client.get("/v1/status", headers={"x-request-id": "me"})
        assert_problem(answer, 500)
        assert answer.headers["x-request-id"] == "me"
        assert answer.headers["connection"] == "close"  # as the server does


class TestLog:
    @pytest.fixture
    def lines(self) -> Iterator[Callable[[], list[dict]]]:
        """What has been logged as JSON, in the threads of requests too."""
        written: list[str] = []

        class Kept(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                written.append(self.format(record))

        handler = Kept()
        handler.setFormatter(JsonLines())
        logger = logging.getLogger("limpid")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        yield lambda: [json.loads(line) for line in written]
        logger.removeHandler(handler)
        logger.setLevel(level)

    def test_a_line_for_each_request_without_what_was_asked(self, client: Client, lines: Callable):
        client.request("POST", "/v1/search", json={"query": QUERY}, headers={"x-request-id": "one"})
        client.get("/?q=secret-question")
        client.get("/v1/documents/bicycle")
        client.get("/healthz")
        first, *others = lines()
        assert first.pop("duration_ms") > 0
        assert first.pop("time").endswith("+00:00")
        assert first.pop("message").startswith("POST /v1/search 200 in ")
        assert first == {"level": "info", "logger": "limpid.access", "request_id": "one", "method": "POST",
                         "route": "/v1/search", "status": 200, "key": "anyone"}  # fmt: skip
        assert [line["route"] for line in others] == ["/", "/v1/documents/{document_id}"]
        logged = json.dumps(lines())
        for private in (QUERY, "secret-question", "bicycle", "Green tea"):
            assert private not in logged

    def test_the_line_of_a_failure_has_the_request_s_id(
        self, client: Client, index: Index, lines: Callable, monkeypatch: pytest.MonkeyPatch
    ):
        def fail(*_: object) -> None:
            raise DependencyError("/secret is gone")

        monkeypatch.setattr(index.store, "candidates", fail)
        answer = client.request("POST", "/v1/search", json={"query": "tea"}, headers={"x-request-id": "two"})
        told = [line for line in lines() if line["logger"] == "limpid.http"]
        assert answer.json()["instance"] in told[0]["message"]
        assert {line["request_id"] for line in lines()} == {"two"}

    def test_no_line_can_be_forged(self):
        record = logging.makeLogRecord(
            {"msg": "one\n2026 INFO limpid: forged\r", "levelname": "INFO", "name": "limpid"}
        )
        assert len(TextLines().format(record).splitlines()) == 1
        assert len(JsonLines().format(record).splitlines()) == 1

    @pytest.mark.parametrize(("log_format", "starts"), [("json", "{"), ("text", "20")])
    def test_the_setting(self, log_format: str, starts: str, capsys: pytest.CaptureFixture[str]):
        root, limpid = logging.getLogger(), logging.getLogger("limpid")
        handlers, levels = root.handlers[:], (root.level, limpid.level)
        try:
            install(log_format)
            logging.getLogger("limpid.x").info("told")
            logging.getLogger("elsewhere").info("not told")
            install(log_format, quiet=True)
            logging.getLogger("limpid.x").info("not told")
        finally:
            root.handlers[:] = handlers
            root.setLevel(levels[0])
            limpid.setLevel(levels[1])
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(starts)

    def test_an_exception_is_one_line_of_json(self):
        token = request_id.set("three")
        try:
            raise ValueError("no")
        except ValueError:
            record = logging.LogRecord("limpid", logging.ERROR, "", 0, "failed: %s", ("x",), sys.exc_info())
        line = json.loads(JsonLines().format(record))
        request_id.reset(token)
        assert (line["message"], line["request_id"]) == ("failed: x", "three")
        assert line["exception"].splitlines()[-1] == "ValueError"
        assert 'File "' in line["exception"]

    @pytest.mark.parametrize("lines", [TextLines, JsonLines])
    def test_messages_of_exceptions_stay_out_unless_they_are_asked_for(
        self, lines: type[logging.Formatter], monkeypatch: pytest.MonkeyPatch
    ):
        try:
            try:
                {}[QUERY]
            except KeyError:
                int(QUERY)
        except ValueError:
            record = logging.LogRecord("limpid", logging.ERROR, "", 0, "failed", (), sys.exc_info())
        written = lines().format(record)
        assert written.index("KeyError") < written.index("ValueError")
        assert "int(QUERY)" in written
        assert QUERY not in written
        record.exc_text = None
        monkeypatch.setenv("LIMPID_DEBUG", "1")
        assert QUERY in lines().format(record)


class TestTraces:
    def test_a_span_for_the_request_and_for_every_stage(self, index: Index, monkeypatch: pytest.MonkeyPatch):
        trace = pytest.importorskip("opentelemetry.sdk.trace")
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        exporter = InMemorySpanExporter()
        provider = trace.TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
        client = Client(create_app(index, Settings(offline=True)))
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        client.request(
            "POST", "/v1/search", json={"query": "what squeaks"}, headers={"traceparent": parent, "x-request-id": "me"}
        )
        spans = {span.name: span for span in exporter.get_finished_spans()}
        request = spans.pop("POST /v1/search")
        assert set(spans) == {"encode", "legs", "fusion", "signals", "payload"}
        assert f"{request.context.trace_id:032x}" == parent.split("-")[1]
        assert f"{request.parent.span_id:016x}" == parent.split("-")[2]
        assert {span.parent.span_id for span in spans.values()} == {request.context.span_id}
        assert dict(request.attributes) == {
            "http.request.method": "POST",
            "http.route": "/v1/search",
            "http.response.status_code": 200,
            "limpid.request_id": "me",
        }

    def test_nothing_without_opentelemetry(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("api.serving.tracing._is_installed", lambda: False)
        tracer = Tracer()
        with tracer.request("GET", {}, "one") as span, tracer.stage("legs"):
            assert span is None
        tracer.finish(span, "GET", "/", 500)


class TestReadiness:
    @pytest.mark.parametrize(("part", "method"), [("embedder", "encode_query"), ("store", "count_chunks")])
    @pytest.mark.parametrize("error", [RuntimeError("/secret"), DependencyError("/secret"), MemoryError()])
    def test_fails_when_either_part_does(
        self, client: Client, index: Index, monkeypatch: pytest.MonkeyPatch, part: str, method: str, error: Exception
    ):
        assert client.get("/readyz").json() == {"status": "ready"}

        def fail(*_: object) -> None:
            raise error

        monkeypatch.setattr(getattr(index, part), method, fail)
        problem = client.get("/readyz")
        assert "secret" not in json.dumps(assert_problem(problem, 503))
        assert "retry-after" in problem.headers
        assert client.get("/healthz").status_code == 200

    def test_a_store_that_hangs_is_not_waited_for(self, client: Client, index: Index, monkeypatch: pytest.MonkeyPatch):
        may_end = threading.Event()
        monkeypatch.setattr("api.routes.health.READY_WITHIN_S", 0.1)
        monkeypatch.setattr(index.store, "count_chunks", lambda: may_end.wait(20))
        threading.Timer(1.0, may_end.set).start()
        started = time.monotonic()
        assert_problem(client.get("/readyz"), 503)
        assert time.monotonic() - started < 10

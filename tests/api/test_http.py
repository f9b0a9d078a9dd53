"""The HTTP API, in process, over a real index."""

from __future__ import annotations

import base64
import html
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from pydantic import BaseModel

from api import schemas
from api.serving.access import HEADERS, MAX_BODY_BYTES
from core.errors import ConfigError, DependencyError, IndexLocked, IndexMismatch, StorageFull
from core.index import Index
from search.results import results_json
from search.retriever import Retriever
from tests.api.conftest import DOCUMENTS, HOSTILE, Client

KEYS = "first-key, zweiter-schlüssel"


def assert_answers(response: httpx.Response, model: type[BaseModel]) -> dict:
    """The answer as JSON, after checking that the described schema covers all of it."""
    assert response.status_code == 200, response.text
    assert model.model_validate(response.json()).model_dump(mode="json", exclude_unset=True) == response.json()
    return response.json()


def assert_problem(response: httpx.Response, status: int) -> dict:
    """The problem document, after checking its form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = schemas.Problem.model_validate(response.json())
    assert problem.status == status
    assert problem.detail
    return response.json()


class TestSearch:
    @pytest.mark.parametrize("mode", ["hybrid", "dense", "sparse"])
    @pytest.mark.parametrize("explain", [False, True])
    def test_is_the_library_s_answer(self, client: Client, index: Index, mode: str, explain: bool):
        query = "how long should black tea steep"
        answer = assert_answers(client.search(query=query, k=4, mode=mode, explain=explain), schemas.SearchAnswer)
        expected = results_json(Retriever(index).search(query, 4, mode, explain=explain), explain=explain)
        assert answer.pop("took_ms") > 0
        del expected["took_ms"]
        assert answer == expected
        assert answer["hits"][0]["document_id"] == "https://example.org/tea"

    def test_metadata_keep_their_types(self, client: Client):
        hit = client.search(query="green tea", mode="sparse").json()["hits"][0]
        assert hit["metadata"] == DOCUMENTS[0].metadata
        assert isinstance(hit["metadata"]["rated"], float)
        assert hit["metadata"]["draft"] is False

    def test_filter(self, client: Client):
        answer = client.search(query="tea", filter="year < 2018").json()
        assert {hit["document_id"] for hit in answer["hits"]} == {"file:///library/glaciers.pdf"}

    def test_a_filter_may_nest(self, client: Client):
        answer = client.search(query="tea", filter="(not " * 16 + "year < 2018" + ")" * 16).json()
        assert {hit["document_id"] for hit in answer["hits"]} == {"file:///library/glaciers.pdf"}

    def test_a_query_that_the_encoder_cuts_says_so(self, client: Client):
        answer = assert_answers(client.search(query="tea " * 2000), schemas.SearchAnswer)
        assert "encoder read the first 256" in answer["notes"][0]

    def test_hostile_text_is_returned_as_it_is(self, client: Client):
        hit = client.search(query=f"volcanoes {HOSTILE}").json()["hits"][0]
        assert hit["title"] == f"Title {HOSTILE}"
        assert hit["metadata"]["note"] == HOSTILE

    @pytest.mark.parametrize(
        ("body", "field", "told"),
        [
            ({}, "query", "required"),
            ({"query": ""}, "query", "at least 1 character"),
            ({"query": "x" * 10_001}, "query", "at most 10000"),
            ({"query": 5}, "query", "string"),
            ({"query": "tea", "k": 0}, "k", "greater than or equal to 1"),
            ({"query": "tea", "k": 1001}, "k", "less than or equal to 1000"),
            ({"query": "tea", "k": "5"}, "k", "integer"),
            ({"query": "tea", "offset": 9001}, "offset", "less than or equal to 9000"),
            ({"query": "tea", "diversity": 1.5}, "diversity", "less than or equal to 1"),
            ({"query": "tea", "group": "chunk"}, "group", "'document'"),
            ({"query": "tea", "mode": "psychic"}, "mode", "'hybrid', 'dense' or 'sparse'"),
            ({"query": "tea", "fusion": "cold"}, "fusion", "'convex'"),
            ({"query": "tea", "qery": 1}, "qery", "not permitted"),
            ({"query": "tea", "filter": "x" * 2001}, "filter", "at most 2000"),
            ({"query": "\ud800"}, "query", "unicode"),
        ],
    )
    def test_a_wrong_field_is_named_with_its_limit(self, client: Client, body: dict, field: str, told: str):
        content = json.dumps(body)
        headers = {"content-type": "application/json"}
        problem = assert_problem(client.request("POST", "/v1/search", content=content, headers=headers), 422)
        assert problem["errors"][0]["field"] == field
        assert told in problem["errors"][0]["message"]
        assert field in problem["detail"]
        assert "/openapi.json" in problem["detail"]

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({"query": " \t\n"}, "The query is empty; give at least one word."),
            ({"query": "tea", "filter": "yeer = 2020"}, "Did you mean 'year'?"),
            ({"query": "tea", "filter": "year >"}, "the filter ends"),
            ({"query": "tea", "filter": "not " * 400 + "year = 1"}, "more than 32 nested"),
            ({"query": "tea", "filter": "(" * 1999}, "more than 32 nested"),
            ({"query": "tea", "per_document": 2}, "ask for group 'document' too"),
            ({"query": "tea", "passage": "section", "neighbours": 1}, "neighbours widen chunks"),
            ({"query": "tea", "rerank": True}, "There is no reranker"),
            ({"query": "tea", "k": 1000, "offset": 9000, "diversity": 0.5, "passage": "sentences"}, "another passage"),
        ],
    )
    def test_unusable_input_says_what_to_do(self, client: Client, body: dict, told: str):
        assert told in assert_problem(client.search(**body), 422)["detail"]

    @pytest.mark.parametrize(
        ("content", "content_type", "status"),
        [
            (b"{", "application/json", 422),
            (b"", "application/json", 422),
            (b"[1]", "application/json", 422),
            (b'{"query": "tea"}', "text/plain", 422),
            (b'{"query": "\xff"}', "application/json", 400),
            (b"[" * 50_000, "application/json", 400),
        ],
    )
    def test_a_body_that_is_no_json_object(self, client: Client, content: bytes, content_type: str, status: int):
        response = client.request("POST", "/v1/search", content=content, headers={"content-type": content_type})
        assert "JSON" in assert_problem(response, status)["detail"]

    def test_body_size(self, client: Client):
        padding = MAX_BODY_BYTES - len('{"query": ""}')
        fits = '{"query": "' + "x" * padding + '"}'
        headers = {"content-type": "application/json"}
        assert_problem(client.request("POST", "/v1/search", content=fits, headers=headers), 422)
        told = assert_problem(client.request("POST", "/v1/search", content=fits + " ", headers=headers), 413)["detail"]
        assert f"{MAX_BODY_BYTES:,}" in told

        async def undeclared():
            for _ in range(100):
                yield b" " * 1024

        assert_problem(client.request("POST", "/v1/search", content=undeclared(), headers=headers), 413)


class TestDocuments:
    def test_pages_are_complete_and_in_order(self, client: Client):
        found, after = [], {}
        while True:
            answer = assert_answers(client.get("/v1/documents", params={"limit": 4, **after}), schemas.DocumentsAnswer)
            assert answer["total"] == len(DOCUMENTS)
            found += [document["id"] for document in answer["documents"]]
            if answer["next"] is None:
                break
            after = {"after": answer["next"]}
        assert found == sorted(document.id for document in DOCUMENTS)

    @pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: ascii(document.id))
    def test_any_id_can_be_asked_for(self, client: Client, document):
        address = quote(document.id, safe="").replace(".", "%2E")  # clients resolve a bare ".." themselves
        answer = assert_answers(client.get(f"/v1/documents/{address}"), schemas.DocumentText)
        assert answer["id"] == document.id
        assert answer["uri"] == document.uri
        assert answer["text"] == document.text
        assert answer["metadata"] == document.metadata
        assert answer["n_chunks"] == document.text.count("\n\n") + 1

    @pytest.mark.parametrize("document_id", ["nothing", "line", "newline at the end", "", "unfinished"])
    def test_unknown_ids(self, client: Client, document_id: str):
        problem = assert_problem(client.get(f"/v1/documents/{quote(document_id, safe='')}"), 404)
        assert problem["title"] == "Not found"
        assert repr(document_id) in problem["detail"]

    @pytest.mark.parametrize("limit", ["0", "1001", "many"])
    def test_limit(self, client: Client, limit: str):
        problem = assert_problem(client.get("/v1/documents", params={"limit": limit}), 422)
        assert problem["errors"][0]["field"] == "limit"


class TestFailures:
    def test_unknown_routes_and_methods(self, client: Client):
        assert_problem(client.get("/v2/search"), 404)
        assert_problem(client.get("/docs"), 404)
        assert_problem(client.get("/static/nothing.css"), 404)
        assert_problem(client.get("/static/..%2fsearch.html.j2"), 404)
        response = client.get("/v1/search")
        assert "GET" in assert_problem(response, 405)["detail"]
        assert response.headers["allow"] == "POST"

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (DependencyError("/secret/model is gone, key hunter2"), 503),
            (IndexLocked("/secret is open, key hunter2"), 423),
            (IndexMismatch("/secret was made with hunter2"), 409),
            (StorageFull("/secret is full, key hunter2"), 507),
            (ConfigError("/secret hunter2"), 500),
            (RuntimeError("/secret hunter2"), 500),
        ],
    )
    @pytest.mark.parametrize("url", ["/v1/search", "/?q=tea"])
    def test_no_internals_leave_the_server(
        self, client: Client, index: Index, monkeypatch, caplog, error: Exception, status: int, url: str
    ):
        def fail(*arguments):
            raise error

        monkeypatch.setattr(index.store, "candidates", fail)
        with caplog.at_level(logging.ERROR, "limpid.http"):
            response = client.get(url) if "?" in url else client.search(query="tea")
        assert response.status_code == status
        assert "secret" not in response.text
        assert "hunter2" not in response.text
        assert "Traceback" not in response.text
        # The message of what nobody has foreseen may quote a document or a query.
        assert ("RuntimeError" if isinstance(error, RuntimeError) else "/secret") in caplog.text
        assert response.headers["x-content-type-options"] == "nosniff"
        if url == "/v1/search":
            assert assert_problem(response, status)["instance"] in caplog.text
            assert ("retry-after" in response.headers) == (status == 503)

    def test_every_answer_carries_the_security_headers(self, client: Client):
        for response in (client.get("/"), client.get("/nothing"), client.search(query=""), client.get("/healthz")):
            wanted = HEADERS | {"Cache-Control": response.headers["Cache-Control"]}  # pages and problems: never kept
            assert {name: response.headers[name] for name in wanted} == wanted


class TestHealth:
    def test_alive_and_ready(self, client: Client):
        assert assert_answers(client.get("/healthz"), schemas.Status) == {"status": "ok"}
        assert assert_answers(client.get("/readyz"), schemas.Status) == {"status": "ready"}

    @pytest.mark.parametrize(("part", "method"), [("embedder", "encode_query"), ("store", "count_chunks")])
    def test_not_ready(self, client: Client, index: Index, monkeypatch, part: str, method: str):
        def fail(*arguments):
            raise RuntimeError("/secret")

        monkeypatch.setattr(getattr(index, part), method, fail)
        assert client.get("/healthz").status_code == 200
        assert "secret" not in json.dumps(assert_problem(client.get("/readyz"), 503))


class TestKeys:
    @pytest.fixture
    def locked(self, client_of: Callable[..., Client]) -> Client:
        return client_of(api_keys=KEYS)

    @pytest.mark.parametrize("key", ["first-key", "zweiter-schlüssel"])
    def test_each_key_opens(self, locked: Client, key: str):
        headers = {"authorization": b"Bearer " + key.encode()}
        assert locked.get("/v1/documents", headers=headers).status_code == 200
        assert locked.get("/", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "authorization",
        [None, "", "Bearer", "Bearer ", "Bearer nope", "Bearer first-key,", "Bearer first", f"Bearer {KEYS}".encode(),
         "first-key", "Basic !", "Basic " + base64.b64encode(b"x:first-key").decode(), "Bearer , "],
    )  # fmt: skip
    def test_nothing_else_does(self, locked: Client, authorization: str | bytes | None):
        headers = {"authorization": authorization} if authorization is not None else {}
        for method, url in (("GET", "/v1/documents"), ("POST", "/v1/search"), ("GET", "/v1/none"), ("GET", "/other")):
            response = locked.request(method, url, headers=headers, content=b"{")
            assert_problem(response, 401)
            assert response.headers["www-authenticate"] == 'Bearer realm="Limpid"'

    def test_a_browser_gives_the_key_as_password(self, locked: Client):
        refused = locked.get("/?q=tea")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic ")
        assert "A key is needed" in refused.text
        assert "Brewing" not in refused.text
        assert locked.get("/?q=tea", auth=("anyone", "first-key")).status_code == 200
        assert locked.get("/?q=tea", auth=("anyone", "zweiter-schlüssel")).status_code == 200
        assert locked.get("/?q=tea", auth=("first-key", "")).status_code == 401

    def test_health_and_description_stay_open(self, locked: Client):
        for url in ("/healthz", "/readyz", "/openapi.json", "/static/style.css"):
            assert locked.get(url).status_code == 200
        described = locked.get("/openapi.json").json()
        assert described["security"] == [{"key": []}]
        assert described["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        assert [path for path, of in described["paths"].items() if of.get("get", {}).get("security") == []] == [
            "/healthz", "/readyz",
        ]  # fmt: skip
        assert "401" in described["paths"]["/v1/search"]["post"]["responses"]

    def test_what_a_key_may_read_is_kept_for_nobody_else(self, locked: Client):
        for url, kept in (("/v1/documents", "private, no-cache"), ("/", "no-store"), ("/static/style.css", None)):
            headers = locked.get(url, headers={"authorization": "Bearer first-key"}).headers
            assert (headers["cache-control"], headers["vary"]) == (kept or "private, no-cache", "Authorization")

    def test_a_setting_without_a_key_is_refused(self, client_of: Callable[..., Client]):
        with pytest.raises(ConfigError, match="holds no key"):
            client_of(api_keys=" , ")
        assert client_of(api_keys="").get("/v1/documents").status_code == 200


class TestDescription:
    def test_references_resolve_and_failures_are_problems(self, client: Client):
        described = client.get("/openapi.json").json()
        assert set(described["paths"]) == {
            "/v1/search", "/v1/similar", "/v1/walk", "/v1/context", "/v1/documents", "/v1/documents/{document_id}",
            "/v1/jobs", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/events", "/v1/report", "/v1/status", "/v1/copy",
            "/v1/chat/completions", "/v1/models", "/healthz", "/readyz", "/metrics",
        }  # fmt: skip
        known = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
        assert set(_references(described)) == known
        for path, operations in described["paths"].items():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    if status not in ("200", "202"):
                        assert list(response["content"]) == ["application/problem+json"], (path, status)

    def test_limits_are_described(self, client: Client):
        request = client.get("/openapi.json").json()["components"]["schemas"]["SearchRequest"]
        assert request["required"] == ["query"]
        assert request["additionalProperties"] is False
        assert request["properties"]["k"] | {"title": "", "description": ""} == {
            "type": "integer", "minimum": 1, "maximum": 1000, "default": 10, "title": "", "description": "",
        }  # fmt: skip
        assert request["properties"]["query"]["maxLength"] == 10_000

    def test_only_what_is_always_there_is_required(self, client: Client):
        schema = client.get("/openapi.json").json()["components"]["schemas"]
        assert schema["SearchAnswer"]["required"] == ["query", "mode", "took_ms", "hits", "signals"]
        assert schema["Leg"]["required"] == ["rank", "score"]
        assert "explain" not in schema["HitAnswer"]["required"]


def _references(node: object):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from _references(part)


class TestPage:
    def test_shows_hits_with_reasons(self, client: Client):
        page = client.get("/", params={"q": "how do loops end"})
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "Loops in Python" in page.text
        assert "<mark>loop</mark>" in page.text  # the query's inflection of it is another
        assert '<strong class="best"' in page.text
        assert page.text.count('<li class="dense') == 10
        assert "page 1" in client.get("/", params={"q": "glacier"}).text

    def test_links_only_to_the_web(self, client: Client):
        page = client.get("/", params={"q": "tea"}).text
        assert 'href="https://example.org/tea?cup=1&amp;pot=2"' in page
        assert "ftp:" not in page
        assert "javascript:" not in page
        assert 'href="file' not in page
        assert "file:///library/glaciers.pdf" in page

    @pytest.mark.parametrize("field", ["q", "filter", "mode", "k"])
    def test_hostile_text_stays_text(self, client: Client, field: str):
        page = client.get("/", params={"q": "volcanoes", field: HOSTILE}).text
        assert set(re.findall("<script[^>]*>", page)) == {'<script src="static/search.js" defer>'}
        assert "<img src=x" not in page
        if field == "q":
            assert "&lt;script&gt;" in page

    def test_nothing_asked(self, client: Client):
        page = client.get("/").text
        assert f"<strong>{len(DOCUMENTS)}</strong> documents" in page
        assert "<strong>16</strong> passages" in page

    @pytest.mark.parametrize(
        ("params", "told"),
        [
            ({"filter": "yeer = 1"}, "Did you mean &#39;year&#39;?"),
            ({"mode": "psychic"}, "Unknown mode"),
            ({"filter": "NOT " * 400 + "year = 1"}, "more than 32 nested"),
            ({"k": "0"}, "between 1 and 100"),
            ({"k": "²"}, "between 1 and 100"),
            ({"q": "x" * 10_001}, "the limit is 10,000"),
        ],
    )
    def test_errors_are_told_in_the_page(self, client: Client, params: dict, told: str):
        page = client.get("/", params={"q": "tea", **params})
        assert page.status_code == 422
        assert told in page.text
        assert 'role="search"' in page.text

    def test_nothing_found(self, client: Client):
        page = client.get("/", params={"q": "zyzzyva", "mode": "sparse"})
        assert page.status_code == 200
        assert "Nothing was found" in page.text
        assert "mode=hybrid" in page.text

    def test_more(self, client: Client):
        page = client.get("/", params={"q": "tea & honey"}).text
        address = html.unescape(re.search('<p class="more"><a href="([^"]*)"', page)[1])
        wanted, _, fragment = address.partition("#")
        assert (parse_qs(urlsplit(wanted).query)["q"], fragment) == (["tea & honey"], "hit-11")
        more = client.get(f"/{wanted}").text
        assert more.count('<li class="dense') > page.count('<li class="dense')


SERVE = """
import asyncio, json, sys
import httpx
from api.app import create_app
from core.index import open_index
from core.settings import Settings

async def ask(app):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return [(await client.post("/v1/search", json={"query": "tea"})).json()["hits"][0]["title"],
                (await client.get("/readyz")).status_code, (await client.get("/?q=tea")).status_code]

settings = Settings(index=sys.argv[1], offline=True)
with open_index(settings) as index:
    answers = asyncio.run(ask(create_app(index, settings)))
print(json.dumps([answers, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def test_serving_imports_neither_torch_nor_the_eval_stack(index_folder: Path, tmp_path: Path):
    folder = tmp_path / "index"
    folder.mkdir()
    for path in index_folder.rglob("*"):
        target = folder / path.relative_to(index_folder)
        target.mkdir(parents=True, exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    answers, modules = json.loads(done.stdout.splitlines()[-1])
    assert answers == ["Brewing tea", 200, 200]
    unwanted = {"torch", "transformers", "sentence_transformers", "eval", "ingest", "sklearn", "openTSNE", "scipy"}
    assert unwanted.isdisjoint(modules)

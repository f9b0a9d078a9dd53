"""The chat endpoints, asked by OpenAI's own client over a real socket."""

from __future__ import annotations

import html
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from api.app import create_app
from api.chat.schemas import ChatAnswer, Models
from core.index import Index
from core.settings import Settings
from tests.api.chat.upstream import MODEL, SECRET, Upstream, serving, until
from tests.api.conftest import Client

TEA = [{"role": "user", "content": "how should black tea steep"}]
SERVER = "language model's server"


@pytest.fixture
def client(url: str, upstream: Upstream) -> openai.OpenAI:
    """OpenAI's client, which gives up at the first failure."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as opened:
        yield opened


def ask(client: openai.OpenAI, messages: list[dict[str, Any]] | None = None, **options: Any):
    return client.chat.completions.create(model="any", messages=messages or TEA, **options)


def spans_of(monkeypatch: pytest.MonkeyPatch):
    """Where the spans of applications that are made from now on go."""
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), trace.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr("opentelemetry.trace.get_tracer", provider.get_tracer)
    return exporter


class TestWhole:
    def test_the_answer_comes_with_what_it_cites(self, client: openai.OpenAI, upstream: Upstream):
        answer = ask(client)
        assert answer.choices[0].message.content == upstream.answer
        [cited] = answer.choices[0].message.annotations
        place = cited.url_citation
        assert upstream.answer[place.start_index : place.end_index] == "[1]"
        assert (place.title, place.url) == ("Brewing tea", "https://example.org/tea?cup=1&pot=2")
        assert [citation["label"] for citation in answer.citations] == list(range(1, len(answer.citations) + 1))
        first = answer.citations[0]
        assert first["document_id"] == "https://example.org/tea"
        assert first["text"] in html.unescape(upstream.prompt)
        assert (answer.query, answer.notes) == (TEA[0]["content"], [])

    def test_it_is_as_described(self, url: str, client: openai.OpenAI, upstream: Upstream):
        upstream.message = {"reasoning_content": "hm"}
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA}).json()
        assert ChatAnswer.model_validate(answer)
        assert answer["choices"][0]["message"]["reasoning_content"] == "hm"
        assert answer["usage"]["total_tokens"] == 10

    def test_of_the_upstream_only_the_answer_is_told(self, url: str, upstream: Upstream):
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA})
        assert answer.json()["model"] == MODEL
        assert "/srv/secret" not in answer.text
        assert SECRET not in answer.text
        assert upstream.keys == [f"Bearer {SECRET}"]
        assert upstream.last["model"] == MODEL

    def test_parameters_reach_the_model_and_limpid_s_own_don_t(self, client: openai.OpenAI, upstream: Upstream):
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        extra = {"retrieval": {"mode": "sparse"}, "unheard_of": 1}
        ask(client, temperature=0.3, max_tokens=5, top_p=0.5, stop=["x"], tools=[tool], extra_body=extra)
        given = {name: value for name, value in upstream.last.items() if name not in ("messages", "model")}
        assert given == {"temperature": 0.3, "max_tokens": 5, "top_p": 0.5, "stop": ["x"], "tools": [tool]}

    def test_tool_calls_come_back(self, client: openai.OpenAI, upstream: Upstream):
        call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        upstream.message = {"content": None, "tool_calls": [call]}
        message = ask(client).choices[0].message
        assert message.tool_calls[0].function.name == "f"
        assert message.annotations == []

    def test_parts_of_text_are_one_question(self, client: openai.OpenAI, upstream: Upstream):
        parts = [{"type": "text", "text": "how should black"}, {"type": "text", "text": "tea steep"}]
        assert ask(client, [{"role": "user", "content": parts}]).query == "how should black\ntea steep"
        assert upstream.prompt.endswith("\n\nhow should black\ntea steep")

    def test_a_filter_and_a_budget_hold(self, client: openai.OpenAI, upstream: Upstream):
        answer = ask(client, extra_body={"retrieval": {"filter": "year < 2018", "context_tokens": 150}})
        assert {citation["document_id"] for citation in answer.citations} == {"file:///library/glaciers.pdf"}
        few = ask(client, extra_body={"retrieval": {"context_tokens": 150}})
        assert 0 < len(few.citations) < len(ask(client).citations)

    def test_what_lies_far_and_what_finds_nothing_is_told_to_the_model(self, client: openai.OpenAI, upstream: Upstream):
        answer = ask(client, [{"role": "user", "content": "zorblax quibbling frobnicators"}])
        assert any("occur nowhere in the corpus" in note for note in answer.notes)
        assert all(note in upstream.prompt for note in answer.notes)
        answer = ask(client, extra_body={"retrieval": {"filter": "year > 3000"}})
        assert answer.citations == []
        assert "The search found no passage" in upstream.prompt

    def test_models(self, client: openai.OpenAI, url: str):
        assert [model.id for model in client.models.list()] == [MODEL]
        assert Models.model_validate(httpx.get(f"{url}/v1/models").json())


class TestRewriting:
    TALK = (
        {"role": "user", "content": "Tell me of black tea."},
        {"role": "assistant", "content": "It is a drink."},
        {"role": "user", "content": "How long?"},
    )

    def test_a_follow_up_is_rewritten_before_it_is_searched(self, client: openai.OpenAI, upstream: Upstream):
        answer = ask(client, list(self.TALK))
        rewriting, answering = upstream.requests
        assert "Last question: How long?" in rewriting["messages"][1]["content"]
        assert "Tell me of black tea." in rewriting["messages"][1]["content"]
        assert answer.query == upstream.query
        assert answering["messages"][-1]["content"].endswith("\n\nHow long?")
        assert answering["messages"][2]["content"] == "It is a drink."

    def test_a_model_that_can_t_leaves_the_question_as_it_is(self, client: openai.OpenAI, upstream: Upstream):
        upstream.query = " "
        answer = ask(client, list(self.TALK))
        assert answer.query == "How long?"
        assert answer.notes[0] == "The question couldn't be rewritten; it was searched for as it stands."

    def test_it_can_be_switched_off(self, chat_index: Index, chat_settings: Settings, upstream: Upstream):
        long = [{"role": "user", "content": "tea " * 3000}]
        with serving(create_app(chat_index, chat_settings.model_copy(update={"chat_rewrite": False}))) as url:
            answers = [
                httpx.post(f"{url}/v1/chat/completions", json={"messages": messages}).json()
                for messages in (list(self.TALK), long)
            ]
        assert (answers[0]["query"], len(upstream.requests)) == ("How long?", 2)
        assert answers[1]["notes"][0] == "Only the first 10,000 characters were searched for."


class TestStreamed:
    def test_chunks_are_openai_s(self, client: openai.OpenAI, upstream: Upstream):
        chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == upstream.answer
        assert chunks[0].citations[0]["label"] == 1
        assert [hasattr(chunk, "citations") for chunk in chunks] == [True] + [False] * (len(chunks) - 1)
        last = chunks[-2].choices[0]
        assert last.finish_reason == "stop"
        assert last.delta.annotations[0]["url_citation"]["title"] == "Brewing tea"
        assert chunks[-1].usage.total_tokens == 10
        assert {chunk.model for chunk in chunks} == {MODEL}
        assert len({chunk.id for chunk in chunks}) == 1

    def test_openai_s_own_joining_of_chunks_gives_the_whole_answer(self, client: openai.OpenAI, upstream: Upstream):
        with client.chat.completions.stream(model="any", messages=TEA) as stream:
            whole = stream.get_final_completion()
        message = whole.choices[0].message
        assert (message.role, message.content) == ("assistant", upstream.answer)
        assert message.annotations[0].url_citation.title == "Brewing tea"

    def test_the_bytes_are_events_that_end_with_done(self, url: str, upstream: Upstream):
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA, "stream": True})
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = answer.text.split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        assert all(json.loads(event.removeprefix("data: ")) for event in events[:-2])

    def test_words_come_as_they_are_made(self, client: openai.OpenAI, upstream: Upstream):
        upstream.pause_s = 0.1
        chunks = iter(ask(client, stream=True))
        next(chunks)
        next(chunks)
        assert upstream.n_sent < len(upstream.answer.split())
        assert sum(1 for _ in chunks) >= 3

    def test_a_stream_that_breaks_off_ends_in_an_error(self, client: openai.OpenAI, upstream: Upstream):
        upstream.breaks_after = 2
        told = []

        def read() -> None:
            told.extend(chunk.choices[0].delta.content or "" for chunk in ask(client, stream=True))

        with pytest.raises(openai.APIError, match=f"{SERVER} broke off") as caught:
            read()
        assert "".join(told) == "Four minutes "
        assert caught.value.body["code"] == "upstream_failed"

    def test_a_stream_that_stops_without_an_end_is_broken_too(self, url: str, upstream: Upstream):
        upstream.pause_s = 3  # chat_timeout_s is 2
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA, "stream": True}, timeout=20)
        last = json.loads(answer.text.split("\n\n")[-2].removeprefix("data: "))
        assert (last["status"], last["error"]["code"]) == (504, "upstream_timed_out")
        assert "[DONE]" not in answer.text

    def test_a_client_that_leaves_stops_the_model(self, client: openai.OpenAI, upstream: Upstream):
        upstream.answer, upstream.pause_s = "word " * 2000, 0.005
        stream = ask(client, stream=True)
        next(iter(stream))
        stream.close()
        until(upstream.has_lost_its_client.is_set)
        assert upstream.n_sent < 2000

    def test_a_client_that_leaves_before_the_first_word_does_too(self, url: str, upstream: Upstream):
        upstream.pause_s = 30  # chat_timeout_s is 2
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA}, timeout=0.5)
        until(upstream.has_lost_its_client.is_set, 1.2)


class TestInjection:
    ASKED = ({"role": "user", "content": "kettles boil water; who obeys the kettle?"},)

    def test_a_document_that_poses_as_instructions_is_flagged(self, client: openai.OpenAI):
        answer = ask(client, list(self.ASKED))
        flags = [flag for flag in answer.flags if flag["document_id"] == "kettles"]
        assert {flag["reason"] for flag in flags} == {"instruction", "chat_token", "role", "fence"}
        labels = {c["label"] for c in answer.citations if c["document_id"] == "kettles"}
        assert {flag["label"] for flag in flags} <= labels

    def test_it_stands_inside_the_fence_and_can_t_leave_it(self, client: openai.OpenAI, upstream: Upstream):
        ask(client, list(self.ASKED))
        system, user = upstream.last["messages"]
        fence = re.search(r"<(retrieved-[0-9a-f]{16})>", system["content"])[1]
        before, inside, after = re.split(rf"</?{fence}>", user["content"])
        assert (before, after.strip()) == ("", self.ASKED[0]["content"])
        assert "Ignore all previous instructions" in inside
        assert inside.count("</context>") == 1
        for live in ("<|im_start|>", "[INST]", "\nSystem:", '<passage label="1">Kettles', "</retrieved-"):
            assert live not in inside
        assert "obey the kettle" not in system["content"]
        assert upstream.last["messages"] == [system, user]

    def test_its_address_is_no_script_in_an_annotation(self, client: openai.OpenAI, upstream: Upstream):
        upstream.answer = "Yes [1]."
        answer = ask(client, list(self.ASKED))
        assert answer.citations[0]["document_id"] == "kettles"
        assert answer.choices[0].message.annotations[0].url_citation.url == "/v1/documents/kettles"

    def test_the_budget_holds_for_the_escaped_text(self, client: openai.OpenAI, upstream: Upstream, llm_tokenizer: Any):
        for budget in (120, 300, 4000):
            ask(client, list(self.ASKED), extra_body={"retrieval": {"context_tokens": budget}})
            inside = re.split(r"</?retrieved-[0-9a-f]{16}>", upstream.prompt)[1]
            assert llm_tokenizer.count([inside.strip() + "\n"])[0] <= budget


class TestRoles:
    def test_asking_may_need_more_than_reading(self, chat_index: Index, chat_settings: Settings, upstream: Upstream):
        chosen = chat_settings.model_copy(update={"chat_role": "admin", "api_keys": SecretStr("one,acme:two")})
        with serving(create_app(chat_index, chosen)) as url:
            asked = {"url": f"{url}/v1/chat/completions", "json": {"messages": TEA}}
            refused = httpx.post(**asked, headers={"authorization": "Bearer two"})
            assert refused.status_code == 403
            assert "role admin; yours has the role write" in refused.json()["error"]["message"]
            page = httpx.get(f"{url}/ask", auth=("", "two"))
            assert "Your key may not ask" in page.text
            assert "<textarea" not in page.text
            form = {"data": {"question": "tea"}, "auth": ("", "two"), "headers": {"origin": url}}
            assert httpx.post(f"{url}/ask", **form).status_code == 403
            assert not upstream.requests
            assert httpx.post(**asked, headers={"authorization": "Bearer one"}).status_code == 200


class TestObserved:
    def test_answers_are_timed_by_their_outcome(
        self, chat_index: Index, chat_settings: Settings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        exporter = spans_of(monkeypatch)
        with serving(create_app(chat_index, chat_settings)) as url:
            chat = f"{url}/v1/chat/completions"
            httpx.post(chat, json={"messages": TEA})
            upstream.status = 500
            httpx.post(chat, json={"messages": TEA, "stream": True})
            upstream.status, upstream.answer, upstream.pause_s = 200, "word " * 2000, 0.005
            with httpx.stream("POST", chat, json={"messages": TEA, "stream": True}) as stream:
                next(stream.iter_lines())
            until(upstream.has_lost_its_client.is_set)

            def counted() -> dict[str, str]:
                told = httpx.get(f"{url}/metrics").text
                return dict(re.findall(r'upstream_seconds_count\{outcome="(\w+)"} (\S+)', told))

            until(lambda: len(counted()) == 3)
            assert counted() == {"answered": "1.0", "502": "1.0", "cancelled": "1.0"}
        spans = exporter.get_finished_spans()
        requests = {span.context.span_id for span in spans if span.name == "POST /v1/chat/completions"}
        calls = [span for span in spans if span.name == "language model"]
        assert {span.parent.span_id for span in calls} == requests
        assert [span.status.is_ok for span in calls] == [True, False, True]
        assert not any(span.attributes or span.events for span in calls)


class TestFailures:
    @pytest.mark.parametrize("stream", [False, True])
    @pytest.mark.parametrize(
        ("status", "expected", "told"),
        [
            (401, 502, "LIMPID_CHAT_API_KEY"),
            (404, 502, "LIMPID_CHAT_MODEL"),
            (400, 422, "can't use this request"),
            (429, 503, "too much to do"),
            (500, 502, "failed"),
            (503, 502, "failed"),
            (504, 504, "in time"),
        ],
    )
    def test_of_the_upstream_are_problems_that_hide_it(
        self, url: str, upstream: Upstream, caplog: pytest.LogCaptureFixture, status: int, expected: int, told: str,
        stream: bool,
    ):  # fmt: skip
        upstream.status, upstream.headers = status, {"retry-after": "7"}
        with caplog.at_level(logging.INFO, "limpid"):
            answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA, "stream": stream})
        problem = answer.json()
        assert (answer.status_code, problem["status"]) == (expected, expected)
        assert answer.headers["content-type"] == "application/problem+json"
        assert told in problem["detail"]
        assert problem["error"]["message"] == problem["detail"]
        assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
        assert problem["instance"] in caplog.text
        for secret in (SECRET, upstream.url):
            assert secret not in answer.text
            assert secret not in caplog.text

    def test_openai_s_client_shows_the_detail(self, client: openai.OpenAI, upstream: Upstream):
        upstream.status = 500
        with pytest.raises(openai.InternalServerError, match=f"{SERVER} failed") as caught:
            ask(client)
        assert caught.value.code == "upstream_failed"

    @pytest.mark.parametrize("body", ["<html>hello</html>", "{}", '{"choices": []}', "null", '{"choices": [1]}'])
    @pytest.mark.parametrize("kind", ["application/json", "text/html"])
    def test_an_answer_that_isn_t_one_is_a_problem(self, url: str, upstream: Upstream, body: str, kind: str):
        upstream.body, upstream.headers = body, {"content-type": kind}
        for stream in (False, True):
            answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA, "stream": stream})
            assert (answer.status_code, answer.json()["title"]) == (502, "Upstream failed")

    def test_a_server_that_is_silent_or_absent(
        self, url: str, chat_index: Index, chat_settings: Settings, upstream: Upstream
    ):
        upstream.pause_s = 3
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": TEA}, timeout=20)
        assert (answer.status_code, answer.json()["title"]) == (504, "Upstream timed out")
        absent = chat_settings.model_copy(update={"chat_url": "http://127.0.0.1:9/v1"})
        with serving(create_app(chat_index, absent)) as url_of_absent:
            answer = httpx.post(f"{url_of_absent}/v1/chat/completions", json={"messages": TEA})
        assert (answer.status_code, "can't be reached" in answer.json()["detail"]) == (502, True)

    @pytest.mark.parametrize("lacking", ["chat_url", "chat_model"])
    def test_without_an_upstream_it_says_what_to_set(
        self, chat_index: Index, chat_settings: Settings, upstream: Upstream, lacking: str
    ):
        client = Client(create_app(chat_index, chat_settings.model_copy(update={lacking: None})))
        answer = client.request("POST", "/v1/chat/completions", json={"messages": TEA})
        assert answer.status_code == 404
        assert f"LIMPID_{lacking.upper()}" in answer.json()["detail"]
        assert "/v1/context" in answer.json()["error"]["message"]
        assert client.get("/v1/models").json() == {"object": "list", "data": []}
        found = client.request("POST", "/v1/context", json={"query": "tea", "max_tokens": 100})
        assert found.status_code == 200
        assert upstream.requests == []

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({}, "messages"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "king", "content": "x"}]}, "messages.0.role"),
            ({"messages": TEA, "temperature": 3}, "temperature"),
            ({"messages": TEA, "n": 9}, "n"),
            ({"messages": TEA, "retrieval": {"context_tokens": 0}}, "retrieval.context_tokens"),
        ],
    )
    def test_a_wrong_field_is_named_in_both_forms(self, url: str, body: dict, param: str):
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == param
        assert answer.json()["error"]["param"] == param

    def test_an_image_is_refused(self, url: str):
        parts = [{"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": [{"role": "user", "content": parts}]})
        assert answer.status_code == 422
        assert "Input should be 'text'" in answer.json()["detail"]

    def test_wrong_filters_and_questions_are_told(self, url: str, upstream: Upstream):
        body = {"messages": TEA, "retrieval": {"filter": "yeer = 1"}}
        answer = httpx.post(f"{url}/v1/chat/completions", json=body)
        assert (answer.status_code, "Did you mean 'year'?" in answer.json()["error"]["message"]) == (422, True)
        answer = httpx.post(f"{url}/v1/chat/completions", json={"messages": [{"role": "system", "content": "x"}]})
        assert (answer.status_code, "the role user" in answer.json()["detail"]) == (422, True)
        assert upstream.requests == []

    def test_a_long_conversation_fits_and_a_huge_one_doesn_t(self, client: openai.OpenAI, url: str):
        long = [{"role": "system", "content": "x" * 500_000}, *TEA]
        assert ask(client, long).choices
        answer = httpx.post(f"{url}/v1/chat/completions", content=b"x" * (2**20 + 1))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert "1,048,576 bytes" in answer.json()["detail"]


class TestKeys:
    @pytest.fixture
    def locked(self, chat_index: Index, chat_settings: Settings, tmp_path: Path) -> Iterator[str]:
        keys = {"index": str(tmp_path), "api_keys": SecretStr("own,acme:theirs")}
        with serving(create_app(chat_index, chat_settings.model_copy(update=keys))) as address:
            yield f"{address}/v1"

    def test_a_key_is_needed(self, locked: str, upstream: Upstream):
        with pytest.raises(openai.AuthenticationError, match="needs a valid key") as caught:
            ask(_client(locked, "wrong"))
        assert caught.value.body["message"].startswith("This address needs")
        assert ask(_client(locked, "own")).citations

    def test_a_tenant_s_answer_knows_of_its_own_documents_only(self, locked: str, upstream: Upstream):
        answer = ask(_client(locked, "theirs"))
        assert (answer.citations, answer.flags) == ([], [])
        assert "Four minutes" not in json.dumps(upstream.last)


def _client(url: str, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0)


def test_the_client_library_is_imported_when_it_is_needed(run_python: Callable[[str], str]):
    assert run_python("import sys, api.app; print('openai' in sys.modules)") == "False"

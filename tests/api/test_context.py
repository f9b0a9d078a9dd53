"""`limpid context`, `limpid cite-check` and `POST /v1/context`: one answer, by whatever way it is asked for."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from api.routes.context import MAX_CHUNKS, MAX_TOKENS, ContextAnswer, ContextRequest
from core.index import Index
from core.settings import default_cache_dir
from core.tokens import LLM_ENCODINGS, LlmTokenizer
from search.context import ORDERS, REASONS
from search.evidence import KINDS
from search.rendering import FORMATS
from tests.api.command import Command, start
from tests.api.conftest import HOSTILE, Client

QUERY = "how long should black tea steep"


def _ask(client: Client, **body: object) -> dict:
    response = client.request("POST", "/v1/context", json={"query": QUERY, "max_tokens": 200, **body})
    assert response.status_code == 200, response.text
    ContextAnswer.model_validate(response.json())
    return response.json()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("encoding", LLM_ENCODINGS)
def test_over_http_the_text_fits_and_every_passage_is_found_again(
    client: Client, index: Index, form: str, encoding: str
) -> None:
    answer = _ask(client, format=form, encoding=encoding, max_tokens=300)
    (n_tokens,) = LlmTokenizer(encoding, default_cache_dir() / "tiktoken").count([answer["text"]])
    assert 0 < n_tokens == answer["n_tokens"] <= 300
    assert answer["passages"][0]["document_id"] == "https://example.org/tea"
    assert "Four minutes of steeping are enough" in answer["text"]
    for cited in answer["passages"]:
        text = index.store.record(cited["document_id"]).text
        assert text[cited["start"] : cited["end"]] == cited["text"]
    assert answer["n_left_out"] == {
        reason: sum(left["reason"] == reason for left in answer["left_out"]) for reason in REASONS
    }
    assert (json.loads(answer["text"]) == answer["messages"]) if form == "messages" else "messages" not in answer


def test_pages_and_place_are_told(client: Client) -> None:
    answer = _ask(client, query="meltwater lets the ice slide", passage="chunk", k=1)
    (cited,) = answer["passages"]
    assert (cited["page"], cited["last_page"], cited["place"]) == (2, 2, "page 2")
    assert "Part 2, page 2" in answer["text"]


def test_hostile_titles_and_texts_stay_inside_their_element(client: Client) -> None:
    answer = _ask(client, query="volcanoes and molten lava", format="xml", k=1, max_tokens=400)
    assert HOSTILE not in answer["text"]
    assert answer["text"].count("</passage>") == len(answer["passages"]) == 1


def test_a_filter_and_few_chunks_are_heeded(client: Client) -> None:
    answer = _ask(client, filter='topic = "nature"', max_tokens=2000)
    assert {cited["document_id"] for cited in answer["passages"]} == {"file:///library/glaciers.pdf"}
    assert len(_ask(client, passage="chunk", k=2, max_tokens=5000)["passages"]) <= 2


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": MAX_TOKENS + 1}, "max_tokens"),
        ({"k": MAX_CHUNKS + 1}, "k"),
        ({"query": "x" * 10_001}, "query"),
        ({"filter": "x" * 2_001}, "filter"),
        ({"format": "html"}, "format"),
        ({"encoding": "gpt2"}, "encoding"),
        ({"passage": "page"}, "passage"),
        ({"order": "random"}, "order"),
        ({"explain": True}, "explain"),
    ],
)
def test_what_is_over_a_limit_or_unknown_is_refused(client: Client, body: dict, field: str) -> None:
    response = client.request("POST", "/v1/context", json={"query": QUERY, "max_tokens": 200, **body})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


def test_a_budget_below_the_wrappers_is_refused(client: Client) -> None:
    response = client.request("POST", "/v1/context", json={"query": QUERY, "max_tokens": 5, "format": "messages"})
    assert response.status_code == 422
    assert "needs" in response.json()["detail"]


def test_the_request_names_what_the_search_knows() -> None:
    fields = ContextRequest.model_json_schema()["properties"]
    for name, known in (("format", FORMATS), ("passage", KINDS), ("order", ORDERS), ("encoding", LLM_ENCODINGS)):
        assert fields[name]["enum"] == list(known)


def test_the_text_goes_to_stdout_alone(limpid: Command, corpus: Path) -> None:
    limpid("ingest", corpus)
    shown = limpid("context", "why does bread rise", "--max-tokens", 100)
    answer = limpid("context", "why does bread rise", "--max-tokens", 100, "--json")
    assert (shown.code, answer.code) == (0, 0)
    assert shown.out == answer.json["text"]
    assert "wild yeast" in shown.out
    assert f"[1] {answer.json['passages'][0]['uri']}" in shown.err
    assert "Left out" not in shown.out
    small = limpid("context", "why does bread rise", "--max-tokens", 30)
    assert "Left out, no room: " in small.err
    assert limpid("context", "bread", "--max-tokens", 100, "--quiet").err == ""


def test_a_wrong_option_is_code_2(limpid: Command, corpus: Path) -> None:
    limpid("ingest", corpus / "bread.txt")
    for option, value, message in (
        ("--max-tokens", "0", "max_tokens is 0"),
        ("--encoding", "gpt2", "Unknown encoding 'gpt2'"),
        ("--format", "html", "Unknown format 'html'"),
        ("--passage", "page", "Unknown passage 'page'"),
        ("--order", "random", "Unknown order 'random'"),
        ("-k", "0", "k is 0"),
        ("--filter", "x =", "Filter:"),
    ):
        refused = limpid("context", "bread", option, value)
        assert (refused.code, refused.out) == (2, "")
        assert message in refused.err


def test_a_citation_is_checked_from_context_to_answer(
    limpid: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limpid("ingest", corpus)
    made = limpid("context", "why does bread rise", "--max-tokens", 200, "--json")
    context = tmp_path / "context.json"
    context.write_text(made.out, encoding="utf-8")
    label = next(cited["label"] for cited in made.json["passages"] if "yeast" in cited["text"])
    good = tmp_path / "good.txt"
    good.write_text(f'Bread takes time, since "wild yeast works at its own pace" [{label}].', encoding="utf-8")
    checked = limpid("cite-check", good, "--context", context, "--verify")
    assert checked.code == 0, checked.err
    assert "quoted" in checked.out
    monkeypatch.setattr("sys.stdin", io.StringIO(f'It is "tame yeast works at its own pace" [{label}], says [99].'))
    bad = limpid("cite-check", "-", "--context", context, "--json")
    assert bad.code == 1
    assert [check["verdict"] for check in bad.json["checks"]] == ["not_found", "unknown_label"]
    assert bad.json["checks"][0]["longest"] == "yeast works at its own pace"
    (corpus / "bread.txt").write_text("Nothing about it any more, only cake and a little cream.", encoding="utf-8")
    limpid("ingest", corpus)
    changed = limpid("cite-check", good, "--context", context, "--verify", "--json")
    assert (changed.code, changed.json["counts"]["changed"]) == (1, 1)
    assert limpid("cite-check", good, "--context", context).code == 0  # the context itself hasn't changed


def test_beside_a_running_server_both_go_through_it(limpid: Command, corpus: Path, tmp_path: Path) -> None:
    limpid("ingest", corpus)
    asked = ("context", "why does bread rise", "--max-tokens", 200, "--json")
    before = limpid(*asked)
    answer, context = tmp_path / "answer.txt", tmp_path / "context.json"
    answer.write_text("Sourdough bread rises slowly [1].")
    context.write_text(before.out, encoding="utf-8")
    server = start(tmp_path, "serve", "--port", "0", "--json")
    try:
        assert "url" in json.loads(server.stdout.readline())
        through = limpid(*asked)
        assert (through.code, through.json) == (0, before.json)
        assert limpid("cite-check", answer, "--context", context, "--verify").code == 0
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_unusable_files_and_shares_are_refused(limpid: Command, tmp_path: Path) -> None:
    answer, context = tmp_path / "answer.txt", tmp_path / "context.json"
    answer.write_text("Boats float [1].")
    assert limpid("cite-check", answer, "--context", context).code == 3
    for content in ("no JSON", "[]", '{"passages": [{"label": 1}]}', '{"passages": [{"label": "1", "text": "x"}]}'):
        context.write_text(content)
        refused = limpid("cite-check", answer, "--context", context)
        assert refused.code == 2
        assert "isn't what `limpid context --json` writes" in refused.err
    context.write_text('{"passages": []}')
    assert limpid("cite-check", answer, "--context", context, "--min-share", 2).code == 2
    answer.write_bytes(b"\xff\xfe\xff")
    assert limpid("cite-check", answer, "--context", context).code == 2
    answer.write_text(" ")
    assert limpid("cite-check", answer, "--context", context).code == 2

"""The tools, through the SDK's client and a server in this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from urllib.parse import quote

import pytest
from mcp import Client, MCPError
from mcp.server.lowlevel.server import Server
from mcp_types import CallToolResult, ListToolsResult, ReadResourceResult

from api.jobs.report import ABOUT, REPORT, signature
from api.jobs.writing import data_folder
from api.tools.calls import read_document
from api.tools.descriptions import TOOLS
from api.tools.parameters import ReadParameters
from api.tools.rendering import NOTICE, Budget
from core.errors import DependencyError
from core.index import Index
from core.settings import Settings
from core.tokens import LlmTokenizer
from eval.diagnose import diagnose
from eval.report import build_report
from eval.sample import collect
from tests.api.tools.client import ERAS, ask, call, refusal, talk
from tests.api.tools.conftest import BAD_FIELD, DOCUMENTS, FORGED, MANUAL

SHELF = "file:///shelf.md"


def tools_of(server: Server) -> dict[str, dict]:
    """Each tool's description and schema."""

    async def use(client: Client) -> ListToolsResult:
        return await client.list_tools()

    return {tool.name: tool.model_dump(by_alias=True) for tool in talk(server, use).tools}


def read(server: Server, uri: str) -> ReadResourceResult:
    """A resource."""

    async def use(client: Client) -> ReadResourceResult:
        return await client.read_resource(uri)

    return talk(server, use)


class TestDescriptions:
    def test_all_are_listed_as_reading_only(self, server: Server):
        listed = tools_of(server)
        assert set(listed) == {"search", "context", "read_document", "similar", "list_documents", "report"}
        for tool in listed.values():
            assert tool["annotations"]["readOnlyHint"] is True
            assert tool["inputSchema"]["additionalProperties"] is False
            for name, parameter in tool["inputSchema"]["properties"].items():
                assert len(parameter["description"]) > 20, (tool["name"], name)

    def test_filters_name_the_fields_of_this_index_and_no_text_of_its_documents(self, server: Server):
        told = tools_of(server)["search"]["inputSchema"]["properties"]["filter"]["description"]
        assert told.endswith(
            "Fields of this index: document_id, uri, title, page, headings, topic (keyword), year (integer)."
        )
        assert BAD_FIELD not in json.dumps(tools_of(server))

    def test_they_are_small(self, server: Server, llm_tokenizer: LlmTokenizer):
        assert llm_tokenizer.count([json.dumps(tools_of(server), ensure_ascii=False)])[0] < 3500

    def test_without_an_index_there_are_still_tools(self, settings: Settings):
        from api.tools.server import make_server
        from api.tools.sources import OwnIndex

        own = OwnIndex(settings, lambda told: None)
        server = make_server(settings, own.opened, own.fields, tell=str)
        assert set(tools_of(server)) == set(TOOLS)
        assert "limpid ingest" in refusal(server, "search", query="tea")


class TestSearch:
    @pytest.mark.parametrize("era", ERAS)
    def test_text_and_structure_say_the_same(self, server: Server, era: str):
        result = call(server, "search", era, query="brass screws of board 17", k=3)
        answer = result.structured_content
        assert answer["notice"] == NOTICE
        best = answer["hits"][0]
        assert best["document_id"] == SHELF
        assert "Board 17 " in best["text"]
        assert MANUAL[best["start"] : best["end"]] == best["text"]
        assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
        text = result.content[0].text
        for hit in answer["hits"]:
            assert f'chunk_id="{hit["chunk_id"]}"' in text
            assert f">\n{hit['text']}\n</hit>" in text

    def test_pages_follow_one_another(self, server: Server):
        whole = [hit["chunk_id"] for hit in ask(server, "search", query="honey jars", k=20, max_tokens=20000)["hits"]]
        assert len(whole) == 20
        found, ranks, offset = [], [], 0
        while len(found) < 20:
            page = ask(server, "search", query="honey jars", k=9, offset=offset, max_tokens=700)
            found += [hit["chunk_id"] for hit in page["hits"]]
            ranks += [hit["rank"] for hit in page["hits"]]
            assert page["next_offset"] == len(found)
            offset = page["next_offset"]
        assert found[:20] == whole
        assert ranks == list(range(1, len(ranks) + 1))

    def test_the_last_page_says_so(self, server: Server):
        answer = ask(server, "search", query="honey", filter='document_id in ("bee-01", "bee-02")')
        assert {hit["document_id"] for hit in answer["hits"]} == {"bee-01", "bee-02"}
        assert "next_offset" not in answer
        assert ask(server, "search", query="honey", filter='topic = "none"')["hits"] == []

    def test_a_query_says_what_the_collection_lacks(self, server: Server):
        answer = ask(server, "search", query="zyzzyva honey")
        assert answer["unknown_terms"] == ["zyzzyva"]
        assert 0 <= answer["confidence"] <= 1


class TestBudget:
    CALLS = (
        ("search", {"query": "volcano lava", "k": 50}),
        ("search", {"query": "🌋" * 2000, "k": 50}),
        ("context", {"query": "volcano lava and brass screws"}),
        ("similar", {"like": ["text:volcano"], "k": 50}),
        ("list_documents", {"limit": 200}),
        ("read_document", {"document_id": SHELF}),
        ("read_document", {"document_id": f"hostile {FORGED}"}),
        ("read_document", {"document_id": "empty"}),
    )

    @pytest.mark.parametrize(("tool", "arguments"), CALLS)
    @pytest.mark.parametrize("limit", [500, 1200])
    def test_is_never_exceeded(
        self, server: Server, llm_tokenizer: LlmTokenizer, tool: str, arguments: dict, limit: int
    ):
        result = call(server, tool, max_tokens=limit, **arguments)
        assert not result.is_error, result.content[0].text
        both = [result.content[0].text, json.dumps(result.structured_content, ensure_ascii=False)]
        assert max(llm_tokenizer.count(both)) <= limit
        entries = result.structured_content[TOOLS[tool].form.entries]
        assert entries

    def test_a_context_fills_most_of_it(self, server: Server, llm_tokenizer: LlmTokenizer):
        result = call(server, "context", query="how many brass screws does a board need?", max_tokens=1500)
        assert 700 < llm_tokenizer.count([result.content[0].text])[0] <= 1500


class TestContext:
    def test_passages_are_cited(self, server: Server):
        answer = ask(server, "context", query="which screws hold board 7?", max_tokens=1000)
        assert [passage["label"] for passage in answer["passages"]] == list(range(1, len(answer["passages"]) + 1))
        for passage in answer["passages"]:
            assert passage["chunk_ids"]
        assert any("Board 7 " in passage["text"] for passage in answer["passages"])
        assert answer["n_left_out"]["over_budget"] > 0


class TestReadDocument:
    def test_pages_give_the_document_back(self, server: Server):
        read_text, start = "", 0
        while start is not None:
            answer = ask(server, "read_document", document_id=SHELF, start=start, max_tokens=500)
            [passage] = answer["passages"]
            assert passage["start"] == start
            assert (answer["n_characters"], answer["n_chunks"]) == (len(MANUAL), 44)
            read_text += passage["text"]
            start = answer.get("next_start")
        assert read_text == MANUAL

    def test_a_page_of_a_book_costs_no_more_than_a_page(self):
        book = "\u2003" * 3_000_000 + "The end."

        class Shelf:
            def document(self, document_id: str, *, chunks: bool = False) -> dict:
                return {"text": book, "title": "Spaces", "n_chunks": 1}

        counted = 0

        def count(texts: Sequence[str]) -> list[int]:
            nonlocal counted
            counted += sum(map(len, texts))
            return [len(text) // 4 for text in texts]

        answer = read_document(Shelf(), ReadParameters(document_id="book"), Budget(4000, count))
        assert answer["next_start"] == answer["passages"][0]["end"] > 4000
        assert counted < 500_000

    def test_around_a_passage(self, server: Server):
        [hit] = ask(server, "search", query="board 20", k=1, mode="sparse")["hits"]
        answer = ask(server, "read_document", document_id=SHELF, chunk_id=hit["chunk_id"], max_tokens=600)
        [passage] = answer["passages"]
        assert passage["text"] == MANUAL[passage["start"] : passage["end"]]
        assert passage["start"] < hit["start"]
        assert hit["end"] < passage["end"] == answer["next_start"]

    def test_from_a_chunk(self, server: Server):
        answer = ask(server, "read_document", document_id=SHELF, chunk=43)
        assert answer["passages"][0]["text"] == MANUAL[MANUAL.index("Step 43") :]
        assert "next_start" not in answer

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({"document_id": "nothing"}, "There is no document 'nothing'. Take ids from search or list_documents"),
            ({"document_id": SHELF, "start": len(MANUAL)}, f"the document ends at {len(MANUAL):,}"),
            ({"document_id": SHELF, "chunk": 44}, "44 chunks, counted from 0"),
            ({"document_id": SHELF, "chunk_id": "0" * 16}, "no chunk '0000000000000000'"),
            ({"document_id": "empty", "chunk": 0}, "0 chunks"),
        ],
    )
    def test_what_is_not_there(self, server: Server, arguments: dict, told: str):
        assert told in refusal(server, "read_document", **arguments)


class TestSimilar:
    def test_examples_and_pages(self, server: Server):
        first = ask(server, "similar", like=["bee-03"], unlike=["text:screws"], k=2)
        assert [hit["document_id"][:3] for hit in first["hits"]] == ["bee", "bee"]
        assert "bee-03" not in {hit["document_id"] for hit in first["hits"]}
        second = ask(server, "similar", like=["bee-03"], unlike=["text:screws"], k=2, offset=first["next_offset"])
        assert [hit["rank"] for hit in second["hits"]] == [3, 4]

    def test_without_an_example(self, server: Server):
        assert "example" in refusal(server, "similar")
        assert "'nothing'" in refusal(server, "similar", like=["nothing"])


class TestDocuments:
    def test_pages_are_complete_and_in_order(self, server: Server):
        found, after = [], {}
        while True:
            page = ask(server, "list_documents", limit=7, max_tokens=600, **after)
            assert page["total"] == len(DOCUMENTS)
            found += [document.get("document_id") for document in page["documents"]]
            if "next_after" not in page:
                break
            after = {"after": page["next_after"]}
        assert found == sorted(document.id for document in DOCUMENTS)

    def test_are_resources(self, server: Server):
        async def use(client: Client) -> tuple[list, str]:
            listed = (await client.list_resources()).resources
            [template] = (await client.list_resource_templates()).resource_templates
            return listed, template.uri_template

        listed, template = talk(server, use)
        assert [resource.uri for resource in listed] == [
            f"limpid://documents/{quote(name, safe='')}" for name in sorted(document.id for document in DOCUMENTS)
        ]
        assert all(len(resource.name) <= 200 for resource in listed)
        assert template == "limpid://documents/{document_id}{?start}"
        by_id = {document.id: document.text for document in DOCUMENTS}
        for resource, name in zip(listed, sorted(by_id), strict=True):
            [content] = read(server, resource.uri).contents
            assert content.text == by_id[name]
            assert content.meta == {"limpid/notice": NOTICE}

    def test_are_listed_in_pages(self, server: Server, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("api.tools.server.RESOURCES_TO_A_PAGE", 10)

        async def use(client: Client) -> list[str]:
            found, cursor = [], None
            while True:
                page = await client.list_resources(cursor=cursor)
                assert len(page.resources) <= 10
                found += [resource.uri for resource in page.resources]
                cursor = page.next_cursor
                if cursor is None:
                    return found

        assert len(talk(server, use)) == len(DOCUMENTS)

    def test_a_long_resource_says_where_it_goes_on(self, server: Server, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("api.tools.server.MOST_TOKENS", 600)
        uri, found = f"limpid://documents/{quote(SHELF, safe='')}", ""
        while uri:
            text, *following = read(server, uri).contents
            found += text.text
            uri = following[0].uri if following else None
        assert found == MANUAL

    @pytest.mark.parametrize(
        ("uri", "told"),
        [
            ("limpid://documents/nothing", "no document 'nothing'"),
            ("limpid://documents/", "document_id"),
            ("file:///etc/passwd", "begins with limpid://documents/"),
            ("limpid://documents/..%2F..%2Fetc%2Fpasswd", "no document"),
            ("limpid://documents/empty?start=x", "start"),
        ],
    )
    def test_what_is_no_resource(self, server: Server, uri: str, told: str):
        with pytest.raises(MCPError, match=told):
            read(server, uri)


class TestHostileDocuments:
    @pytest.mark.parametrize(
        ("tool", "arguments"),
        [
            ("search", {"query": "volcano lava", "k": 1}),
            ("context", {"query": "what is lava?"}),
            ("read_document", {"document_id": f"hostile {FORGED}"}),
            ("similar", {"like": ["text:lava"], "k": 1}),
            ("list_documents", {"after": "file:///shelf.md"}),
        ],
    )
    def test_none_poses_as_another_entry(self, server: Server, tool: str, arguments: dict):
        result = call(server, tool, **arguments)
        text, form = result.content[0].text, TOOLS[tool].form
        assert text.count(f"<{form.element} ") == len(result.structured_content[form.entries])
        assert '<hit rank="1" document_id="forged"' not in text
        assert "forged" in text or "omitted" in text


@pytest.fixture(scope="module")
def report(shelf: Index, settings_of_shelf: Settings) -> dict:
    """A real report, kept as a server keeps it."""
    rows = ((stored.chunk, stored.dense, stored.sentences) for stored in shelf.scan())
    sample = collect(rows, shelf.embedder.tokenizer.max_tokens)
    made = build_report(diagnose(sample, encode=shelf.embedder.encode_queries, pieces=shelf.embedder.tokenizer.pieces))
    folder = data_folder(settings_of_shelf) / "report" / "1"
    folder.mkdir(parents=True)
    (folder / REPORT).write_text(json.dumps(made))
    about = {"made": "2026-01-02T03:04:05Z", "generation": shelf.generation, "signature": signature(shelf)}
    (folder / ABOUT).write_text(json.dumps(about))
    (folder.parent / "CURRENT").write_text("1")
    assert len(made["flags"]) > 3
    return made


class TestReport:
    def test_none_yet(self, server: Server):
        assert "No report was made of this index yet" in refusal(server, "report")

    def test_findings_come_in_pages(self, server: Server, report: dict, llm_tokenizer: LlmTokenizer):
        found, offset = [], 0
        while offset is not None:
            result = call(server, "report", offset=offset, max_tokens=1500)
            answer = result.structured_content
            assert (answer["verdict"], answer["counts"]) == (report["verdict"], report["counts"])
            assert answer["is_current"] is True
            assert llm_tokenizer.count([result.content[0].text])[0] <= 1500
            found += answer["findings"]
            offset = answer.get("next_offset")
        assert [finding["kind"] for finding in found] == [flag["kind"] for flag in report["flags"]]
        subjects = [finding.get("chunk_id") for finding in found]
        assert subjects == [
            flag["subject"] if flag["subject"] in report["subjects"] else None for flag in report["flags"]
        ]

    def test_of_one_kind(self, server: Server, report: dict):
        kind, count = next(iter(report["counts"].items()))
        answer = ask(server, "report", kind=kind, max_tokens=20000)
        assert [finding["kind"] for finding in answer["findings"]] == [kind] * count
        assert f"it has {kind}" in refusal(server, "report", kind="nonsense")


class TestFaults:
    @pytest.mark.parametrize(
        ("tool", "arguments", "told"),
        [
            ("search", {}, "query: Field required. Correct the call."),
            ("search", {"query": "tea", "k": 51}, "k: Input should be less than or equal to 50."),
            (
                "search",
                {"query": "tea", "max_tokens": 499},
                "max_tokens: Input should be greater than or equal to 500.",
            ),
            ("search", {"query": "tea", "qery": 1}, "qery: Extra inputs are not permitted."),
            ("search", {"query": " "}, "The query is empty"),
            ("search", {"query": "tea", "filter": "yeer = 1"}, "Did you mean 'year'?"),
            ("search", {"query": "tea", "filter": "year >"}, "the filter ends"),
            ("context", {"query": "tea", "mode": "psychic"}, "mode: Input should be 'hybrid', 'dense' or 'sparse'."),
        ],
    )
    @pytest.mark.parametrize("era", ERAS)
    def test_wrong_arguments_say_what_to_do(self, server: Server, tool: str, arguments: dict, told: str, era: str):
        result = call(server, tool, era, **arguments)
        assert result.is_error
        assert told in result.content[0].text

    def test_numbers_may_come_as_text(self, server: Server):
        assert len(ask(server, "search", query="honey", k="2")["hits"]) == 2

    def test_a_long_message_is_cut(self, server: Server):
        assert len(refusal(server, "search", query="tea", filter="x" * 2000)) <= 2000

    @pytest.mark.parametrize("era", ERAS)
    def test_an_unknown_tool(self, server: Server, era: str):
        with pytest.raises(MCPError, match="There is no tool 'delete'; there are: search"):
            call(server, "delete", era)

    @pytest.mark.parametrize("era", ERAS)
    def test_an_unexpected_failure_tells_nothing(
        self, server: Server, shelf: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, era: str
    ):
        def fail(*_: object) -> None:
            raise RuntimeError("/secret hunter2")

        monkeypatch.setattr(shelf.store, "candidates", fail)
        with caplog.at_level(logging.ERROR, "limpid.mcp"):
            result = call(server, "search", era, query="tea")
        assert result.is_error
        told = result.content[0].text
        assert "secret" not in told
        assert told.rpartition(" ")[2].rstrip(".") in caplog.text
        assert "hunter2" in caplog.text

    def test_an_expected_one_tells_what_whoever_made_the_server_lets_it(
        self, server: Server, shelf: Index, monkeypatch: pytest.MonkeyPatch
    ):
        def fail(*_: object) -> CallToolResult:
            raise DependencyError("The disk /data is gone. Mount it.")

        monkeypatch.setattr(shelf.store, "candidates", fail)
        assert refusal(server, "search", query="tea") == "The disk /data is gone. Mount it."

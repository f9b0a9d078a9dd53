"""LangChain, LlamaIndex and Haystack on a real socket: their OpenAI classes, and Limpid's retrievers for them."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from api.client import Client
from core.errors import InputError
from tests.api.chat.upstream import MODEL, Upstream

QUESTION = "how should black tea steep"


@pytest.fixture(autouse=True)
def _their_own_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the frameworks deprecate among themselves isn't ours to mend; they send no statistics from here."""
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def hits(url: str) -> list[dict[str, Any]]:
    """What the server itself answers, as JSON."""
    with Client(url) as client:
        answer = client.search(QUESTION, k=3)
    return [hit.model_dump(mode="json", exclude_unset=True) for hit in answer.hits]


def assert_known(metadata: dict[str, Any], hit: dict[str, Any]) -> None:
    """The metadata hold all of the hit but its text, and survive JSON."""
    assert {**metadata, "text": hit["text"]} == {**hit, "source": hit["uri"]}
    assert json.loads(json.dumps(metadata)) == metadata


class TestLangChain:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("langchain_core", reason="the extra langchain isn't installed")

    def test_its_chat_model_answers_and_streams(self, url: str, upstream: Upstream):
        models = pytest.importorskip("langchain_openai", reason="langchain-openai isn't installed")
        model = models.ChatOpenAI(base_url=f"{url}/v1", api_key="any", model="any", temperature=0.2, max_retries=0)
        assert model.invoke(QUESTION).content == upstream.answer
        assert upstream.last["temperature"] == 0.2
        assert "<passage label=" in upstream.prompt
        assert "".join(chunk.content for chunk in model.stream(QUESTION)) == upstream.answer

    def test_its_retriever_gives_the_hits(self, url: str, hits: list[dict[str, Any]]):
        from api.integrations.langchain import LimpidRetriever

        retriever = LimpidRetriever(url=url, k=3)
        found = retriever.invoke(QUESTION)
        assert [document.page_content for document in found] == [hit["text"] for hit in hits]
        assert [document.id for document in found] == [hit["chunk_id"] for hit in hits]
        for document, hit in zip(found, hits, strict=True):
            assert_known(document.metadata, hit)
        assert asyncio.run(retriever.ainvoke(QUESTION)) == found

    def test_options_are_those_of_a_search(self, url: str):
        from api.integrations.langchain import LimpidRetriever

        found = LimpidRetriever(url=url, filter="year < 2018", options={"mode": "dense"}).invoke(QUESTION)
        assert {document.metadata["document_id"] for document in found} == {"file:///library/glaciers.pdf"}
        with pytest.raises(InputError, match="Did you mean 'year'"):
            LimpidRetriever(url=url, filter="yeer = 1").invoke(QUESTION)

    def test_it_keeps_its_key_to_itself(self):
        from api.integrations.langchain import LimpidRetriever

        assert "secret" not in repr(LimpidRetriever(url="http://x", key="secret"))


class TestLlamaIndex:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("llama_index.core", reason="the extra llamaindex isn't installed")

    def test_its_chat_model_answers_and_streams(self, url: str, upstream: Upstream):
        models = pytest.importorskip("llama_index.llms.openai_like", reason="llama-index-llms-openai-like is missing")
        model = models.OpenAILike(api_base=f"{url}/v1", api_key="any", model="any", is_chat_model=True, max_retries=0)
        assert model.complete(QUESTION).text == upstream.answer
        assert "<passage label=" in upstream.prompt
        assert "".join(chunk.delta or "" for chunk in model.stream_complete(QUESTION)) == upstream.answer

    def test_its_own_openai_class_does_too(self, url: str, upstream: Upstream):
        models = pytest.importorskip("llama_index.llms.openai", reason="llama-index-llms-openai isn't installed")
        model = models.OpenAI(api_base=f"{url}/v1", api_key="any", model="gpt-4o-mini", max_retries=0)
        assert model.complete(QUESTION).text == upstream.answer
        assert upstream.last["model"] == MODEL

    def test_its_retriever_gives_the_hits_with_scores(self, url: str, hits: list[dict[str, Any]]):
        from api.integrations.llamaindex import LimpidRetriever

        retriever = LimpidRetriever(url, k=3)
        found = retriever.retrieve(QUESTION)
        assert [(node.text, node.score, node.node.node_id) for node in found] == [
            (hit["text"], hit["score"], hit["chunk_id"]) for hit in hits
        ]
        for node, hit in zip(found, hits, strict=True):
            assert_known(node.metadata, hit)
        assert [node.node_id for node in asyncio.run(retriever.aretrieve(QUESTION))] == [h["chunk_id"] for h in hits]

    def test_a_model_reads_title_and_text_but_no_bookkeeping(self, url: str, hits: list[dict[str, Any]]):
        from llama_index.core.schema import MetadataMode

        from api.integrations.llamaindex import LimpidRetriever

        read = LimpidRetriever(url, k=1).retrieve(QUESTION)[0].node.get_content(MetadataMode.LLM)
        assert hits[0]["title"] in read
        assert hits[0]["text"] in read
        assert hits[0]["chunk_id"] not in read


class TestHaystack:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("haystack", reason="the extra haystack isn't installed")

    def test_its_component_gives_the_hits_in_a_pipeline(self, url: str, hits: list[dict[str, Any]]):
        from haystack import Pipeline

        from api.integrations.haystack import LimpidRetriever

        pipeline = Pipeline()
        pipeline.add_component("retriever", LimpidRetriever(url, top_k=3))
        restored = Pipeline.from_dict(pipeline.to_dict(), allowed_modules=["api.integrations.haystack"])
        found = restored.run({"retriever": {"query": QUESTION}})["retriever"]["documents"]
        assert [(document.content, document.score, document.id) for document in found] == [
            (hit["text"], hit["score"], hit["chunk_id"]) for hit in hits
        ]
        for document, hit in zip(found, hits, strict=True):
            assert_known(document.meta, hit)

    def test_a_run_may_ask_for_less(self, url: str, hits: list[dict[str, Any]]):
        from api.integrations.haystack import LimpidRetriever

        retriever = LimpidRetriever(url, filter="year > 2000")
        found = asyncio.run(retriever.run_async(QUESTION, top_k=1, filter="year < 2018"))["documents"]
        assert [document.meta["document_id"] for document in found] == ["file:///library/glaciers.pdf"]

    def test_its_key_is_a_secret_that_comes_from_the_environment(self, monkeypatch: pytest.MonkeyPatch):
        from haystack.utils import Secret

        from api.integrations.haystack import LimpidRetriever

        monkeypatch.setenv("LIMPID_TEST_KEY", "secret")
        described = LimpidRetriever("http://x", key=Secret.from_env_var("LIMPID_TEST_KEY")).to_dict()
        assert "secret" not in json.dumps(described)
        assert LimpidRetriever.from_dict(described).key.resolve_value() == "secret"


def test_a_part_of_a_table_comes_with_its_header(url: str):
    from api.integrations.hits import content_of, metadata_of
    from api.schemas import HitAnswer

    with Client(url) as client:
        hit = client.search("rye").hits[0]
    part: HitAnswer = hit.model_copy(update={"lead": "grain | price"})
    assert content_of(part) == f"grain | price\n{hit.text}"
    assert metadata_of(part)["lead"] == "grain | price"

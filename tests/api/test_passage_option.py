"""What a hit returns is chosen by the caller: over HTTP and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from api import schemas
from core.index import Index
from search.results import results_json
from search.retriever import Retriever
from tests.api.command import Command
from tests.api.conftest import Client

QUERY = "how long should black tea steep"


@pytest.mark.parametrize("passage", ["sentences", "section"])
def test_over_http(client: Client, index: Index, passage: str) -> None:
    response = client.search(query=QUERY, k=4, passage=passage)
    assert response.status_code == 200, response.text
    answer = schemas.SearchAnswer.model_validate(response.json()).model_dump(mode="json", exclude_unset=True)
    expected = results_json(Retriever(index).search(QUERY, 4, passage=passage))
    assert answer["hits"] == expected["hits"]
    assert answer["hits"][0]["document_id"] == "https://example.org/tea"
    text = index.store.record("https://example.org/tea").text
    assert text[answer["hits"][0]["start"] : answer["hits"][0]["end"]] == answer["hits"][0]["text"]


def test_an_unknown_passage_is_refused_over_http(client: Client) -> None:
    problem = client.search(query=QUERY, passage="page").json()
    assert problem["errors"][0]["field"] == "passage"
    assert "'sentences'" in problem["errors"][0]["message"]


def test_on_the_command_line(limpid: Command, corpus: Path) -> None:
    limpid("ingest", corpus)
    by_chunk, by_sentence = (
        limpid("search", "why does bread rise", "-k", 1, "--passage", name, "--json").json["hits"][0]
        for name in ("chunk", "sentences")
    )
    assert by_sentence["chunk_id"] == by_chunk["chunk_id"]
    assert by_sentence["text"] in by_chunk["text"]
    shown = limpid("search", "why does bread rise", "-k", 1, "--passage", "sentences").out
    assert " ".join(by_sentence["text"].split()) in " ".join(shown.split())
    refused = limpid("search", "bread", "--passage", "page")
    assert refused.code == 2
    assert "Unknown passage 'page'" in refused.err

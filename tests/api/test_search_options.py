"""What a search can be asked for, over HTTP and by command: pages, groups, diversity, neighbours, reranking."""

from __future__ import annotations

from pathlib import Path

import pytest

from api import schemas
from core.index import Index
from search.results import results_json
from search.retriever import Retriever
from tests.api.command import Command
from tests.api.conftest import Client
from tests.core.pairs import make_cross_encoder

QUERY = "how long should black tea steep"
ASKED = [
    {"offset": 2},
    {"group": "document"},
    {"group": "document", "per_document": 2},
    {"diversity": 0.5},
    {"neighbours": 1},
    {"fusion": "tm2c2"},
    {"fusion": "zscore"},
    {"rerank": False},
]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_over_http(client: Client, index: Index, asked: dict) -> None:
    response = client.search(query=QUERY, k=4, explain=True, **asked)
    assert response.status_code == 200, response.text
    answer = schemas.SearchAnswer.model_validate(response.json()).model_dump(mode="json", exclude_unset=True)
    expected = results_json(Retriever(index).search(QUERY, 4, explain=True, **asked), explain=True)
    assert answer.keys() == expected.keys()
    assert answer["hits"] == expected["hits"]
    assert answer["hits"]


def test_on_the_command_line(limpid: Command, corpus: Path) -> None:
    limpid("ingest", corpus)
    query = ("search", "why does bread rise", "--json")
    first, second, both = (
        limpid(*query, *page).json["hits"] for page in (("-k", 2), ("-k", 2, "--offset", 2), ("-k", 4))
    )
    assert [*first, *second] == both
    assert len(second) > 0
    grouped = limpid(*query, "--group", "document").json["hits"]
    assert len({hit["document_id"] for hit in grouped}) == len(grouped)
    assert all(hit["n_more"] >= 0 for hit in grouped)
    assert limpid(*query, "--diversity", "1").json["hits"][0] == both[0]
    assert limpid(*query, "--neighbours", "1", "-k", 1).json["hits"][0]["chunk_id"] == both[0]["chunk_id"]
    refused = limpid(*query, "--per-document", "2")
    assert refused.code == 2
    assert "ask for group 'document' too" in refused.err
    refused = limpid(*query, "--rerank")
    assert refused.code == 2
    assert "LIMPID_RERANKER" in refused.err


@pytest.mark.filterwarnings("ignore")  # making the model warns as its libraries please
def test_a_reranker_is_set_up_by_a_setting(
    limpid: Command, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limpid("ingest", corpus)
    monkeypatch.setenv("LIMPID_CACHE_DIR", str(tmp_path / "cache"))
    query = ("search", "why does bread rise", "--json")
    plain = limpid(*query).json
    monkeypatch.setenv("LIMPID_RERANKER", str(make_cross_encoder(tmp_path / "reranker")))
    monkeypatch.setenv("LIMPID_RERANK_DEPTH", "2")
    hits = limpid(*query, "--rerank").json["hits"]
    assert {hit["rerank"]["rank_before"] for hit in hits[:2]} == {1, 2}
    assert all("rerank" not in hit for hit in hits[2:])
    for off in ((), ("--no-rerank",)):  # without being asked only where tuning has found a gain
        assert limpid(*query, *off).json["hits"] == plain["hits"]
    shown = limpid("search", "why does bread rise", "--rerank").out
    assert "reranked from #1" in shown
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"_id": "q", "text": "why does bread rise"}\n')
    run = tmp_path / "run.trec"
    assert limpid("run", "--queries", queries, "--out", run, "--rerank").code == 0
    assert [line.split()[4] for line in run.read_text().splitlines()][:2] == ["1.0", "0.5"]

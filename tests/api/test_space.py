"""The latent space from outside: over HTTP, on the command line, and through a server that holds the index."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.routes.space import SimilarAnswer, SimilarRequest, WalkAnswer, WalkRequest
from core.index import Index, open_index
from core.settings import Settings
from search.space.examples import MAX_EXAMPLES
from search.space.similar import STRATEGIES, similar
from search.space.walk import walk
from tests.api.command import Command
from tests.api.conftest import DOCUMENTS, Client, fill

TEA, GLACIERS = "https://example.org/tea", "file:///library/glaciers.pdf"


def _without_time(answer: dict) -> dict:
    return {name: value for name, value in answer.items() if name != "took_ms"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_similar_over_http(client: Client, index: Index, strategy: str) -> None:
    body = {"like": [TEA, "text:hot water"], "unlike": [GLACIERS], "k": 3, "strategy": strategy}
    response = client.request("POST", "/v1/similar", json=body)
    assert response.status_code == 200, response.text
    SimilarAnswer.model_validate(response.json())
    expected = similar(index, body["like"], body["unlike"], 3, strategy).to_json()
    assert _without_time(response.json()) == _without_time(expected)
    assert len(expected["hits"]) == 3
    assert not {TEA, GLACIERS} & {hit["document_id"] for hit in expected["hits"]}


def test_a_walk_over_http(client: Client, index: Index) -> None:
    body = {"from": TEA, "to": "text:bicycle", "steps": 3, "filter": 'topic != "drinks"'}
    response = client.request("POST", "/v1/walk", json=body)
    assert response.status_code == 200, response.text
    WalkAnswer.model_validate(response.json())
    assert _without_time(response.json()) == _without_time(
        walk(index, TEA, "text:bicycle", 3, 'topic != "drinks"').to_json()
    )
    assert [step["t"] for step in response.json()["steps"]] == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("similar", {"like": ["nowhere"]}, 404, None),
        ("similar", {}, 422, None),
        ("similar", {"like": TEA}, 422, "like"),
        ("similar", {"like": [""]}, 422, "like.0"),
        ("similar", {"like": [TEA] * (MAX_EXAMPLES + 1)}, 422, "like"),
        ("similar", {"like": [TEA], "k": 0}, 422, "k"),
        ("similar", {"like": [TEA], "strategy": "mean"}, 422, "strategy"),
        ("similar", {"like": [TEA], "fusion": "rrf"}, 422, "fusion"),
        ("similar", {"like": [TEA], "filter": "colour = 1"}, 422, None),
        ("similar", {"like": [TEA], "unlike": [TEA]}, 422, None),
        ("walk", {"from": TEA}, 422, "to"),
        ("walk", {"from": TEA, "to": TEA}, 422, None),
        ("walk", {"from": TEA, "to": "nowhere"}, 404, None),
        ("walk", {"from": TEA, "to": GLACIERS, "steps": 51}, 422, "steps"),
    ],
)
def test_what_http_refuses(client: Client, path: str, body: dict, status: int, field: str | None) -> None:
    response = client.request("POST", f"/v1/{path}", json=body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert [fault["field"] for fault in response.json().get("errors", ())] == ([field] if field else [])


def test_both_addresses_are_described_and_locked(client_of, client: Client) -> None:
    described = client.get("/openapi.json").json()
    for path, model in (("similar", SimilarRequest), ("walk", WalkRequest)):
        assert described["paths"][f"/v1/{path}"]["post"]["responses"].keys() >= {"200", "404", "422", "503", "default"}
        assert set(described["components"]["schemas"][model.__name__]["properties"]) == {
            field.alias or name for name, field in model.model_fields.items()
        }
        assert client_of(api_keys="k1").request("POST", f"/v1/{path}", json={}).status_code == 401


@pytest.fixture
def filled(limpid: Command, tmp_path: Path) -> Command:
    """The command line in a folder with an index over `DOCUMENTS`."""
    with open_index(Settings(index=str(tmp_path / ".limpid"), offline=True), create=True) as opened:
        fill(opened, DOCUMENTS[:5])
    return limpid


def test_similar_on_the_command_line(filled: Command) -> None:
    answer = filled("similar", "--like", TEA, "--unlike", "text:ice", "-k", 2, "--json").json
    assert answer["like"] == [TEA]
    assert len(answer["hits"]) == 2
    shown = filled("similar", "--like", TEA, "--unlike", "text:ice", "-k", 2)
    assert shown.code == 0
    for hit in answer["hits"]:
        assert hit["chunk_id"] in shown.out
    by_chunk = filled("similar", "--like", answer["hits"][0]["chunk_id"], "--json").json
    assert answer["hits"][0]["chunk_id"] not in {hit["chunk_id"] for hit in by_chunk["hits"]}
    missing = filled("similar", "--like", "nowhere")
    assert missing.code == 3
    assert "text:" in missing.err
    assert filled("similar").code == 2


def test_an_ingested_file_is_an_example(limpid: Command, corpus: Path) -> None:
    limpid("ingest", corpus)
    answer = limpid("similar", "--like", corpus / "bread.txt", "--json").json
    assert answer["like"] == [(corpus / "bread.txt").as_uri()]
    assert answer["hits"]
    assert (corpus / "bread.txt").as_uri() not in {hit["document_id"] for hit in answer["hits"]}


def test_a_walk_on_the_command_line(filled: Command) -> None:
    answer = filled("walk", TEA, GLACIERS, "--steps", 2, "--json").json
    assert [step["t"] for step in answer["steps"]] == [0.3333, 0.6667]
    shown = filled("walk", TEA, GLACIERS, "--steps", 2).out
    assert f"{answer['angle_degrees']:.0f}°" in shown
    assert shown.index(answer["steps"][0]["chunk_id"]) < shown.index(answer["steps"][1]["chunk_id"])
    assert filled("walk", TEA, TEA).code == 2


def test_an_axis_on_the_command_line(filled: Command) -> None:
    sides = ("--toward", "text:ice", "--toward", "text:snow", "--away", "text:heat", "--away", "text:boiling water")
    answer = filled("axis", *sides, "-k", 3, "--json").json
    assert answer["furthest_toward"][0]["document_id"] == GLACIERS
    assert answer["furthest_away"][0]["document_id"] == TEA
    assert answer["trust"]["pairs"] == 4
    kept = filled("axis", *sides, "--above", 0, "--json").json["furthest_toward"]
    everything = filled("axis", *sides, "-k", 100, "--json").json["furthest_toward"]
    assert kept == [hit for hit in everything if hit["projection"] >= 0][: len(kept)]
    assert 0 < len(kept) < len(everything)
    ordered = filled("axis", *sides, "--query", "water", "-k", 5, "--below", 0.5, "--json").json
    places = [hit["projection"] for hit in ordered["hits"]]
    assert places == sorted(places, reverse=True)
    assert max(places) <= 0.5
    shown = filled("axis", *sides).out
    assert "Held-out pairs in order" in shown
    assert "too few to tell" in shown
    assert "Furthest toward" in shown
    assert filled("axis", "--toward", TEA).code == 2
    assert filled("axis", *sides, "--query", " ").code == 2


def test_an_analogy_on_the_command_line(filled: Command) -> None:
    answer = filled("analogy", "tea", "kettle", "glacier", "-k", 3, "--json").json
    assert len(answer["3CosAdd"]) == len(answer["3CosMul"]) == 3
    shown = filled("analogy", "tea", "kettle", "glacier", "-k", 3).out
    assert answer["3CosAdd"][0]["term"] in shown
    assert "not what is true" in shown


def test_through_the_server_that_holds_the_index(
    limpid: Command, client: Client, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands send what the addresses take, and print the answer."""
    from api.commands import space
    from core.errors import IndexLocked

    class Served:
        def __enter__(self) -> Served:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def similar(self, body: dict) -> dict:
            return client.request("POST", "/v1/similar", json=body).raise_for_status().json()

        def walk(self, body: dict) -> dict:
            return client.request("POST", "/v1/walk", json=body).raise_for_status().json()

    def locked(*_: object) -> None:
        raise IndexLocked("held")

    monkeypatch.setattr(space, "open_for", locked)
    monkeypatch.setattr(space, "find_server", lambda settings: Served())
    found = limpid("similar", "--like", TEA, "-k", 2, "--json").json
    assert _without_time(found) == _without_time(similar(index, [TEA], k=2).to_json())
    taken = limpid("walk", TEA, GLACIERS, "--json").json
    assert _without_time(taken) == _without_time(walk(index, TEA, GLACIERS).to_json())
    assert limpid("axis", "--toward", TEA, "--away", GLACIERS).code == 4


def test_an_axis_colours_the_map_of_the_report(limpid: Command, corpus: Path) -> None:
    assert limpid("ingest", corpus).code == 0
    made = limpid("report", "--toward", "text:bread and dough", "--away", "text:stars and clouds", "--json")
    assert made.code == 0, made.err
    drawn = made.json["map"]
    axis = next(colouring for colouring in drawn["colourings"] if colouring["name"] == "axis")
    assert axis["is_ordered"]
    assert len(axis["of"]) == len(drawn["points"])
    assert len(set(axis["of"])) > 1
    assert axis["labels"][0] in Path("report.html").read_text()
    refused = limpid("report", "--toward", "text:bread")
    assert refused.code == 2
    assert "--away" in refused.err

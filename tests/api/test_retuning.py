"""A server tunes its index anew by the queries that it was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.serving import live
from api.serving.live import LiveIndex
from core.index import Index, open_index
from core.settings import Settings
from search.tuning import prior
from tests.api.conftest import DOCUMENTS, fill

QUERIES = ("how long should black tea steep", "a river of ice", "leave a loop early", "boiling water", "meltwater")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(index=str(tmp_path / "index"), query_log=tmp_path / "queries.log", offline=True)


@pytest.fixture
def index(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(live, "RETUNED_EVERY", len(QUERIES))
    opened = open_index(settings, create=True)
    fill(opened, DOCUMENTS)
    return opened


def asked(serving: LiveIndex, queries: tuple[str, ...]) -> dict | None:
    """What the index remembers of tuning once the server has answered the queries."""
    for query in queries:
        serving.answer(lambda _, retriever, query=query: retriever.search(query))
    serving.refresh()
    return serving.answer(lambda index, _: index.store.read_meta()["tuning"])


@pytest.mark.parametrize(
    ("basis", "expected"), [(None, None), ("prior", "query log"), ("query log", "query log"), ("judgements",) * 2]
)
def test_an_index_is_tuned_again(index: Index, settings: Settings, basis: str | None, expected: str | None):
    if basis:
        index.meta.tuning = prior().to_json() | {"basis": basis}
        index.save()
    serving = LiveIndex(index, settings)
    try:
        before = asked(serving, QUERIES[:-1])
        assert (before and before["basis"]) == basis  # not yet
        after = asked(serving, QUERIES[-1:])
        assert (after and after["basis"]) == expected
        if expected == "query log":
            assert after["n_queries"] == len(QUERIES)
    finally:
        serving.close()
        index.close()

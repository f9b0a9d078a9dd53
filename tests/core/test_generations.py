"""Generations: one answers, the next is built beside it, the switch is one step; in a folder as on a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from core.errors import IndexLocked, IndexMismatch, NotFound
from core.store import server
from core.store.edge import EdgeStore
from core.store.generations import FolderGenerations, Generations, ServerGenerations, open_current

DIMENSION = 4


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> QdrantClient:
    """An in-memory server that outlives each connection to it."""
    client = QdrantClient(":memory:")
    monkeypatch.setattr(server, "connect", lambda url, key: client)
    monkeypatch.setattr(client, "close", lambda: None)
    return client


@pytest.fixture(params=["folder", "server"])
def generations(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Generations]:
    """No generation at all, in each of the two places."""
    if request.param == "folder":
        yield FolderGenerations(tmp_path / "index", min_free_mb=0)
    else:
        request.getfixturevalue("client")
        yield ServerGenerations("http://qdrant.test:6333", None, "corpus")


def make(generations: Generations, number: int) -> None:
    store = generations.open(number, DIMENSION)
    store.write_meta({"number": number})
    store.close()


def test_nothing_is_there_at_first(generations: Generations) -> None:
    assert generations.current() is None
    assert open_current(generations) is None
    assert not generations.exists(1)
    generations.sweep()
    generations.discard(1)
    with pytest.raises(NotFound, match=r"limpid ingest PATH"):
        raise generations.absent()


def test_a_generation_answers_once_it_is_switched_to(generations: Generations) -> None:
    make(generations, 1)
    assert generations.exists(1)
    assert generations.current() is None
    generations.switch(1)
    make(generations, 2)
    for expected in (1, 2):
        number, store = open_current(generations)
        assert (number, store.read_meta()) == (expected, {"number": expected})
        store.close()
        generations.switch(2)


def test_only_what_is_older_than_the_current_one_is_swept(generations: Generations) -> None:
    for number in (1, 2, 3):
        make(generations, number)
    generations.switch(2)
    generations.sweep()
    assert [generations.exists(number) for number in (1, 2, 3)] == [False, True, True]
    generations.discard(3)
    assert not generations.exists(3)


def test_a_switch_between_looking_and_opening_is_followed(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a reindex in another process ends just then, and removes what was about to be opened."""
    make(generations, 1)
    make(generations, 2)
    generations.switch(1)
    opened = type(generations).open

    def open_late(self: Generations, number: int, dimension: int | None = None):
        if number == 1:
            self.switch(2)
            self.sweep()
        return opened(self, number, dimension)

    monkeypatch.setattr(type(generations), "open", open_late)
    number, store = open_current(generations)
    assert number == 2
    store.close()


def test_what_is_open_elsewhere_is_neither_discarded_nor_swept(tmp_path: Path) -> None:
    generations = FolderGenerations(tmp_path, min_free_mb=0)
    make(generations, 1)
    make(generations, 2)
    generations.switch(2)
    held = EdgeStore(tmp_path / "generations" / "1")
    with pytest.raises(IndexLocked, match="open in another process"):
        generations.discard(1)
    generations.sweep()
    assert generations.exists(1)
    held.close()
    generations.sweep()
    assert not generations.exists(1)


@pytest.mark.parametrize("left", ["edge_config.json", "nothing"])
def test_what_a_kill_left_half_made_or_half_removed_is_discarded(tmp_path: Path, left: str) -> None:
    generations = FolderGenerations(tmp_path, min_free_mb=0)
    folder = tmp_path / "generations" / "1"
    folder.mkdir(parents=True)
    (folder / left).write_text("{}")
    generations.discard(1)
    assert not folder.exists()


def test_the_switch_replaces_the_file_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generations = FolderGenerations(tmp_path, min_free_mb=0)
    make(generations, 1)
    generations.switch(1)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        generations.switch(2)
    assert generations.current() == 1


def test_an_index_inside_a_corpus_is_no_part_of_it(tmp_path: Path) -> None:
    make(FolderGenerations(tmp_path / "index", min_free_mb=0), 1)
    assert (tmp_path / "index" / ".limpidignore").read_text() == "*\n"


def test_an_index_from_before_is_refused_in_a_folder(tmp_path: Path) -> None:
    EdgeStore(tmp_path, DIMENSION).close()
    with pytest.raises(IndexMismatch, match=r"earlier version.*Ingest the corpus into a new index"):
        FolderGenerations(tmp_path, min_free_mb=0).current()


def test_an_index_from_before_is_refused_on_a_server(client: QdrantClient) -> None:
    server.ServerStore(client, "corpus", DIMENSION)
    generations = ServerGenerations("http://qdrant.test:6333", None, "corpus")
    with pytest.raises(IndexMismatch, match="earlier version"):
        generations.current()
    server.point_alias(client, "other", "corpus")
    with pytest.raises(IndexMismatch, match="isn't Limpid's"):
        ServerGenerations("http://qdrant.test:6333", None, "other").current()


def test_other_collections_are_left_alone(client: QdrantClient) -> None:
    mine = ServerGenerations("http://qdrant.test:6333", None, "corpus")
    other = ServerGenerations("http://qdrant.test:6333", None, "corpus2")
    for generations in (mine, other):
        make(generations, 1)
        make(generations, 2)
        generations.switch(2)
    mine.sweep()
    assert not mine.exists(1)
    assert other.exists(1)

"""A server moves to a new generation without dropping a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from api.serving.live import LiveIndex
from core.errors import DependencyError
from core.index import Index, open_generations, open_index, open_next
from core.settings import Settings
from core.store import server
from tests.api.conftest import DOCUMENTS, fill


@pytest.fixture(params=["folder", "server"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty index, in a folder and on a server."""
    if request.param == "folder":
        return Settings(index=str(tmp_path / "index"), offline=True)
    client, translated = QdrantClient(":memory:"), server.translated
    monkeypatch.setattr(server, "connect", lambda url, key: client)
    monkeypatch.setattr(client, "close", lambda: None)

    @contextmanager
    def as_a_server_fails() -> Iterator[None]:
        """The in-memory stand-in raises ValueError where a server answers 404."""
        try:
            with translated():
                yield
        except ValueError as error:
            raise DependencyError(str(error)) from None

    monkeypatch.setattr(server, "translated", as_a_server_fails)
    return Settings(index="http://qdrant.test:6333", collection="corpus", offline=True)


@pytest.fixture
def index(settings: Settings) -> Index:
    """The first generation, with documents."""
    opened = open_index(settings, create=True)
    fill(opened, DOCUMENTS)
    return opened


def switch(settings: Settings, index: Index) -> None:
    """Put a second generation in the index' place, as `limpid reindex` does."""
    wanted = replace(index.meta.fingerprint, chunk_tokens=64)
    with open_generations(settings) as generations:
        with open_next(generations, index.embedder, wanted, 2) as second:
            fill(second, DOCUMENTS)
        generations.switch(2)
        generations.sweep()


def search(live: LiveIndex) -> str:
    return live.answer(lambda _, retriever: retriever.search("brewing tea", k=1).hits[0].chunk.title)


def test_requests_never_fail_while_generations_change(settings: Settings, index: Index) -> None:
    live = LiveIndex(index, settings)
    answers: list[object] = []
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            try:
                answers.append(search(live))
            except Exception as error:
                answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    switch(settings, index)
    live.refresh()
    deadline = time.monotonic() + 20
    before = len(answers)
    while len(answers) < before + 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    is_over.set()
    for thread in threads:
        thread.join()
    assert set(map(str, answers)) == {"Brewing tea"}
    assert live.answer(lambda index, _: index.generation) == 2
    with open_generations(settings) as generations:
        assert not generations.exists(1)
    live.close()
    index.close()


def test_the_former_generation_is_closed_after_its_last_request(settings: Settings, index: Index) -> None:
    live = LiveIndex(index, settings)
    is_asking, may_end = threading.Event(), threading.Event()
    counted: list[int] = []

    def ask(index: Index, _: object) -> None:
        is_asking.set()
        may_end.wait(20)
        with suppress(DependencyError):  # on a server the collection may be gone by now
            counted.append(index.store.count_documents())

    thread = threading.Thread(target=lambda: live.answer(ask))
    thread.start()
    is_asking.wait(20)
    switch(settings, index)
    live.refresh()
    assert live.answer(lambda index, _: index.generation) == 2
    may_end.set()
    thread.join()
    if not settings.is_server:
        assert counted == [len(DOCUMENTS)]
        assert not (Path(settings.index) / "generations" / "1").exists()
    live.close()


def test_a_request_to_a_generation_that_was_removed_is_asked_anew(
    settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a server, where the old collection goes before the server notices."""
    live = LiveIndex(index, settings)
    switch(settings, index)

    def fail(*_: object, **__: object) -> None:
        raise DependencyError("no such collection")

    monkeypatch.setattr(index.store, "candidates", fail)
    assert search(live) == "Brewing tea"
    live.close()


def test_what_fails_without_a_switch_fails(settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveIndex(index, settings)
    calls: list[int] = []

    def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise DependencyError("the server is down")

    monkeypatch.setattr(index.store, "candidates", fail)
    with pytest.raises(DependencyError, match="the server is down"):
        search(live)
    assert len(calls) == 1
    index.close()


def test_a_generation_that_can_not_be_opened_is_tried_again(
    settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    live = LiveIndex(index, settings)
    switch(settings, index)
    with monkeypatch.context() as broken:

        def fail(*_: object, **__: object) -> Callable:
            raise DependencyError("the model isn't on this machine")

        broken.setattr("api.serving.live.open_index", fail)
        for _ in range(3):
            live.refresh()
    assert caplog.text.count("Still serving generation 1: the model isn't on this machine") == 1
    live.refresh()
    assert live.answer(lambda index, _: index.generation) == 2
    live.close()


def test_the_settings_that_an_index_decides_are_left_to_it(settings: Settings, index: Index) -> None:
    """The server was started with what the first generation was made with; the second one was made otherwise."""
    explicit = settings.model_copy(update={"chunk_tokens": 200})
    live = LiveIndex(index, explicit)
    switch(settings, index)
    live.refresh()
    assert live.answer(lambda index, _: index.meta.fingerprint.chunk_tokens) == 64
    live.close()

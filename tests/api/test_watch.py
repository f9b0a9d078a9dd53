"""`limpid ingest --watch` with real file events in a process of its own; and which changes concern an ingest."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.watching import Watched
from tests.api.command import Command, start
from tests.api.conftest import Write

PATIENCE_S = 60


class Watch:
    """A running watch whose summaries are read as they come."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        self.said: list[str] = []
        threading.Thread(target=lambda: [self._lines.put(line) for line in process.stdout], daemon=True).start()
        threading.Thread(target=lambda: self.said.extend(process.stderr), daemon=True).start()

    def summary(self) -> dict:
        """The next summary."""
        try:
            return json.loads(self._lines.get(timeout=PATIENCE_S))
        except queue.Empty:
            raise AssertionError(f"no summary came; said so far: {self.said}") from None

    def is_silent(self, wait_s: float = 1.5) -> bool:
        """Whether no summary comes for a while."""
        time.sleep(wait_s)
        return self._lines.empty()

    def end(self, number: int = signal.SIGINT) -> int:
        """The exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_S)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    """Starts watches, and ends them with the test."""
    started: list[Watch] = []

    def begin(*arguments: str) -> Watch:
        started.append(Watch(start(tmp_path, "ingest", *arguments, "--watch", "--json")))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        for stream in (one.process.stdout, one.process.stderr):
            stream.close()


def counts(summary: dict) -> dict[str, int]:
    """What isn't zero, apart from what is unchanged."""
    return {name: summary[name] for name in ("new", "updated", "renamed", "removed", "failed") if summary.get(name)}


class TestFollowing:
    def test_every_kind_of_change(self, limpid: Command, corpus: Path, watch: Callable[..., Watch]) -> None:
        running = watch("docs")
        assert counts(running.summary()) == {"new": 4}
        assert "bread.txt" in limpid("search", "bread", "--json").json["hits"][0]["uri"]  # the index isn't held

        (corpus / "tea.txt").write_text("Green tea turns bitter in boiling water.")
        assert counts(running.summary()) == {"new": 1}
        (corpus / "tea.txt").write_text("Black tea wants water that is still bubbling.")
        assert counts(running.summary()) == {"updated": 1}
        assert "bubbling" in limpid("search", "tea", "--json").json["hits"][0]["text"]

        (corpus / "tea.txt").rename(corpus / "black-tea.txt")
        moved = counts(running.summary())
        assert moved in ({"renamed": 1}, {"new": 1, "removed": 1})
        (corpus / "black-tea.txt").unlink()
        assert counts(running.summary()) == {"removed": 1}
        assert limpid("documents", "--json").json["total"] == 4

        (corpus / ".hidden.txt").write_text("Hidden files are none of its business.")
        assert running.is_silent()
        assert running.end() == 0
        assert not [line for line in running.said if "Traceback" in line]

    def test_a_bad_file_is_told_once_and_ends_nothing(self, corpus: Path, watch: Callable[..., Watch]) -> None:
        running = watch("docs")
        running.summary()
        (corpus / "bad.txt").write_bytes(bytes(range(256)) * 20)
        assert counts(running.summary()) == {"failed": 1}
        (corpus / "good.txt").write_text("Good files are still followed.")
        assert counts(running.summary()) == {"new": 1, "failed": 1}
        assert running.end(signal.SIGTERM) == 0

    def test_an_index_inside_the_watched_folder_is_no_change(self, corpus: Path, watch: Callable[..., Watch]) -> None:
        running = watch(".", "--index", "corpus-index")
        assert counts(running.summary()) == {"new": 4}
        assert running.is_silent(3)

    def test_a_single_file_that_an_editor_replaces(self, corpus: Path, watch: Callable[..., Watch]) -> None:
        running = watch("docs/bread.txt")
        assert counts(running.summary()) == {"new": 1}
        (corpus / "draft").write_text("Rye bread needs sourdough because rye has little gluten.")
        os.replace(corpus / "draft", corpus / "bread.txt")
        assert counts(running.summary()) == {"updated": 1}

    def test_a_folder_that_goes_and_comes_back(self, corpus: Path, watch: Callable[..., Watch]) -> None:
        """It may be a disk that was unmounted: nothing is removed for it."""
        running = watch("docs")
        running.summary()
        shutil.move(corpus, corpus.with_name("away"))
        deadline = time.monotonic() + PATIENCE_S
        while not any("Trying again" in line for line in running.said):
            assert time.monotonic() < deadline, running.said
            time.sleep(0.1)
        shutil.move(corpus.with_name("away"), corpus)
        (corpus / "late.txt").write_text("The last straw breaks the camel's back.")
        assert counts(running.summary()) == {"new": 1}

    def test_what_can_not_start_says_so(self, limpid: Command, corpus: Path) -> None:
        assert limpid("ingest", "nowhere", "--watch").code == 3
        both = limpid("ingest", corpus, "--watch", "--dry-run")
        assert (both.code, "give one of them" in both.err) == (2, True)


class TestConcerns:
    def test_folders_files_and_globs(self, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write("docs/a.md", "a")
        write("one/b.md", "b")
        monkeypatch.chdir(tmp_path)
        watched = Watched.of(["docs", "one/b.md", "deep/*/c?.md"])
        assert watched.roots == [tmp_path / "docs", tmp_path / "deep", tmp_path / "one"]
        for name in ("docs/new/x.md", "docs/.limpidignore", "one/b.md", "one/b.md.meta.json", "deep/x/c1.md"):
            assert watched.concerns(tmp_path / name), name
        for name in ("one/c.md", "docs/.git/HEAD", "docs/.x.swp", "elsewhere/a.md"):
            assert not watched.concerns(tmp_path / name), name

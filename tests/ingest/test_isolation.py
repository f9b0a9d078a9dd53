"""Extraction in child processes: whatever a parser does, it costs that document and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import DependencyError
from core.settings import Settings
from ingest import child, isolation
from ingest.extract import Extracted
from ingest.isolation import Extractor, Limits
from ingest.sources.items import Failure, Source

ROOT = Path(__file__).parents[2]
MISBEHAVING = "tests.ingest.misbehaving:load"
LIMITS = Limits(timeout_s=20, memory_mb=300)


def source(data: str, name: str = "a", form: str = "html") -> Source:
    return Source(name, f"file:///{name}", name, form, data.encode(), "", len(data))


def extract(*items: Source | Failure, limits: Limits = LIMITS, n_children: int = 1) -> list[str]:
    """What comes of the items: a document's text, or the reason why there is none."""
    with Extractor(limits, n_children, MISBEHAVING) as extractor:
        pairs = list(extractor.extract(items))
    assert [item for item, _ in pairs] == list(items)
    return [said(result) for _, result in pairs]


def said(result: Extracted | Failure) -> str:
    return result.document.text if isinstance(result, Extracted) else result.reason


def is_running(process_id: int) -> bool:
    """Whether a process runs; a zombie counts, as nobody has waited for it."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_the_real_extraction_is_the_same_in_a_child():
    page = source("<title>Tides</title><h1>High</h1><p>The tide is high at noon.</p>")
    with Extractor(LIMITS) as extractor:
        [(_, result)] = extractor.extract([page])
    assert isinstance(result, Extracted)
    assert result.document.text == "# High\n\nThe tide is high at noon."
    assert [block.kind for block in result.blocks.blocks] == ["heading", "paragraph"]
    assert result.blocks.headings_at(10) == ("High",)


def test_results_come_in_the_order_of_the_items():
    failed = Failure("file:///gone", "can't be read")
    items = [source("wait slow", "1"), source("say quick", "2"), failed, source("say plain", "3", "text")]
    assert extract(*items, n_children=3) == ["slow", "quick", "can't be read", "plain"]


@pytest.mark.parametrize("form", sorted(isolation.READ_HERE))
def test_what_needs_no_parser_starts_no_process(form: str):
    assert extract(source("pid ", form=form)) == [str(os.getpid())]


def test_everything_else_gets_one():
    first, second = extract(source("pid ", "1"), source("pid ", "2", "pdf"))
    assert first == second != str(os.getpid())


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("segfault", "crashes its parser (Segmentation fault). Repair it, or convert it to another format."),
        ("kill", "crashes its parser (Killed). Repair it, or convert it to another format."),
        ("exit", "crashes its parser (exit status 3). Repair it, or convert it to another format."),
        ("quit", "can't be read, its parser failed: SystemExit: enough"),
        ("panic", "can't be read, its parser failed: Panic: index out of bounds"),
        ("raise", "can't be read, its parser failed: ZeroDivisionError: a bug over two lines"),
        ("grow", "needs more than 300 MiB of memory to be read; raise extract_memory_mb"),
        ("abort", "needs more than 300 MiB of memory to be read; raise extract_memory_mb"),
        ("say " + "long " * 300_000, "holds 1,500,000 characters of text, more than the limit of 1,048,576; "),
    ],
)
def test_a_parser_that_fails_loses_one_document(document: str, reason: str):
    limits = Limits(timeout_s=20, memory_mb=300, max_text_mb=1)
    before, failed, after = extract(source("say before"), source(document), source("say after"), limits=limits)
    assert (before, after) == ("before", "after")
    assert failed.startswith(reason)
    assert reason.endswith("; ") or failed == reason


def test_a_parser_that_hangs_is_ended_at_the_limit():
    began = time.monotonic()
    results = extract(source("hang"), source("say after"), limits=Limits(timeout_s=0.5))
    assert results == ["takes longer than 0.5 s to be read; raise extract_timeout_s", "after"]
    assert time.monotonic() - began < 10


def test_text_read_in_this_process_fails_alone_too():
    assert extract(source("raise", form="text"), source("say after", form="text")) == [
        "can't be read, its parser failed: ZeroDivisionError: a bug over two lines",
        "after",
    ]


def test_memory_is_given_back_to_the_next_document():
    """The limit is that of a document, not of all that a child has read."""
    assert extract(source("grow"), source("say " + "a" * 50_000_000), source("say b"))[2] == "b"


def test_a_parser_has_less_stack_here_than_in_a_thread_of_the_parent():
    """A text nested so deeply that parsing it overflows the stack must fail here rather than there."""
    assert int(*extract(source("stack "))) == child.MAX_STACK_BYTES < 8 * 2**20


def test_what_parsers_print_reaches_nobody(capfd: pytest.CaptureFixture[str]):
    assert extract(source("print x")) == ["x"]
    assert capfd.readouterr() == ("", "")


def test_a_child_that_has_grown_is_replaced():
    grown, fresh = extract(source("leak", "1"), source("pid ", "2"), limits=Limits(memory_mb=1000))
    assert grown != fresh


def test_a_child_that_has_done_its_share_is_replaced():
    done = extract(*(source("pid ", str(n)) for n in range(child.MAX_DOCUMENTS + 2)))
    assert len(set(done)) == 2
    assert done[child.MAX_DOCUMENTS - 1] == done[0] != done[child.MAX_DOCUMENTS]


@pytest.mark.parametrize("ending", ["say end", "segfault", "hang"])
def test_nothing_is_left_behind(ending: str):
    """Neither a child, nor what it started, nor its files; however it ends."""
    litter, _ = extract(source("litter "), source(ending), limits=Limits(timeout_s=0.5))
    path, grandchild, parser = litter.split()
    assert not is_running(int(parser))
    assert wait_for(lambda: not is_running(int(grandchild)))
    assert not Path(path).parent.exists()


def test_temporary_files_lie_in_a_private_folder():
    """A library that a parser unpacks and runs must not lie where another user could have put it."""
    with Extractor(LIMITS, 1, MISBEHAVING) as extractor:
        [(_, result)] = extractor.extract([source("litter ")])
        folder = Path(said(result).split()[0]).parent
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.parent == Path(tempfile.gettempdir())


def test_leaving_ends_what_is_in_work(tmp_path: Path):
    note = tmp_path / "pid"
    began = time.monotonic()
    with Extractor(LIMITS, 2, MISBEHAVING) as extractor:
        results = extractor.extract([source("say first"), source(f"hold {note}"), source("hang")])
        assert said(next(results)[1]) == "first"
        assert wait_for(lambda: note.exists() and note.read_text() != "")
    assert not is_running(int(note.read_text()))
    assert time.monotonic() - began < 10


def test_reading_ahead_is_bounded_by_number():
    taken = 0

    def items() -> Iterator[Source]:
        nonlocal taken
        for taken in range(1, 1000):  # noqa: B007
            yield source("say x")

    with Extractor(LIMITS, 1, MISBEHAVING) as extractor:
        next(extractor.extract(items()))
    assert taken == isolation.WINDOW_DOCUMENTS


def test_reading_ahead_is_bounded_by_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(isolation, "WINDOW_BYTES", 3000)
    taken = 0

    def items() -> Iterator[Source]:
        nonlocal taken
        for taken in range(1, 1000):  # noqa: B007
            yield source("say " + "x" * 1000)

    with Extractor(LIMITS, 1, MISBEHAVING) as extractor:
        next(extractor.extract(items()))
    assert taken <= 3


def test_plain_text_is_not_read_ahead():
    taken = 0

    def items() -> Iterator[Source]:
        nonlocal taken
        for taken in range(1, 1000):  # noqa: B007
            yield source("say x", form="text")

    with Extractor(LIMITS, 1, MISBEHAVING) as extractor:
        results = extractor.extract(items())
        next(results)
        assert taken == 1
        next(results)
        assert taken == 2


def test_a_folder_with_packages_of_our_names_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("ingest", "core", "pickle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not mine')")
    monkeypatch.chdir(tmp_path)
    assert extract(source("say x")) == ["x"]


def test_a_child_outlives_the_thread_that_started_it():
    done: list[str] = []
    with Extractor(LIMITS, 1, MISBEHAVING) as extractor:
        for _ in range(2):
            thread = threading.Thread(
                target=lambda: done.extend(said(result) for _, result in extractor.extract([source("pid ")]))
            )
            thread.start()
            thread.join()
    assert len(done) == 2
    assert done[0] == done[1] != str(os.getpid())


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
def test_a_child_that_cannot_start_is_an_error_of_its_own(program: str, monkeypatch: pytest.MonkeyPatch):
    """The documents are not to blame, so they aren't listed as failed."""
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(DependencyError, match="can't be started"):
        extract(source("say x"))


def test_limits_come_from_the_settings():
    settings = Settings(extract_timeout_s=7, extract_memory_mb=512, max_text_mb=3)
    assert Limits.of(settings) == Limits(timeout_s=7, memory_mb=512, max_text_mb=3)
    assert Limits.of(Settings()) == Limits()


def test_folders_of_killed_runs_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"limpid-extract-{gone.pid}-a", f"limpid-extract-{os.getppid()}-b", "limpid-extract-c"):
        (tmp_path / name).mkdir()
    extract(source("say x"))
    assert {path.name for path in tmp_path.iterdir()} == {f"limpid-extract-{os.getppid()}-b", "limpid-extract-c"}


PARENT = """
import sys
from tests.ingest.test_isolation import LIMITS, MISBEHAVING, Extractor, source
try:
    with Extractor(LIMITS, 1, MISBEHAVING) as extractor:
        list(extractor.extract([source(f"hold {sys.argv[1]}")]))
except KeyboardInterrupt:
    sys.exit(7)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_children_end_with_their_parent(ending: signal.Signals, tmp_path: Path):
    """Killed, or interrupted from the terminal, which reaches the whole process group; nobody prints a traceback."""
    note = tmp_path / "pid"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(note)],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert wait_for(lambda: note.exists() and note.read_text() != "")
    os.killpg(parent.pid, ending)
    output, _ = parent.communicate(timeout=20)
    assert output == b""
    assert parent.returncode == (7 if ending == signal.SIGINT else -ending)
    assert wait_for(lambda: not is_running(int(note.read_text())))

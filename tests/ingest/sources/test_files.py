"""Reading files that won't hold still, aren't files, or are gone."""

import os
import socket

import pytest

from core.errors import InputError
from ingest.sources import Failure, Source, discover, files
from ingest.sources.files import open_file, read_file


@pytest.fixture
def at_each_read(monkeypatch):
    """Runs an action right after a file was opened, that is while it is read; counts how often."""

    def install(action, times: int):
        calls = []
        really_open = files.open_file

        def open_then_change(path):
            file = really_open(path)
            if len(calls) < times:
                calls.append(path)
                action(path)
            return file

        monkeypatch.setattr(files, "open_file", open_then_change)
        return calls

    return install


def append(path):
    with open(path, "ab") as file:
        file.write(b" more")


def truncate(path):
    os.truncate(path, 2)


def rewrite(path):
    """The same size, another time."""
    with open(path, "r+b") as file:
        file.write(b"T")
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [append, truncate, rewrite])
def test_a_file_that_changes_is_read_again(tmp_path, at_each_read, change):
    path = tmp_path / "a.txt"
    path.write_bytes(b"text")
    calls = at_each_read(change, times=1)
    assert read_file(str(path), 100) == path.read_bytes()
    assert len(calls) == 1


def test_a_file_that_keeps_changing_fails_alone(tmp_path, at_each_read):
    (tmp_path / "a.txt").write_bytes(b"text")
    at_each_read(append, times=2)
    (tmp_path / "b.txt").write_bytes(b"text")
    failure, source = discover([str(tmp_path)])
    assert isinstance(source, Source)
    assert failure.reason == "changed while it was read. Ingest it again when nothing writes to it."


@pytest.mark.parametrize(
    ("name", "line"), [("corpus.jsonl", b'{"_id": "%d", "text": "%s"}\n'), ("rows.csv", b"%d,%s\n")]
)
def test_a_stream_that_changes_keeps_what_was_read_and_is_a_failure(tmp_path, name, line):
    path = tmp_path / name
    path.write_bytes(b"key,body\n" * name.endswith("csv") + b"".join(line % (i, b"x" * 50_000) for i in range(20)))
    sources = discover([str(path)], fields={"id": "key", "text": "body"} if name.endswith("csv") else None)
    stream = iter(sources)
    assert next(stream).id == "0"
    append(path)
    *rest, failure = stream
    assert [item.id for item in rest if isinstance(item, Source)][:18] == [str(i) for i in range(1, 19)]
    assert failure.uri == path.as_uri()
    assert "changed while" in failure.reason
    assert not sources.is_vanished("gone", path.as_uri() + "#gone")


def test_what_is_no_file_never_blocks(tmp_path):
    os.mkfifo(tmp_path / "fifo.txt")
    (tmp_path / "null.txt").symlink_to("/dev/null")
    (tmp_path / "zero.zip").symlink_to("/dev/zero")
    (tmp_path / "tty.jsonl").symlink_to("/dev/tty")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.txt"))
        items = list(discover([str(tmp_path)]))
    assert [item.reason for item in items] == ["not a regular file"] * 5


def test_a_fifo_that_takes_the_files_place_never_blocks(tmp_path, monkeypatch):
    """Between the look at the name and its opening."""
    file = tmp_path / "file.txt"
    file.write_text("text")
    os.mkfifo(tmp_path / "fifo.txt")
    really_stat = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **options: really_stat(file, **options))
    with pytest.raises(InputError, match="not a regular file"):
        open_file(str(tmp_path / "fifo.txt"))


def test_files_that_vanish_after_they_were_found(tmp_path):
    for name in ("a.txt", "b.zip", "c.jsonl", "d.txt"):
        (tmp_path / name).write_bytes(b"text")
    sources = discover([str(tmp_path)])
    for name in ("a.txt", "b.zip", "c.jsonl"):
        (tmp_path / name).unlink()
    items = list(sources)
    assert [item.reason for item in items if isinstance(item, Failure)] == ["a link to nothing, or gone meanwhile"] * 3
    assert [item.name for item in items if isinstance(item, Source)] == ["d.txt"]


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(2**40)
    [failure] = discover([str(path)])
    assert failure.reason == "file of 1048576.0 MiB exceeds the limit of 100 MiB; raise max_document_mb"

"""Which files and lines become sources, and what is said of the rest."""

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from core.errors import InputError, NotFound
from ingest.sources import Failure, Source, discover, read_paths
from tests.growth import growth


def write(path: Path, content: str | bytes = "Some text.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def sort(paths, **options) -> tuple[list[Source], list[Failure]]:
    items = list(discover([str(path) for path in paths], **options))
    return [x for x in items if isinstance(x, Source)], [x for x in items if isinstance(x, Failure)]


def names(paths, **options) -> list[str]:
    return [source.name for source in sort(paths, **options)[0]]


def corpus(tmp_path: Path, *lines: str | bytes | dict) -> Path:
    encoded = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    return write(tmp_path / "corpus.jsonl", b"\n".join(x.encode() if isinstance(x, str) else x for x in encoded))


def test_a_file_is_known_by_its_address_and_content(tmp_path, monkeypatch):
    write(tmp_path / "a b.txt", "Hällo")
    monkeypatch.chdir(tmp_path)
    [source], failures = sort(["a b.txt"])
    assert source.id == source.uri == (tmp_path / "a b.txt").as_uri()
    assert source.data == "Hällo".encode()
    assert source.content_hash == hashlib.sha256("Hällo".encode()).hexdigest()
    assert (source.format, source.size_bytes, failures) == ("text", 6, [])


def test_folders_are_read_in_order_without_hidden_and_unsupported_files(tmp_path):
    for name in ("b.md", "a.txt", "sub/c.HTML", "sub/.hidden.txt", ".git/d.txt", "e.png", "Makefile", "f.png"):
        write(tmp_path / name)
    sources = discover([str(tmp_path)])
    assert [source.name for source in sources] == ["a.txt", "b.md", "c.HTML"]
    assert sources.skipped == {"unsupported type .png": 2, "no suffix": 1, "hidden": 2}
    assert sources.size_bytes == 30


def test_a_named_file_of_unknown_kind_is_tried_as_text(tmp_path):
    [source], _ = sort([write(tmp_path / "notes.xyz")])
    assert source.format == "text"


def test_globs(tmp_path):
    for name in ("a.md", "b.txt", "x/c.md", "x/y/d.md", "x/y/e.xyz", "x/.h/f.md"):
        write(tmp_path / name)
    assert names([tmp_path / "*.md"]) == ["a.md"]
    assert names([tmp_path / "**/*.md"]) == ["a.md", "c.md", "d.md"]
    assert names([tmp_path / "x/**"]) == ["c.md", "d.md"]
    assert names([tmp_path / "**/*.xyz"]) == ["e.xyz"]
    assert names([tmp_path / "x/[a-c].md", tmp_path / "?.md"]) == ["c.md", "a.md"]


def test_a_file_whose_name_looks_like_a_glob_is_taken_literally(tmp_path):
    write(tmp_path / "a.md")
    assert names([write(tmp_path / "[a].md")]) == ["[a].md"]


def test_each_file_is_taken_once_however_it_is_reached(tmp_path):
    file = write(tmp_path / "a.txt")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.txt").symlink_to(file)
    (tmp_path / "self.txt").symlink_to(tmp_path / "self.txt")
    sources, failures = sort([file, tmp_path, tmp_path / "*.txt"])
    assert [source.name for source in sources] == ["a.txt"]
    assert [failure.reason for failure in failures] == ["a link to nothing, or gone meanwhile"]


@pytest.mark.parametrize("name", ["missing.txt", "missing/", "mis\0sing", " ", ""])
def test_a_missing_path_is_an_error(tmp_path, name):
    with pytest.raises((NotFound, InputError), match=r"exist|not a path"):
        discover([f"{tmp_path}/{name}" if name.strip() and "\0" not in name else name])


def test_a_broken_link_is_an_error_when_named(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(NotFound, match="link"):
        discover([str(tmp_path / "link")])


@pytest.mark.parametrize("name", ["", "*.txt", "**/*"])
def test_a_folder_or_glob_without_supported_files_is_an_error(tmp_path, name):
    write(tmp_path / "a.png")
    with pytest.raises(InputError, match="supported"):
        discover([str(tmp_path / name)])


def test_no_path_at_all_is_an_error():
    with pytest.raises(InputError):
        discover([])
    with pytest.raises(InputError, match="stdin"):
        read_paths(["\n", "  \n"])


def test_paths_are_read_line_by_line():
    assert read_paths(["a b.txt\n", "\n", "c.txt\r\n", "d"]) == ["a b.txt", "c.txt", "d"]


def test_empty_and_large_files_fail_alone(tmp_path):
    write(tmp_path / "a.txt", "")
    write(tmp_path / "b.txt", " \n\t")
    write(tmp_path / "c.txt", "x" * 2_000_000)
    write(tmp_path / "d.txt", "fine")
    sources, failures = sort([tmp_path], max_document_bytes=2**20)
    assert [source.name for source in sources] == ["d.txt"]
    assert [failure.reason for failure in failures] == [
        "empty file",
        "holds only whitespace",
        "file of 1.9 MiB exceeds the limit of 1 MiB; raise max_document_mb",
    ]


def test_empty_source_files_are_no_failures(tmp_path):
    write(tmp_path / "__init__.py", "")
    write(tmp_path / "a.py", "x = 1")
    sources = discover([str(tmp_path)])
    assert [source.name for source in sources] == ["a.py"]
    assert sources.skipped == {"empty source files": 1}


def test_what_may_not_be_read_fails_alone(tmp_path, monkeypatch):
    write(tmp_path / "a.txt")
    locked = write(tmp_path / "b.txt")
    os.mkfifo(tmp_path / "c.txt")
    locked.chmod(0)
    really_open = os.open

    def deny(path, *args, **kwargs):  # root may read anything, so the mode alone proves nothing
        if path == str(locked):
            raise PermissionError(13, "Permission denied")
        return really_open(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", deny)
    sources, failures = sort([tmp_path])
    assert [source.name for source in sources] == ["a.txt"]
    assert failures == [
        Failure(locked.as_uri(), "can't be read: Permission denied"),
        Failure((tmp_path / "c.txt").as_uri(), "not a regular file"),
    ]


def test_beir_lines(tmp_path):
    path = corpus(
        tmp_path,
        b"\xef\xbb\xbf" + json.dumps({"_id": "d1", "title": "T", "text": "x", "metadata": {"year": 3}}).encode(),
        "",
        {"_id": 7, "text": "no title"},
    )
    [first, second], failures = sort([path])
    assert (first.id, first.uri, first.format) == ("d1", path.as_uri() + "#d1", "beir")
    assert json.loads(first.data) == {"title": "T", "text": "x", "metadata": {"year": 3}}
    assert (second.id, failures) == ("7", [])


def test_the_hash_of_a_beir_line_is_that_of_its_meaning(tmp_path):
    [one], _ = sort([corpus(tmp_path / "1", '{"_id": "a", "title": "T", "text": "é", "url": "x"}')])
    [two], _ = sort([corpus(tmp_path / "2", r'{"text":"\u00e9","title":"T","_id":"a","metadata":{}}')])
    assert one.content_hash == two.content_hash


def test_bad_beir_lines_fail_alone(tmp_path):
    path = corpus(
        tmp_path,
        {"_id": "a", "text": "fine"},
        "{not json",
        "[1]",
        {"text": "no id"},
        {"_id": "b"},
        {"_id": "a", "text": "again"},
        b'{"_id": "c", "text": "\xff"}',
        r'{"_id": "d", "text": "\ud800"}',
        {"_id": "e", "text": "x" * 3000},
        {"_id": "f", "text": "fine", "metadata": 3},
        {"_id": "g", "text": "", "title": " "},
        "[" * 100_000,
        '{"_id": "h", "text": "x", "metadata": {"n": NaN}}',
        {"_id": "z", "text": "fine"},
    )
    sources, failures = sort([path], max_document_bytes=2000)
    assert [source.id for source in sources] == ["a", "z"]
    uri = path.as_uri()
    found = {failure.reason.split(":")[0]: failure.reason for failure in failures}
    for line, reason in {
        2: "isn't JSON",
        3: "isn't a JSON object but a list",
        4: "lacks `_id`",
        5: "lacks `text`",
        6: f"its id 'a' was already read from {uri}",
        7: "byte 22 isn't valid UTF-8",
        8: "can't be stored",
        9: "exceeds the limit",
        10: "`metadata` that isn't an object",
        11: "neither text nor title",
        12: "exceeds the limit",
        13: "can't be stored",
    }.items():
        assert reason in found[f"line {line}"]
    assert len(failures) == 12
    assert Failure(uri + "#a", found["line 6"]) in failures


def test_a_jsonl_of_another_kind_fails_once(tmp_path):
    path = corpus(tmp_path, *[{"event": i} for i in range(1000)])
    sources, [failure] = sort([path])
    assert sources == []
    assert "not a BEIR corpus" in failure.reason
    assert "--map" in failure.reason
    assert len(sort([corpus(tmp_path / "short", {"event": 1}, {"event": 2})])[1]) == 1


def test_an_empty_jsonl_fails(tmp_path):
    assert [failure.reason for failure in sort([corpus(tmp_path, "")])[1]] == ["holds no records"]
    assert [failure.reason for failure in sort([corpus(tmp_path, "", " ", "")])[1]] == ["holds no records"]


def test_the_queries_of_a_beir_folder_are_not_documents(tmp_path):
    corpus(tmp_path, {"_id": "a", "text": "fine"})
    write(tmp_path / "queries.jsonl", '{"_id": "q", "text": "what"}')
    sources = discover([str(tmp_path)])
    assert [source.id for source in sources] == ["a"]
    assert sources.skipped == {"queries.jsonl beside a BEIR corpus": 1}


def test_lines_are_streamed(tmp_path):
    path = corpus(tmp_path, *[{"_id": str(i), "text": "x"} for i in range(5)])
    stream = iter(discover([str(path)]))
    assert next(stream).id == "0"
    path.write_text("")
    assert next(stream).id == "1"


def exhaust(*paths: Path):
    sources = discover([str(path) for path in paths])
    list(sources)
    return sources


def test_what_vanished_from_a_folder(tmp_path):
    write(tmp_path / "a/kept.txt")
    write(tmp_path / "a/empty.txt", "")
    corpus(tmp_path / "a", {"_id": "kept", "text": "x"}, {"_id": "bad"})
    sources = exhaust(tmp_path / "a")
    folder, jsonl = (tmp_path / "a").as_uri(), (tmp_path / "a/corpus.jsonl").as_uri()
    gone = [folder + "/gone.txt", folder + "/sub/gone.md", folder + "/other.jsonl#x"]
    present = [folder + "/kept.txt", folder + "/empty.txt", folder + "bc/x.txt", folder + "/tool.xyz"]
    assert [uri for uri in gone + present if sources.is_vanished(uri, uri)] == gone
    assert not sources.is_vanished("kept", jsonl + "#kept")
    assert not sources.is_vanished("gone", jsonl + "#gone"), "a line that failed without an id may be this one"


def test_what_vanished_from_a_corpus(tmp_path):
    path = corpus(tmp_path, {"_id": "kept", "text": "x"})
    sources = exhaust(path)
    assert sources.is_vanished("gone", path.as_uri() + "#gone")
    assert not sources.is_vanished("kept", path.as_uri() + "#kept")
    assert not sources.is_vanished("other", (tmp_path / "corpus.jsonl2").as_uri() + "#other")


def test_what_vanished_from_a_glob(tmp_path):
    write(tmp_path / "x/a.md")
    sources = exhaust(tmp_path / "**" / "*.md")
    root = tmp_path.as_uri()
    assert sources.is_vanished("1", root + "/x/y/gone.md")
    assert not sources.is_vanished("2", root + "/x/gone.txt")


def test_hidden_and_unwanted_folders_are_not_entered_for_a_glob(tmp_path, monkeypatch):
    write(tmp_path / "a/x.md")
    write(tmp_path / "b/c/y.md")
    write(tmp_path / ".git/z.md")
    listed = []
    really_scan = os.scandir

    def scan(path):
        listed.append(Path(path).name)
        return really_scan(path)

    monkeypatch.setattr(os, "scandir", scan)
    assert names([tmp_path / "*/*.md"]) == ["x.md"]
    assert listed == [tmp_path.name, "a", "b"]


def test_loops_of_links_end(tmp_path):
    write(tmp_path / "a/b/x.md")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/c").symlink_to(tmp_path / "a/b", target_is_directory=True)
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    assert names([tmp_path]) == ["x.md"]


def test_folders_deeper_than_python_recurses(tmp_path):
    before = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1500):
            os.mkdir("d")
            os.chdir("d")
        Path("x.md").write_text("deep")
        os.chdir(before)
        assert names([tmp_path / "**" / "*.md"]) == names([tmp_path]) == ["x.md"]
    finally:
        os.chdir(before)
        subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # which pytest's own tidying can't


def test_judgements_beside_a_corpus_are_not_documents(tmp_path):
    corpus(tmp_path, {"_id": "a", "text": "fine"})
    write(tmp_path / "qrels/test.tsv", "query\tdocument\tscore")
    write(tmp_path / "qrels.tsv", "query\tdocument\tscore")
    sources = discover([str(tmp_path)])
    assert [source.id for source in sources] == ["a"]
    assert sources.skipped == {"qrels beside a BEIR corpus": 1, "qrels.tsv beside a BEIR corpus": 1}


def test_ten_thousand_unchanged_files_are_read_in_linear_time(tmp_path):
    """What an ingest of an unchanged corpus costs before it compares hashes: about 1 s on one core."""
    for number in range(10_000):
        if number % 100 == 0:
            (tmp_path / f"{number:05}").mkdir()
        (tmp_path / f"{number // 100 * 100:05}" / f"{number:05}.md").write_bytes(b"# A note\n\n" + b"Some words. " * 80)
    folders = sorted(map(str, tmp_path.iterdir()))
    uri = (tmp_path / "00000/gone.md").as_uri()

    def read(n_files: int) -> None:
        sources = discover(folders[: n_files // 100])
        assert sum(isinstance(item, Source) for item in sources) == n_files
        assert sum(sources.is_vanished(uri, uri) for _ in range(n_files)) == n_files

    assert growth(read, 2_500) < 9

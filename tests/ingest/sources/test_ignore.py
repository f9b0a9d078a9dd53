"""Ignore rules: what git leaves out, Limpid leaves out, decided folder by folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InputError
from ingest.sources import Failure, Source, discover
from ingest.sources.ignore import IgnoreRules, parse_pattern

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git isn't installed")


def write(path: Path, content: str | bytes = "Some text.") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(root: Path) -> list[str]:
    return [Path(item.uri).relative_to(root.as_uri()).as_posix() for item in discover([str(root)])]


def test_ignored_files_are_left_out_and_counted(tmp_path):
    for name in ("a.md", "draft.md", "build/x.md", "build/y/z.md", "docs/draft.md", "docs/keep/b.md"):
        write(tmp_path / name)
    write(tmp_path / ".limpidignore", "# what nobody should find\n\ndraft.md\nbuild/\n")
    sources = discover([str(tmp_path)])
    assert [source.name for source in sources] == ["a.md", "b.md"]
    assert sources.skipped == {"files that a .limpidignore names": 2, "folders that a .limpidignore names": 1}


def test_a_deeper_file_overrides_a_higher_one(tmp_path):
    for name in ("a.md", "x/a.md", "x/y/a.md", "z/a.md"):
        write(tmp_path / name)
    write(tmp_path / ".limpidignore", "a.md\n")
    write(tmp_path / "x/.limpidignore", "!a.md\n/y/a.md\n")
    assert names(tmp_path) == ["x/a.md"]


def test_what_lies_in_an_ignored_folder_stays_ignored(tmp_path):
    write(tmp_path / "build/keep.md")
    write(tmp_path / "a.md")
    write(tmp_path / ".limpidignore", "build/\n!build/keep.md\n")
    assert names(tmp_path) == ["a.md"]


def test_everything_but_one_kind(tmp_path):
    for name in ("a.md", "a.txt", "x/b.md", "x/b.txt"):
        write(tmp_path / name)
    write(tmp_path / ".limpidignore", "*\n!*/\n!*.md\n")
    assert names(tmp_path) == ["a.md", "x/b.md"]


def test_globs_obey_the_rules_and_named_files_do_not(tmp_path):
    write(tmp_path / "x/a.md")
    secret = write(tmp_path / "x/b.md")
    write(tmp_path / "x/.limpidignore", "b.md")
    assert [source.name for source in discover([str(tmp_path / "*/*.md")])] == ["a.md"]
    assert [source.name for source in discover([str(secret)])] == ["b.md"]


def test_names_with_newlines_and_invalid_unicode_are_matched(tmp_path):
    for name in ("a\nb/secret.md", "secret.md\n.md", os.fsdecode(b"\xff.md"), "c.md"):
        write(tmp_path / name)
    write(tmp_path / ".limpidignore", b"secret.md\r\n\xff*\n")
    assert [source.name for source in discover([str(tmp_path)])] == ["c.md", "secret.md .md"]


@pytest.mark.parametrize("kind", ["fifo", "huge"])
def test_a_folder_whose_rules_cannot_be_read_is_not_entered(tmp_path, kind):
    write(tmp_path / "a.md")
    write(tmp_path / "x/secret.md")
    rules = tmp_path / "x" / ".limpidignore"
    if kind == "fifo":
        os.mkfifo(rules)
    else:
        write(rules, b"a\n" * 2**20)
    sources = discover([str(tmp_path)])
    items = list(sources)
    assert [item.name for item in items if isinstance(item, Source)] == ["a.md"]
    [failure] = [item for item in items if isinstance(item, Failure)]
    assert failure.uri == (tmp_path / "x").as_uri()
    assert ".limpidignore" in failure.reason
    secret = (tmp_path / "x/secret.md").as_uri()
    assert not sources.is_vanished(secret, secret), "what couldn't be looked at hasn't vanished"


def test_what_is_ignored_now_has_vanished(tmp_path):
    kept, dropped = write(tmp_path / "a.md").as_uri(), write(tmp_path / "b.md").as_uri()
    write(tmp_path / ".limpidignore", "b.md")
    sources = discover([str(tmp_path)])
    list(sources)
    assert [uri for uri in (kept, dropped) if sources.is_vanished(uri, uri)] == [dropped]


def test_a_file_without_patterns_changes_nothing(tmp_path):
    write(tmp_path / "a.md")
    write(tmp_path / ".limpidignore", "\n \n#a.md\n/\n!\n[a.md\na.md\\\n")
    assert names(tmp_path) == ["a.md"]


def test_rules_of_a_missing_file_are_an_error(tmp_path):
    with pytest.raises(InputError):
        IgnoreRules().extended("", str(tmp_path / "none"))


PATTERN_PARTS = ["a", "b", "ab", "*", "?", "**", "/", "[ab]", "[!a]", "[^b]", "[a-b]", "[]a]", "\\a", "\\*", " ", "\\ ",
                 ".", "!", "#", "[[:alpha:]]", "[b-a]", "[", "]", "\\", "-"]  # fmt: skip
PATTERNS = st.lists(
    st.lists(st.sampled_from(PATTERN_PARTS), min_size=1, max_size=6).map("".join), min_size=1, max_size=5
)
TREE = ["a", "b", "ab", "ba.b", "a b", "b ", "!a", "#b", "x/a", "x/b", "x/ab/a", "x/ab/b", "x/ab/c/a", "x/-", "a*", 
        "x/]", "b-/a/b", "b-/a/ab", "b-/b/a/b", "b-/b/b/ab"]  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "--quiet", str(root)], check=True, env=git_environment(root))
    for name in TREE:
        write(root / "tree" / name)
    return root


def git_environment(root: Path) -> dict[str, str]:
    """No rules of the user's or the machine's."""
    return {**os.environ, "HOME": str(root), "XDG_CONFIG_HOME": str(root), "GIT_CONFIG_NOSYSTEM": "1"}


def is_ignored(rules: dict[str, IgnoreRules], name: str) -> bool:
    """As the walk decides it: a folder that is ignored isn't entered."""
    parts = name.split("/")
    for end in range(1, len(parts) + 1):
        parent = "/".join(parts[: end - 1])
        if rules.get(parent, rules[""]).ignore("/".join(parts[:end]), is_folder=end < len(parts)):
            return True
    return False


@needs_git
@settings(max_examples=60, deadline=None)
@given(patterns=PATTERNS, deeper=PATTERNS)
def test_the_rules_are_those_of_git(repository, patterns, deeper):
    tree = repository / "tree"
    for folder, lines in (("", patterns), ("x/", deeper)):
        text = "\n".join(lines)
        write(tree / folder / ".gitignore", text)
        write(tree / folder / ".limpidignore", text)
    top = IgnoreRules().extended("", str(tree / ".limpidignore"))
    below = top.extended("x/", str(tree / "x" / ".limpidignore"))
    rules = {"": top, **dict.fromkeys(("x", "x/ab", "x/ab/c"), below)}
    asked = "\0".join(TREE) + "\0"
    command = ["git", "check-ignore", "--no-index", "--stdin", "-z"]
    done = subprocess.run(
        command, cwd=tree, input=asked.encode(), capture_output=True, check=False, env=git_environment(repository)
    )
    ignored = set(done.stdout.decode().split("\0")) - {""}
    assert {name for name in TREE if is_ignored(rules, name)} == ignored


@given(st.text(st.characters(exclude_characters="\n"), max_size=30))
def test_any_line_is_a_pattern_or_none(line):
    pattern = parse_pattern(line)
    assert pattern is None or pattern.is_negated == line.startswith("!")

"""Addresses: one for each name, one name for each, whatever bytes it has."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ingest.sources import discover
from ingest.sources.addresses import display_name, enclosing, file_path, file_uri, inner_name, inside, is_gone

NAMES = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name and b"/" not in name).map(os.fsdecode)
PATHS = st.lists(NAMES.filter(lambda name: name not in (".", "..")), min_size=1, max_size=4).map("/".join)


@given(PATHS)
def test_paths_come_back(path):
    uri = file_uri("/" + path)
    assert file_path(uri) == "/" + path
    assert uri.isascii()
    assert uri.isprintable()


@given(PATHS, PATHS, NAMES)
def test_names_inside_come_back(path, member, record):
    archive = file_uri("/" + path)
    uri = inside(archive, member)
    assert (file_path(uri), inner_name(uri)) == ("/" + path, member)
    assert inner_name(inside(uri, record)) == f"{member}/{record}"
    assert uri.isascii()
    assert uri.count("#") == 1
    assert urlsplit(uri).fragment == uri.partition("#")[2]


@given(PATHS, PATHS)
def test_different_names_have_different_addresses(one, two):
    assume(one != two)
    assert file_uri("/" + one) != file_uri("/" + two)
    assert inside("file:///a.zip", one) != inside("file:///a.zip", two)


def test_what_an_address_lies_in():
    assert list(enclosing("file:///a/b.zip#c/d.md")) == [
        "file:///a/b.zip#c/d.md", "file:///a/b.zip#c", "file:///a/b.zip", "file:///a", "file://", "file:/", "file:",
    ]  # fmt: skip


@given(st.binary(max_size=60).map(os.fsdecode))
def test_shown_names_are_one_storable_line(name):
    shown = display_name(name)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert "/" not in shown


def test_shown_names_keep_what_can_be_shown():
    assert display_name("/a/Grüße, 世界 📚.md") == "Grüße, 世界 📚.md"
    assert display_name("a\nb\t.md") == "a b .md"
    assert display_name(os.fsdecode(b"caf\xe9.md")) == "caf\ufffd.md"


@pytest.mark.parametrize("name", [b"a\nb.md", b"caf\xe9.md", b"%41#?.md", b" .md", "🙂.md".encode(), b"a:b;c.md"])
def test_files_of_any_name_are_read(tmp_path, name):
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "wb") as file:
        file.write(b"text")
    [source] = discover([str(tmp_path)])
    assert os.fsencode(file_path(source.uri)) == path
    source.name.encode()
    assert source.uri == source.id
    [again] = discover([os.fsdecode(path)])
    assert again.uri == source.uri


def test_what_is_gone(tmp_path, monkeypatch):
    path = tmp_path / "a b.zip"
    path.write_bytes(b"x")
    uri = path.as_uri()
    assert not is_gone(uri)
    assert not is_gone(uri + "#a.md"), "the archive is there; what it holds is told by reading it"
    assert not is_gone("https://example.org/gone")
    assert not is_gone("inline:42")
    path.unlink()
    assert is_gone(uri)
    assert is_gone(uri + "#a.md")
    assert is_gone(uri + "/below.md")
    path.symlink_to(tmp_path / "nothing")
    assert is_gone(uri)

    def deny(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", deny)
    assert not is_gone(uri), "what can't be looked at may be there"


def test_a_file_in_place_of_a_folder_hides_what_was_below(tmp_path):
    Path(tmp_path / "x").write_text("now a file")
    assert is_gone((tmp_path / "x" / "a.md").as_uri())

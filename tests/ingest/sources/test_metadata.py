"""What users say of their documents: on the command line, in sidecars, and who wins."""

import hashlib
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.filters import parse_filter
from ingest.extract import load
from ingest.sources import Failure, Source, discover
from ingest.sources.metadata import RESERVED, check_metadata, is_value, parse_metadata, parse_value


def write(path: Path, content: str | bytes = "Some text.") -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, **options) -> tuple[list[Source], list[Failure]]:
    items = list(discover([str(path)], **options))
    return [x for x in items if isinstance(x, Source)], [x for x in items if isinstance(x, Failure)]


def test_pairs_are_read_by_what_they_spell():
    pairs = ["year=2024", "score=-0.5", "open=true", "done=false", "lang = de ", "code=007", "version=1.10", "url=a=b",
             'text="2024"', "empty=", "big=99999999999999999999", "float=1e5"]  # fmt: skip
    assert parse_metadata(pairs) == {
        "year": 2024, "score": -0.5, "open": True, "done": False, "lang": "de", "code": "007", "version": "1.10",
        "url": "a=b", "text": "2024", "empty": "", "big": "99999999999999999999", "float": "1e5",
    }  # fmt: skip
    assert parse_metadata(["tag=a", "tag=2", "lang=en"]) == {"tag": ["a", "2"], "lang": "en"}


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_refused_by_name(tmp_path, name):
    with pytest.raises(InputError, match=repr(name)):
        parse_metadata([f"{name}=x"])
    with pytest.raises(InputError, match=repr(name)):
        discover([str(write(tmp_path / "a.txt"))], metadata={name: "x"})
    assert {"format", "source", "document_id", "uri", "page", "headings"} == RESERVED


@pytest.mark.parametrize("pair", ["year", "=x", "a b=x", 'a"b=x', "(a)=x", " =x"])
def test_pairs_that_no_filter_could_name_are_refused(pair):
    with pytest.raises(InputError):
        parse_metadata([pair])


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_every_accepted_name_can_be_filtered_by(name):
    try:
        check_metadata({name: 1})
    except InputError:
        return
    parse_filter(f"{name} = 1", [name])


@given(st.one_of(st.text(max_size=12), st.integers().map(str), st.floats().map(str), st.decimals().map(str)))
def test_a_parsed_value_loses_nothing(text):
    value = parse_value(text)
    assert (str(value).lower() if isinstance(value, bool) else str(value)) == text
    assert isinstance(value, str) or is_value(value)


def test_values_that_cannot_be_stored_are_refused():
    for value in ({"a": 1}, [1, 2], ["a", 1], 2**64, math.nan, math.inf, "\ud800", ["\udfff"]):
        with pytest.raises(InputError, match="'key'"):
            check_metadata({"key": value})
    assert check_metadata({"a": None, "b": ["x"], "c": False, "d": 0.5}) == {"b": ["x"], "c": False, "d": 0.5}


def test_a_sidecar_speaks_of_the_file_beside_it(tmp_path):
    write(tmp_path / "report.md", "# Report\n\nText.")
    write(tmp_path / "other.md")
    write(
        tmp_path / "report.md.meta.json", b'\xef\xbb\xbf{"author": "Ada", "year": 1843, "tags": ["x", "y"], "no": null}'
    )
    sources = discover([str(tmp_path)])
    other, report = sources
    assert report.metadata == {"author": "Ada", "year": 1843, "tags": ["x", "y"]}
    assert other.metadata == {}
    assert sources.skipped == {"metadata of another file (.meta.json)": 1}


def test_the_document_says_less_than_its_sidecar_and_that_less_than_the_command(tmp_path):
    write(tmp_path / "a.md", "---\nlang: de\nauthor: Own\nteam: own\n---\n\nText.")
    write(tmp_path / "a.md.meta.json", json.dumps({"author": "Sidecar", "team": "sidecar"}))
    [source], _ = read(tmp_path / "a.md", metadata={"team": "command", "year": 2024})
    found = load(source).document.metadata
    assert (found["lang"], found["author"], found["team"], found["year"]) == ("de", "Sidecar", "command", 2024)
    assert (found["format"], found["source"]) == ("markdown", "a.md")


def test_a_given_title_replaces_the_documents(tmp_path):
    path = write(tmp_path / "scan0001.md", "# Page 1\n\nText.")
    write(tmp_path / "scan0001.md.meta.json", '{"title": "Annual report"}')
    document = load(read(path)[0][0]).document
    assert (document.title, document.has_own_title) == ("Annual report", True)
    assert "title" not in document.metadata


def test_what_the_user_says_is_part_of_the_content(tmp_path):
    path = write(tmp_path / "a.md")
    sidecar = tmp_path / "a.md.meta.json"

    def content_hash(**metadata) -> str:
        return read(path, metadata=metadata)[0][0].content_hash

    plain = content_hash()
    assert plain == hashlib.sha256(path.read_bytes()).hexdigest()
    said = content_hash(a=1, b="x")
    assert len({plain, said, content_hash(a=2, b="x"), content_hash(a="1", b="x"), content_hash(a=1)}) == 5
    assert content_hash(b="x", a=1) == said
    write(sidecar, '{"b": "x", "a": 1}')
    assert content_hash() == said
    write(sidecar, "{}")
    assert content_hash() == plain
    sidecar.unlink()
    assert content_hash() == plain


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "isn't JSON"),
        ("[1]", "isn't a JSON object but a list"),
        ('{"format": "x"}', "'format'"),
        ('{"a": {"b": 1}}', "'a'"),
        ('{"title": 3}', "'title'"),
        (b'{"a": "\xff"}', "isn't JSON in UTF-8"),
        ("[" * 100_000, "isn't JSON"),
        (" " * 2**21, "exceeds the limit"),
    ],
)
def test_a_broken_sidecar_is_a_failure_of_its_document(tmp_path, content, reason):
    path = write(tmp_path / "a.md")
    write(tmp_path / "a.md.meta.json", content)
    write(tmp_path / "b.md")
    sources = discover([str(tmp_path)])
    failure, source = sources
    assert source.name == "b.md"
    assert failure.uri == path.as_uri()
    assert failure.reason.startswith("its sidecar .meta.json")
    assert reason in failure.reason
    assert not sources.is_vanished(path.as_uri(), path.as_uri()), "the document stays as it was"


def test_a_sidecar_of_a_corpus_speaks_of_every_record(tmp_path):
    path = write(tmp_path / "corpus.jsonl", "\n".join(json.dumps({"_id": str(i), "text": "x"}) for i in range(3)))
    write(tmp_path / "corpus.jsonl.meta.json", '{"set": "test"}')
    assert [source.metadata for source in read(path)[0]] == [{"set": "test"}] * 3
    write(tmp_path / "corpus.jsonl.meta.json", "broken")
    sources, [failure] = read(path)
    assert (sources, failure.uri) == ([], path.as_uri())


def test_a_sidecar_without_its_document_is_no_document(tmp_path):
    write(tmp_path / "gone.md.meta.json", "{}")
    with pytest.raises(InputError, match="no supported file"):
        discover([str(tmp_path)])

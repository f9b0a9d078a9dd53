"""Records by a mapping of their fields: JSONL, JSON, CSV and TSV, good, odd and hostile."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from ingest.sources import Failure, Source, discover
from ingest.sources.mapping import field_map, parse_mapping
from ingest.sources.tables import MAX_ROW_BYTES, read_rows

FIELDS = {"id": "docno", "title": "headline", "text": "body"}


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, fields=FIELDS, **options) -> tuple[list[Source], list[str]]:
    items = list(discover([str(path)], fields=fields, **options))
    return [x for x in items if isinstance(x, Source)], [x.reason for x in items if isinstance(x, Failure)]


def content(source: Source) -> dict:
    return json.loads(source.data)


RECORDS = [
    {"docno": "a1", "headline": " One\n title ", "body": "First.", "year": 2024, "tags": ["x", "y"], "open": True},
    {"docno": 7, "headline": "Two", "body": "Second.", "score": 0.5, "lang": "en", "more": {"deep": 1}, "none": None},
]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", "\n\n".join(map(json.dumps, RECORDS))),
        ("a.ndjson", "\r\n".join(map(json.dumps, RECORDS))),
        ("a.json", json.dumps(RECORDS, indent=2)),
        ("bom.json", b"\xef\xbb\xbf" + json.dumps(RECORDS).encode()),
    ],
)
def test_json_records(tmp_path, name, data):
    path = write(tmp_path / name, data)
    [one, two], failures = read(path)
    assert (one.id, one.uri, one.name, one.format) == ("a1", path.as_uri() + "#a1", name, "record")
    assert content(one) == {
        "title": "One title",
        "text": "First.",
        "metadata": {"year": 2024, "tags": ["x", "y"], "open": True},
    }
    assert (two.id, content(two)["metadata"]) == ("7", {"score": 0.5, "lang": "en"})
    assert failures == []


def test_a_json_object_is_one_record(tmp_path):
    [source], _ = read(write(tmp_path / "a.json", json.dumps(RECORDS[0])))
    assert source.id == "a1"


ROWS = [
    ["docno", "headline", "body", "year", "version", "code", "open", "empty"],
    ["a1", "One, two", 'He said "no".\nThen left.', "2024", "1.10", "007", "true", ""],
]


def table(rows: list[list[str]], **dialect) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **dialect).writerows(rows)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", table(ROWS)),
        ("a.csv", b"\xef\xbb\xbf" + table(ROWS, lineterminator="\n").encode()),
        ("a.csv", table(ROWS, delimiter="|", quoting=csv.QUOTE_ALL)),
        ("a.tsv", table(ROWS, delimiter="\t")),
        ("a.tab", table(ROWS, delimiter="\t")),
    ],
)
def test_table_rows(tmp_path, name, data):
    [source], failures = read(write(tmp_path / name, data))
    assert (source.id, source.format, failures) == ("a1", "record", [])
    assert content(source) == {
        "title": "One, two",
        "text": 'He said "no".\nThen left.',
        "metadata": {"year": 2024, "version": "1.10", "code": "007", "open": True},
    }


def test_semicolons_between_cells(tmp_path):
    [source], _ = read(write(tmp_path / "a.csv", "docno;body;price,gross\n1;one, two;3\n"))
    assert content(source) == {"title": "", "text": "one, two", "metadata": {"price_gross": 3}}


def test_several_and_nested_fields(tmp_path):
    record = {
        "key": {"id": 5},
        "head": "A",
        "sub": "B",
        "parts": [{"text": "one"}, {"text": "two"}, {"other": 1}],
        "note": "three",
        "author.name": "literal",
        "meta": {"lang": "de", "people": ["x", "y"], "n": 3},
    }
    fields = {
        "id": "key.id",
        "title": "head, sub",
        "text": "parts.text,note,missing",
        "metadata": "meta.lang,meta.people,meta.n,author.name",
    }
    [source], _ = read(write(tmp_path / "a.jsonl", json.dumps(record)), fields)
    assert source.id == "5"
    assert content(source) == {
        "title": "A B",
        "text": "one\n\ntwo\n\nthree",
        "metadata": {"meta.lang": "de", "meta.people": ["x", "y"], "meta.n": 3, "author.name": "literal"},
    }


def test_metadata_names_can_be_spelled_in_a_filter(tmp_path):
    rows = "docno,body,Publication date,page,source,a=b,2024,\n1,one,May,9,web,x,0.5,y\n"
    [source], _ = read(write(tmp_path / "a.csv", rows))
    assert content(source)["metadata"] == {
        "Publication_date": "May",
        "_page": 9,
        "_source": "web",
        "a_b": "x",
        "_2024": 0.5,
    }


def test_long_texts_are_no_metadata_unless_asked_for(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps({"docno": 1, "body": "x", "long": "y" * 600}))
    assert content(read(path)[0][0])["metadata"] == {}
    assert content(read(path, FIELDS | {"metadata": "long"})[0][0])["metadata"] == {"long": "y" * 600}
    assert content(read(path, FIELDS | {"metadata": ""})[0][0])["metadata"] == {}


def test_records_without_a_mapped_id_are_known_by_their_content(tmp_path):
    path = write(tmp_path / "a.csv", "body,n\none,1\ntwo,2\none,1\n")
    sources = discover([str(path)], fields={"text": "body"})
    before = [source.id for source in sources]
    assert len(before) == 2
    assert all(name.startswith(path.as_uri() + "#") for name in before)
    assert sources.skipped == {"repeated records": 1}
    write(path, "body,n\nnew,0\none,1\nchanged,2\n")
    after = [source.id for source in read(path, {"text": "body"})[0]]
    assert after[1] == before[0]
    assert before[1] not in after


def test_bad_records_fail_alone(tmp_path):
    lines = [
        {"docno": "a", "body": "fine"},
        "{not json",
        [1],
        {"body": "no id"},
        {"docno": "b"},
        {"docno": "a", "body": "again"},
        {"docno": "", "body": "x"},
        {"docno": "c", "body": " ", "headline": ""},
        {"docno": "d", "body": {"an": "object"}},
        {"docno": "e", "body": "x"} | {f"f{i}": i for i in range(2000)},
        "[" * 100_000,
        '{"docno": "f", "body": "\\ud800"}',
        {"docno": "z", "body": "fine", "huge": 10**30, "nan": float("nan")},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    sources, failures = read(path)
    assert [source.id for source in sources] == ["a", "z"]
    reasons = dict(reason.split(": ", 1) for reason in failures)
    for number, reason in {
        2: "isn't JSON",
        3: "isn't a JSON object but a list",
        4: "lacks `docno`; its fields are `body`",
        5: "lacks `body`; its fields are `docno`",
        6: "its id 'a' was already read",
        7: "no usable id in `docno`",
        8: "neither text nor title",
        9: "neither text nor title",
        10: "2000 metadata fields, more than 1000",
        11: "isn't JSON",
        12: "can't be stored",
    }.items():
        assert reason in reasons[f"line {number}"]
    assert len(failures) == 11


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.jsonl", '{"other": 1}\n' * 50, "its first record lacks `body`; its fields are `other`"),
        ("a.csv", "x,y\n" + "1,2\n" * 50, "lacks `body`; its fields are `y`, `x`"),
        ("a.json", "[" * 100_000, "isn't JSON"),
        ("a.json", "[]", "holds no records"),
        ("a.json", "3", "isn't a JSON object but a int"),
        ("a.json", b"\xff", "isn't valid UTF-8"),
        ("a.json", "", "holds no records"),
        ("a.csv", "", "holds no records"),
        ("a.csv", "docno,body\n", "holds no records"),
        ("a.csv", b"docno,b\xffdy\n1,x\n", "its header byte 7 isn't valid UTF-8"),
        ("a.csv", "c," * 50_000 + "\nx\n", "its header has 50001 columns; at most 10000 are supported"),
        ("a.json", " " * (2 * 2**20), "exceeds the limit"),
    ],
)
def test_files_of_another_kind_fail_once(tmp_path, name, data, reason):
    sources, [failure] = read(write(tmp_path / name, data), max_document_bytes=2**20)
    assert sources == []
    assert reason in failure


def test_bad_rows_fail_alone(tmp_path):
    rows = [
        b"docno,body",
        b"1,one",
        b"2," + b"x," * 1_000_000,
        b"3,\xff",
        b"4,with a \x00 inside",
        b"5,five,extra",
        b"6,six,,,",
        b",,",
        b"7",
        b"8," + b"y" * 300_000,
        b"9," + b"z" * (MAX_ROW_BYTES + 1),
        b'10,"odd"ly "quoted"',
    ]
    sources, failures = read(write(tmp_path / "a.csv", b"\n".join(rows)), {"id": "docno", "text": "body"})
    assert [source.id for source in sources] == ["1", "4", "6", "8", "10"]
    reasons = dict(reason.split(": ", 1) for reason in failures)
    assert {place: reason[:35] for place, reason in reasons.items()} == {
        "line 3": "has 1000002 fields, but the header ",
        "line 4": "byte 2 isn't valid UTF-8. Convert t",
        "line 6": "has 3 fields, but the header 2",
        "line 9": "lacks `body`; its fields are `docno",
        "line 11": "is longer than 10 MiB",
    }


@pytest.mark.parametrize("n_rows", [0, 1, MAX_ROW_BYTES // 1000])
def test_a_quote_that_is_never_closed_gives_up_the_rest_and_nothing_of_it_vanishes(tmp_path, n_rows):
    data = b'docno,body\n1,one\n2,"open\n' + (b"3," + b"more " * 200 + b"\n") * n_rows
    path = write(tmp_path / "a.csv", data)
    sources = discover([str(path)], fields={"id": "docno", "text": "body"})
    source, failure = sources
    assert source.id == "1"
    assert "the row on line 3 doesn't end within 10 MiB" in failure.reason
    assert not sources.is_vanished("3", path.as_uri() + "#3")


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=20)


@given(st.lists(st.tuples(CELLS.filter(str.strip), CELLS), min_size=1, max_size=8))
def test_rows_come_back_as_they_were_written(rows):
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows([("key", "body"), *rows])
    found = list(read_rows(io.BytesIO(buffer.getvalue().encode()), ",;", {"key", "body"}))
    assert [(row.values["key"], row.values["body"]) for row in found] == rows


def test_what_a_mapping_says(tmp_path):
    assert parse_mapping(["id=docno", "text=title, body", "text=notes"]) == {"id": "docno", "text": "title, body,notes"}
    with pytest.raises(InputError, match="FIELD=NAME"):
        parse_mapping(["body"])
    for fields, message in (
        ({"body": "text"}, "'body' can't be mapped"),
        ({"id": "a"}, "which field holds the text"),
        ({"text": " , "}, "which field holds the text"),
        ({"text": "a", "id": "a,b"}, "one field, not 2"),
    ):
        with pytest.raises(InputError, match=message):
            field_map(fields)
    write(tmp_path / "a.csv", table(ROWS))
    with pytest.raises(InputError):
        discover([str(tmp_path)], fields={"title": "headline"})


def test_without_a_mapping_tables_and_json_are_documents(tmp_path):
    for name in ("a.csv", "b.json", "c.tsv"):
        write(tmp_path / name, "x")
    assert [source.format for source in discover([str(tmp_path)])] == ["csv", "json", "tsv"]


def test_another_mapping_is_another_content(tmp_path):
    path = write(tmp_path / "a.jsonl", json.dumps(RECORDS[0]))
    [one], [two] = read(path)[0], read(path, FIELDS | {"text": "body,headline"})[0]
    assert one.id == two.id
    assert one.content_hash != two.content_hash


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_rows_and_lines_are_streamed(tmp_path):
    """The peak for 60 MB of records is that for a few."""
    with (tmp_path / "a.csv").open("w") as rows, (tmp_path / "b.jsonl").open("w") as lines:
        rows.write("docno,body\n")
        for number in range(300):
            rows.write(f'a{number},"{"text, " * 17_000}"\n')
            lines.write(json.dumps({"docno": f"b{number}", "body": "text " * 20_000}) + "\n")
    code = """
import re, sys
from pathlib import Path
from ingest.sources import discover
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
print(sum(1 for _ in discover([sys.argv[1]], fields={"id": "docno", "text": "body"})))
print((peak() - before) // 1024)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    n_records, peak_mib = map(int, done.stdout.split())
    assert n_records == 600
    assert peak_mib < 15

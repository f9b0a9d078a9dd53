"""Archives: every member a document of its own, and nothing that an archive holds stops the rest."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from ingest.sources import Failure, Source, discover
from ingest.sources.archives import ArchiveLimits, parse_name

MIB = 2**20


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=compression)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], more: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return buffer.getvalue()


PACKERS = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda members: gzip.compress(tarred(members)),
    "tgz": lambda members: gzip.compress(tarred(members)),
    "tar.bz2": lambda members: bz2.compress(tarred(members)),
    "tar.xz": lambda members: lzma.compress(tarred(members)),
}


def read(path: Path, **options) -> tuple[dict[str, Source], dict[str, str], dict[str, int]]:
    """Sources and reasons of failures by what their URIs have behind the archive's, and what was skipped."""
    sources = discover([str(path)], **options)
    items = list(sources)
    short = {item.uri: item.uri.removeprefix(path.as_uri()) for item in items}
    found = {short[item.uri]: item for item in items if isinstance(item, Source)}
    failed = {short[item.uri]: item.reason for item in items if isinstance(item, Failure)}
    assert len(found) + len(failed) == len(items), "no address twice of a kind"
    return found, failed, dict(sources.skipped)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", PACKERS)
def test_every_supported_member_is_a_document(tmp_path, kind):
    members = {
        "a.md": b"# One",
        "./docs//b c.txt": b"Two",
        "docs/d\xe9.html": b"<p>Three</p>",
        "docs/.hidden/e.md": b"-",
        "docs/picture.png": b"-",
        "docs/b c.txt.meta.json": b"{}",
    }
    found, failed, skipped = read(write(tmp_path / f"x y.{kind}", PACKERS[kind](members)))
    assert list(found) == ["#a.md", "#docs/b%20c.txt", "#docs/d%C3%A9.html"]
    source = found["#docs/b%20c.txt"]
    assert (source.id, source.name, source.format, source.data) == (source.uri, "b c.txt", "text", b"Two")
    assert source.content_hash == hashlib.sha256(b"Two").hexdigest()
    assert failed == {}
    assert skipped == {"hidden": 1, "unsupported type .png": 1, "metadata of another file (.meta.json)": 1}


@pytest.mark.parametrize("kind", PACKERS)
def test_progress_adds_up_to_the_archive(tmp_path, kind):
    path = write(tmp_path / f"x.{kind}", PACKERS[kind]({f"{i}.txt": os.urandom(50_000) for i in range(5)}))
    found, _, _ = read(path)
    assert sum(source.size_bytes for source in found.values()) == pytest.approx(path.stat().st_size, rel=0.2)


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", PACKERS)
def test_archives_in_archives(tmp_path, outer, inner):
    nested = PACKERS[inner]({"x/b.md": b"inner"})
    found, failed, _ = read(write(tmp_path / f"a.{outer}", PACKERS[outer]({f"d/n.{inner}": nested, "c.md": b"outer"})))
    assert {key: source.data for key, source in found.items()} == {f"#d/n.{inner}/x/b.md": b"inner", "#c.md": b"outer"}
    assert failed == {}


def test_archives_are_nested_so_deep_and_no_deeper(tmp_path):
    data = zipped({"leaf.md": b"deep"})
    for level in range(5):
        data = zipped({f"{level}.zip": data, f"{level}.md": b"text"})
    found, failed, _ = read(write(tmp_path / "x.zip", data), archive_limits=ArchiveLimits(depth=3))
    assert list(found) == ["#4.zip/3.zip/2.md", "#4.zip/3.md", "#4.md"]
    assert failed == {"#4.zip/3.zip/2.zip": "archives are nested more than 3 deep; raise max_archive_depth"}


HOSTILE = ["../up.md", "a/../../up.md", "/etc/passwd.md", "C:/x.md", "c:x.md", "a\\..\\b.md", "..", "x" * 5000 + ".md"]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_of_the_archive_are_refused_one_by_one(tmp_path, kind):
    members = dict.fromkeys(HOSTILE, b"hostile") | {"good..md": b"fine", "a/..b/c.md": b"hidden"}
    found, failed, skipped = read(write(tmp_path / f"x.{kind}", PACKERS[kind](members)))
    assert list(found) == ["#good..md"]
    assert len(failed) == len(HOSTILE)
    assert skipped == {"hidden": 1}
    assert "leads out" in failed["#../up.md"]
    assert not (tmp_path.parent / "up.md").exists()


@given(st.text(min_size=1, max_size=40))
def test_a_parsed_name_stays_inside(name):
    try:
        path = parse_name(name)
    except InputError:
        return
    assert path == parse_name(path)
    assert os.path.normpath(path) == path
    assert not path.startswith(("/", ".."))


def test_links_and_devices_are_skipped(tmp_path):
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
    special = []
    for number, kind in enumerate(kinds):
        info = tarfile.TarInfo(f"{number}.md")
        info.type, info.linkname = kind, "../../etc/passwd"
        special.append(info)
    found, failed, skipped = read(write(tmp_path / "x.tar", tarred({"a.md": b"x"}, tuple(special))))
    assert (list(found), failed, skipped) == (["#a.md"], {}, {"links and devices in archives": 4})

    link = zipfile.ZipInfo("link.md")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder.md")
        archive.writestr("a.md", "x")
    found, failed, skipped = read(tmp_path / "x.zip")
    assert (list(found), failed, skipped) == (["#a.md"], {}, {"links and devices in archives": 1})


def test_a_member_that_cannot_be_read_fails_alone(tmp_path):
    data = bytearray(zipped({"a.md": b"x" * 99, "b.md": b"y" * 99, "c.md": b"z" * 99, "d.md": b"w" * 99, "e.md": b"v"}))
    local = [at for at in range(len(data)) if data[at : at + 4] == b"PK\3\4"]
    central = [at for at in range(len(data)) if data[at : at + 4] == b"PK\1\2"]
    data[local[0] + 6] |= 1  # encrypted
    data[central[0] + 8] |= 1
    data[central[1] + 10 : central[1] + 12] = struct.pack("<H", 97)  # a method that nobody has
    data[local[2] + 30 + 4 + 3] ^= 0xFF  # damaged
    data[central[3] + 16] ^= 0xFF  # a wrong checksum
    found, failed, _ = read(write(tmp_path / "x.zip", bytes(data)))
    assert list(found) == ["#e.md"]
    assert failed["#a.md"] == "is encrypted"
    assert "method 97" in failed["#b.md"]
    for member in ("#c.md", "#d.md"):
        assert failed[member].startswith("can't be unpacked: ")


def test_two_members_of_one_name(tmp_path):
    found, failed, _ = read(write(tmp_path / "x.zip", zipped({"a.md": b"one", "./a.md": b"two"})))
    assert found["#a.md"].data == b"one"
    assert "two members" in failed["#a.md"]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.51, 0.75, 0.9, 0.999])
@pytest.mark.parametrize("kind", PACKERS)
def test_a_truncated_archive_is_one_failure_and_nothing_of_it_vanishes(tmp_path, kind, share):
    members = {f"{i}.txt": os.urandom(300) for i in range(3)}
    data = tarred(members)[: 6 * 512] if kind == "tar" else PACKERS[kind](members)  # its end's mark begins there
    path = write(tmp_path / f"x.{kind}", data[: int(share * len(data))])
    sources = discover([str(path)])
    items = list(sources)
    gone = path.as_uri() + "#other.txt"
    assert [item.uri for item in items if isinstance(item, Failure)][-1:] == [path.as_uri()]
    assert not sources.is_vanished(gone, gone)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_compressed_file_is_the_file_in_it(tmp_path, suffix, pack):
    write(tmp_path / f"a b.md.{suffix}", pack(b"# One"))
    write(tmp_path / f"c.png.{suffix}", pack(b"-"))
    write(tmp_path / f"d.txt.{suffix}", b"not packed at all")
    write(tmp_path / f"e.txt.{suffix}", pack(os.urandom(5000))[:2000])
    write(tmp_path / "f.zip", zipped({f"in/g.txt.{suffix}": pack(b"Two")}))
    sources = discover([str(tmp_path)])
    items = {unquote(item.uri.removeprefix(tmp_path.as_uri() + "/")): item for item in sources}
    one, two = items.pop(f"a b.md.{suffix}#a b.md"), items.pop(f"f.zip#in/g.txt.{suffix}/g.txt")
    assert (one.data, one.format, one.name) == (b"# One", "markdown", "a b.md")
    assert (two.data, two.format, two.name) == (b"Two", "text", "g.txt")
    assert all(isinstance(failure, Failure) for failure in items.values())
    assert sorted({key.partition("#")[0] for key in items}) == [f"d.txt.{suffix}", f"e.txt.{suffix}"]
    assert dict(sources.skipped) == {f"unsupported type .{suffix}": 1}


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_a_compressed_bomb_stops_at_the_limit(tmp_path, suffix, pack):
    write(tmp_path / f"a.txt.{suffix}", pack(bytes(20 * MIB)))
    (failure,) = discover([str(tmp_path)], archive_limits=ArchiveLimits(unpacked_bytes=MIB))
    assert "unpacks to more than 1 MiB" in failure.reason


def test_what_is_no_archive(tmp_path):
    for name in ("a.zip", "b.tar", "c.tar.gz", "d.zip", "e.tar", "f.tgz"):
        write(tmp_path / name, b"" if name < "d" else b"no archive at all" * 100)
    items = list(discover([str(tmp_path)]))
    assert [Path(item.uri).name for item in items if isinstance(item, Failure)] == sorted(os.listdir(tmp_path))
    assert len(items) == 6


def test_an_archive_unpacks_to_so_much_and_no_more(tmp_path):
    members = {f"{i:03}.txt": b"x" * 100_000 for i in range(50)}
    limits = ArchiveLimits(unpacked_bytes=MIB)
    for kind, pack in PACKERS.items():
        path = write(tmp_path / f"x.{kind}", pack(members))
        sources = discover([str(path)], archive_limits=limits)
        items = list(sources)
        assert 8 <= sum(isinstance(item, Source) for item in items) <= 10, "what was read until then stays"
        assert items[-1] == Failure(path.as_uri(), "unpacks to more than 1 MiB; raise max_archive_mb")
        gone = path.as_uri() + "#gone.txt"
        assert not sources.is_vanished(gone, gone)


def test_limits_count_what_nested_archives_hold(tmp_path):
    inner = zipped({f"{i}.txt": b"x" * 100_000 for i in range(5)})
    path = write(tmp_path / "x.tar.gz", gzip.compress(tarred({f"{i}.zip": inner for i in range(10)})))
    _, failed, _ = read(path, archive_limits=ArchiveLimits(unpacked_bytes=MIB))
    assert failed == {"": "unpacks to more than 1 MiB; raise max_archive_mb"}
    _, failed, _ = read(path, archive_limits=ArchiveLimits(members=20))
    assert failed == {"": "holds more than 20 members; raise max_archive_members"}
    _, failed, _ = read(path, archive_limits=ArchiveLimits(nested_bytes=500))
    assert len(failed) == 10
    assert "max_document_mb" in failed["#0.zip"]


def test_a_large_member_fails_alone(tmp_path):
    for kind, pack in PACKERS.items():
        path = write(tmp_path / f"x.{kind}", pack({"a.txt": b"x" * 3 * MIB, "b.txt": b"fine"}))
        found, failed, _ = read(path, max_document_bytes=MIB)
        assert list(found) == ["#b.txt"]
        assert failed == {"#a.txt": "unpacks to more than 1 MiB; raise max_document_mb"}


def test_passed_over_members_of_a_plain_tar_cost_nothing(tmp_path):
    members = {"film.mp4": b"x" * 3 * MIB, "a.txt": b"fine"}
    limits = ArchiveLimits(unpacked_bytes=MIB)
    assert read(write(tmp_path / "x.tar", tarred(members)), archive_limits=limits)[1] == {}
    packed = gzip.compress(tarred(members))
    assert list(read(write(tmp_path / "x.tgz", packed), archive_limits=limits)[1]) == [""]


def overlapping(n_members: int, kernel: bytes) -> bytes:
    """A ZIP file whose members all share one compressed kernel: each local header quotes the next one's as stored data.

    The quoting is deflate's own: a stored block that holds the following local header, after which the stream goes on
    with that member's data, so that every member unpacks to the kernel and all headers that follow its own.
    """
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = deflate.compress(kernel) + deflate.flush()
    body, unpacked = packed, kernel
    entries: list[tuple[bytes, int, int, int]] = []  # name, CRC, packed and unpacked size
    locals_: list[bytes] = []
    for number in reversed(range(n_members)):
        name = f"{number:05}.txt".encode()
        if locals_:
            header = locals_[-1]
            body = b"\0" + struct.pack("<HH", len(header), len(header) ^ 0xFFFF) + header + body
            unpacked = header + unpacked
        crc = zlib.crc32(unpacked)
        sizes = struct.pack("<LLL", crc, len(body), len(unpacked))
        locals_.append(b"PK\3\4" + struct.pack("<HHHHH", 20, 0, 8, 0, 0x21) + sizes + struct.pack("<HH", 9, 0) + name)
        entries.append((name, crc, len(body), len(unpacked)))
    file, directory = locals_[-1] + body, b""
    offset = 0
    for (name, crc, n_packed, n_unpacked), header in zip(reversed(entries), reversed(locals_), strict=True):
        directory += b"PK\1\2" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0x21)
        directory += struct.pack("<LLLHHHHHLL", crc, n_packed, n_unpacked, len(name), 0, 0, 0, 0, 0, offset) + name
        offset += len(header) + 5
    end = struct.pack("<HHHHLLH", 0, 0, n_members, n_members, len(directory), len(file), 0)
    return file + directory + b"PK\5\6" + end


def test_overlapping_members_stop_at_the_limit(tmp_path):
    """Built as published in 2019 by D. Fifield, "A better zip bomb": quadratic in the number of members."""
    path = write(tmp_path / "bomb.zip", overlapping(300, b"a" * MIB))
    assert path.stat().st_size < 60_000
    found, failed, _ = read(path, archive_limits=ArchiveLimits(unpacked_bytes=10 * MIB))
    assert len(found) == 9, "the bomb is a valid archive"
    assert failed == {"": "unpacks to more than 10 MiB; raise max_archive_mb"}


def test_a_bomb_of_archives_stops_at_the_limit(tmp_path):
    """As 42.zip: archives of archives of archives, 16 to each, and zeros in the end."""
    data = zipped({f"{i}.txt": b"0" * MIB for i in range(16)})
    for _ in range(2):
        data = zipped({f"{i}.zip": data for i in range(16)})
    path = write(tmp_path / "42.zip", data)
    assert path.stat().st_size < 20_000
    found, failed, _ = read(path, archive_limits=ArchiveLimits(unpacked_bytes=50 * MIB))
    assert 0 < len(found) < 50
    assert failed == {"": "unpacks to more than 50 MiB; raise max_archive_mb"}


def test_declared_sizes_are_not_believed(tmp_path):
    data = bytearray(zipped({"a.txt": b"x" * 5000, "b.txt": b"fine"}))
    central = data.index(b"PK\1\2")
    data[central + 24 : central + 28] = struct.pack("<L", 10)  # unpacks to 10 bytes, it says
    found, failed, _ = read(write(tmp_path / "x.zip", bytes(data)))
    assert list(found) == ["#b.txt"]
    assert failed["#a.txt"].startswith("can't be unpacked")


def test_a_directory_of_too_many_members_is_not_parsed(tmp_path):
    entry = b"PK\1\2" + struct.pack("<HHHHHHLLLHHHHHLL", *[0] * 9, 1, 0, 0, 0, 0, 0, 0)[:42] + b"a"
    directory = entry * 30_000
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 30_000, 30_000, len(directory), 0, 0)
    path = write(tmp_path / "x.zip", directory + end)
    found, failed, _ = read(path, archive_limits=ArchiveLimits(members=20_000))
    assert (found, failed) == ({}, {"": "holds more than 20000 members; raise max_archive_members"})


def pax_header(size_field: bytes) -> bytes:
    info = tarfile.TarInfo("x.txt")
    info.type = tarfile.XHDTYPE
    info.size = len(size_field)
    return info.tobuf(tarfile.GNU_FORMAT) + size_field.ljust(512, b"\0") + tarred({"x.txt": b"text"})


@pytest.mark.parametrize(
    "data",
    [
        pax_header(b"14 size=-99999\n"),
        pax_header(b"13 size=-1024\n"),
        tarred({"a": b""})[:124] + b"\xff" * 12 + tarred({"a": b""})[136:],
    ],
)
def test_headers_that_point_backwards_end_the_archive(tmp_path, data):
    for path in (write(tmp_path / "x.tar", data), write(tmp_path / "x.tar.gz", gzip.compress(data))):
        assert list(read(path)[1]) == [""]


def test_headers_about_headers_end_the_archive(tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 0
    assert list(read(write(tmp_path / "x.tar", info.tobuf() * 5000))[1]) == [""]
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    _, failed, _ = read(write(tmp_path / "y.tar", info.tobuf(tarfile.GNU_FORMAT)))
    assert "header of 8589934592 bytes" in failed[""]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_stays_bounded_whatever_is_unpacked(tmp_path):
    """One process reads bombs of each method; its peak stays far below what they unpack to."""
    zeros = {"a.txt": bytes(32 * MIB)}
    write(tmp_path / "a.zip", zipped(zeros))
    write(tmp_path / "b.tar.gz", gzip.compress(tarred(zeros), compresslevel=1))
    write(tmp_path / "c.tar.bz2", bz2.compress(tarred(zeros)))
    write(tmp_path / "d.tar.xz", lzma.compress(tarred(zeros), preset=0))
    write(tmp_path / "e.zip", zipped({"n.zip": zipped(zeros)}))
    code = """
import re, sys
from pathlib import Path
from ingest.sources import discover
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak()
print(sum("raise max_document_mb" in item.reason for item in discover([sys.argv[1]], 2**20)))
print((peak() - before) // 1024)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    n_refused, peak_mib = map(int, done.stdout.split())
    assert n_refused == 5
    assert peak_mib < 20


def test_a_corpus_in_an_archive(tmp_path):
    lines = [{"_id": "d/1", "text": "one", "title": "T"}, {"_id": "d2", "text": "two"}, {"_id": "d3"}]
    members = {
        "set/corpus.jsonl": "\n".join(map(json.dumps, lines)).encode(),
        "set/queries.jsonl": b'{"_id": "q", "text": "what"}',
        "set/qrels/test.tsv": b"query-id\tcorpus-id\tscore\n",
        "notes.md": b"fine",
    }
    path = write(tmp_path / "x.zip", zipped(members))
    found, failed, skipped = read(path)
    ids = {"#set/corpus.jsonl/d/1": "d/1", "#set/corpus.jsonl/d2": "d2", "#notes.md": path.as_uri() + "#notes.md"}
    assert {key: source.id for key, source in found.items()} == ids
    assert list(failed) == ["#set/corpus.jsonl"]
    assert skipped == {"queries and judgements in archives": 2}


def test_records_of_an_archive_are_mapped(tmp_path):
    path = write(tmp_path / "x.tgz", gzip.compress(tarred({"rows.csv": b"key,body\n1,one\n2,two\n", "a.md": b"text"})))
    found, failed, _ = read(path, fields={"id": "key", "text": "body"})
    assert [(source.id, source.format) for source in found.values()] == [
        ("1", "record"),
        ("2", "record"),
        (path.as_uri() + "#a.md", "markdown"),
    ]
    assert failed == {}


def test_what_vanished_from_an_archive(tmp_path):
    path = write(tmp_path / "x.zip", zipped({"kept.md": b"text", "empty.md": b""}))
    sources = discover([str(tmp_path)])
    list(sources)
    uris = [f"{path.as_uri()}#{name}" for name in ("kept.md", "empty.md", "gone.md")]
    assert [uri for uri in uris if sources.is_vanished(uri, uri)] == uris[2:]
    other = (tmp_path / "other.zip").as_uri() + "#x.md"
    assert sources.is_vanished(other, other)


def test_members_of_any_name_are_read(tmp_path):
    name = os.fsdecode(b"caf\xe9\n#?.md")
    found, failed, _ = read(write(tmp_path / "x.tar", tarred({name: b"text", "世界/📚.md": b"text"})))
    assert list(found) == ["#caf%E9%0A%23?.md", "#%E4%B8%96%E7%95%8C/%F0%9F%93%9A.md"]
    assert [source.name for source in found.values()] == ["caf\ufffd #?.md", "📚.md"]
    assert failed == {}

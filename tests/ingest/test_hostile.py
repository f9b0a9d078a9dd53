"""A folder full of files made to harm: each is indexed within its limits or listed as failed, the rest is indexed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from core.index import Index, open_index
from core.settings import Settings
from core.types import Chunk, DocumentRecord
from ingest import pipeline
from ingest.formats import FORMATS
from ingest.isolation import Extractor
from ingest.pipeline import ingest
from ingest.sources import discover
from ingest.sources.addresses import file_uri, inside
from ingest.sources.items import Failure, Source
from search.retriever import Retriever
from tests.ingest import hostile
from tests.ingest.snapshot import chunks, documents

ROOT = Path(__file__).parents[2]
N_PAGES = 10_000
ARCHIVE_MB = 8
GOOD = "The lighthouse keeper counts seven ships at dawn."
NOISE = random.Random(7).randbytes(5000)
SCRIPTED = """<html><head><title>Harbour <script>alert(1)</script></title>
<script>var needle = "scriptword";</script><style>.styleword { color: red }</style></head>
<body onload="attributeword()"><h1>Tariff</h1><p>The quay &lt;script&gt;costs&lt;/script&gt; nine crowns.</p>
<iframe src="javascript:frameword()"></iframe><noscript>noscriptword</noscript><svg><script>svgword</script></svg>
<a href="javascript:hrefword()">pay here</a><img src=x onerror=errorword()><template>templateword</template></body>"""
# Right to left, without spaces between words, beyond the basic plane, joined emoji, marks on marks, a lone surrogate's
# neighbour, a byte-order mark in the middle, and letters that change their length with their case.
SCRIPTS = """# Écriture — كتابة

هذا المرفأ قديم جدا. السفن تصل في الليل؟ نعم، كل يوم.

この港はとても古い。船は夜に着く！料金は三円です。

👩‍👩‍👧‍👦 The family 🏳️‍🌈 waits 👍🏽. 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 is wide 🇫🇷.

Z̷̛͚͈a̴̢͐l̶͕̀g̸̱̈́o̵͎͝ text. E\u0301t\u00e9 and \u00c9te\u0301 differ. \ufeffMark. İstanbul straße ﬁn.

שלום עולם. \u202eesrever\u202c is back. ไทยไม่มีช่องว่าง ภาษานี้ยาว
"""

INDEXED: dict[str, tuple[str | bytes, str]] = {  # by name: what the file holds, and words that are then in its text
    "good.md": (f"# Watch\n\n{GOOD}", GOOD),
    "scripts.html": (SCRIPTED, "nine crowns"),
    "writing.md": (SCRIPTS, "船は夜に着く！"),
    "two\nlines.md": ("The name has two lines.", "two lines"),
    "invalid \udcff\udcfe name.txt": ("The name is no Unicode.", "no Unicode"),  # bytes ff fe on the disk
    "ßpäce #%3F? 🚢.txt": ("The name is awkward.", "awkward"),
    "-rf.txt": ("The name is an option.", "an option"),
    "pages.pdf": (
        hostile.pdf(f"Berth {page} is free." if page % 50 == 0 else "" for page in range(1, N_PAGES + 1)),
        f"Berth {N_PAGES} is free.",
    ),
    "deep.html": ("<div>" * 20_000 + "The innermost box.", "The innermost box."),
    "long.txt": ("e" + "\u0301" * 100_000 + " marks without end", "marks without end"),
    "sparse.xlsx": (
        hostile.xlsx(
            '<row r="1"><c r="A1" t="inlineStr"><is><t>northwest</t></is></c></row>'
            '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>southeast</t></is></c></row>'
        ),
        "southeast",
    ),
}
FAILED: dict[str, tuple[str | bytes, str]] = {  # by name: what the file holds, and words of the reason
    "bomb.zip": (hostile.zipped({"boom.txt": b"boom " * (2 * ARCHIVE_MB * 2**20 // 5)}), "max_archive_mb"),
    "bomb.docx": (hostile.docx(hostile.paragraphs("boom " * (6 * 2**20))), "max_text_mb"),
    "laughs.docx": (hostile.docx(hostile.paragraphs("&e9;", hostile.laughs())), "defines entities"),
    "nested.zip": (hostile.nested(8), "max_archive_depth"),
    "encrypted.pdf": (hostile.pdf(["secret"], encrypted=True), "encrypted"),
    "nul.txt": ("a\0b " * 100, "binary"),
    "nul.html": ("<p>a\0b</p>" * 100, "binary"),
    "wide.csv": (",".join(f"c{n}" for n in range(1_000_000)), "1000000 columns"),
    "deep.json": ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
    "deep.ipynb": ('{"a":' * 100_000, "notebook"),
    "digits.json": ('{"a": ' + "9" * 100_000 + "}", "too many digits"),
    "truncated.pdf": (hostile.pdf(["half of it"])[:200], "broken"),
    "truncated.zip": (hostile.zipped({"a.txt": GOOD * 50})[:60], ""),
    **{f"noise{suffix}": (NOISE, "") for suffix in (*FORMATS, ".zip", ".tar.gz") if suffix != ".jsonl"},
}
# Members that lead out of the archive are failures of their own beside a good one.
ESCAPES = ("../../escaped.txt", "/tmp/limpid-escaped.txt", "a/../../../escaped.txt", "C:\\escaped.txt")


@dataclass(frozen=True)
class Outcome:
    """What one ingest of the folder said and left."""

    folder: Path
    code: int
    said: dict
    err: str
    records: dict[str, DocumentRecord]
    chunks: dict[str, Chunk]
    settings: Settings

    @property
    def failures(self) -> dict[str, str]:
        """Reasons by URI."""
        return {failure["uri"]: failure["reason"] for failure in self.said["failures"]}

    def uri(self, name: str) -> str:
        """The address of a file of the folder."""
        return file_uri(os.path.join(self.folder, name))


def run(folder: Path, index: Path) -> tuple[int, dict, str]:
    """The command line in a process of its own: exit code, what --json printed, and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "ingest", str(folder), "--index", str(index), "--json"],
        cwd=ROOT,
        env=os.environ | {"LIMPID_OFFLINE": "true", "LIMPID_MAX_ARCHIVE_MB": str(ARCHIVE_MB)},
        capture_output=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout), done.stderr.decode()


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The hostile folder, ingested once."""
    base = tmp_path_factory.mktemp("hostile")
    folder, index = base / "in" / "docs", base / "index"
    folder.mkdir(parents=True)
    for name, (content, _) in (INDEXED | FAILED).items():
        data = content.encode() if isinstance(content, str) else content
        with open(os.fsencode(folder) + b"/" + os.fsencode(name), "wb") as file:
            file.write(data)
    (folder / "escape.zip").write_bytes(hostile.zipped({**dict.fromkeys(ESCAPES, b"out"), "kept.txt": b"stays inside"}))
    (folder / "links.tar.gz").write_bytes(hostile.tarred({"fine.txt": b"beside links"}, {"passwd.txt": "/etc/passwd"}))
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    code, said, err = run(folder, index)
    settings = Settings(index=str(index), offline=True)
    with open_index(settings) as opened:
        return Outcome(folder, code, said, err, documents(opened), chunks(opened), settings)


def test_one_line_for_each_failure_and_no_other(outcome: Outcome):
    expected = {outcome.uri(name): reason for name, (_, reason) in FAILED.items()}
    expected |= {inside(outcome.uri("escape.zip"), name): "its name" for name in ESCAPES}
    expected[outcome.uri("pipe.txt")] = "not a regular file"
    found = {uri if uri in expected else uri.partition("#")[0]: reason for uri, reason in outcome.failures.items()}
    assert found.keys() == expected.keys()
    assert {uri: reason for uri, reason in expected.items() if reason not in found[uri]} == {}


def test_the_exit_code_says_so_and_nobody_sees_a_traceback(outcome: Outcome):
    assert outcome.code == 1
    assert outcome.said["failed"] == len(outcome.said["failures"])
    assert "Traceback" not in outcome.err
    assert not any("\n" in failure["reason"] or len(failure["reason"]) > 400 for failure in outcome.said["failures"])


@pytest.mark.parametrize("name", INDEXED)
def test_everything_else_is_indexed(outcome: Outcome, name: str):
    record = outcome.records[outcome.uri(name)]
    assert INDEXED[name][1] in record.text
    assert record.n_chunks > 0


def test_nothing_but_what_was_meant_is_indexed(outcome: Outcome):
    archived = {inside(outcome.uri("escape.zip"), "kept.txt"), inside(outcome.uri("links.tar.gz"), "fine.txt")}
    assert {record.uri for record in outcome.records.values()} == {*map(outcome.uri, INDEXED), *archived}
    assert not any("root:" in record.text for record in outcome.records.values())


def test_members_are_written_nowhere(outcome: Outcome):
    base = outcome.folder.parents[1]
    assert not [path for path in base.rglob("*escaped*") if "index" not in path.parts]
    assert not Path("/tmp/limpid-escaped.txt").exists()
    assert not list(ROOT.glob("*escaped*"))


def test_offsets_are_right_in_every_script(outcome: Outcome):
    for chunk in outcome.chunks.values():
        text = outcome.records[chunk.document_id].text
        assert text[chunk.start : chunk.end] == chunk.text
        for sentence in chunk.sentences:
            assert chunk.start <= sentence.start < sentence.end <= chunk.end


def test_no_chunk_begins_with_a_mark_of_the_letter_before(outcome: Outcome):
    """A cut between a letter and its accent would change both."""
    uri = outcome.uri("writing.md")
    texts = [chunk.text for chunk in outcome.chunks.values() if chunk.document_id == uri]
    assert texts
    assert not any(unicodedata.combining(text[0]) for text in texts)


def test_a_page_far_behind_is_cited_as_that_page(outcome: Outcome):
    uri = outcome.uri("pages.pdf")
    [last] = [c for c in outcome.chunks.values() if c.document_id == uri and f"Berth {N_PAGES} is" in c.text]
    assert last.page <= N_PAGES == last.last_page


@pytest.mark.parametrize(
    "kind", ["script", "style", "attribute", "frame", "noscript", "svg", "href", "error", "template"]
)
def test_what_a_page_runs_is_not_its_text(outcome: Outcome, kind: str):
    record = outcome.records[outcome.uri("scripts.html")]
    stored = [record.text, record.title, *map(str, record.metadata.values())]
    assert not any(f"{kind}word" in text for text in stored)


def test_the_index_answers(outcome: Outcome):
    with open_index(outcome.settings) as index:
        retriever = Retriever(index)
        for query, name in (
            ("who counts the ships", "good.md"),
            ("what does the quay cost", "scripts.html"),
            ("船は夜に着く", "writing.md"),
            ("name with two lines", "two\nlines.md"),
            (f"berth {N_PAGES}", "pages.pdf"),
        ):
            assert outcome.uri(name) in [hit.chunk.uri for hit in retriever.search(query, 5).hits], query


def test_failures_are_tried_again_and_nothing_else_is(outcome: Outcome, tmp_path: Path):
    code, said, _ = run(outcome.folder, Path(outcome.settings.index))
    assert (code, said["new"], said["updated"], said["unchanged"]) == (1, 0, 0, len(outcome.records))
    assert {failure["uri"]: failure["reason"] for failure in said["failures"]} == outcome.failures


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Index]:
    settings = Settings(index=str(tmp_path / "index"), offline=True)
    with open_index(settings, create=True) as index:
        yield index


def test_parsers_that_hang_crash_and_grow_lose_one_document_each(
    opened: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pipeline, "Extractor", partial(Extractor, load="tests.ingest.misbehaving:load"))
    settings = Settings(index=str(tmp_path / "index"), extract_timeout_s=2, extract_memory_mb=300, offline=True)
    folder = tmp_path / "docs"
    folder.mkdir()
    for word in ("hang", "segfault", "grow", "panic", "raise"):
        (folder / f"{word}.pdf").write_text(word)
        (folder / f"{word}-after.html").write_text(f"say The parser survived the {word}.")
    summary = ingest(opened, discover([str(folder)]), settings)
    assert summary.new == 5
    reasons = {failure.uri.rpartition("/")[2]: failure.reason for failure in summary.failures}
    assert reasons.keys() == {"hang.pdf", "segfault.pdf", "grow.pdf", "panic.pdf", "raise.pdf"}
    assert "extract_timeout_s" in reasons["hang.pdf"]
    assert "extract_memory_mb" in reasons["grow.pdf"]
    assert "Segmentation fault" in reasons["segfault.pdf"]
    [hit] = Retriever(opened).search("who survived the hang", 1).hits
    assert hit.chunk.text == "The parser survived the hang."


def test_a_file_that_changes_while_it_is_read(tmp_path: Path):
    """What is read of it is what it held at one moment, never a mixture, or it is listed as failed."""
    (tmp_path / "good.txt").write_text(GOOD)
    versions = [(f"{word} " * 500_000).encode() for word in ("ebb", "flow")]
    tide = tmp_path / "tide.txt"
    tide.write_bytes(versions[0])
    stopping = threading.Event()

    def write() -> None:
        while not stopping.is_set():
            for version in versions:
                tide.write_bytes(version)

    writer = threading.Thread(target=write)
    writer.start()
    reasons: set[str] = set()
    try:
        deadline = time.monotonic() + 20
        while not any("changed while" in reason for reason in reasons) and time.monotonic() < deadline:
            good, other = discover([str(tmp_path)])
            assert isinstance(good, Source)
            if isinstance(other, Failure):
                reasons.add(other.reason)
            else:
                assert any(version.startswith(other.data) for version in versions)
    finally:
        stopping.set()
        writer.join()
    assert any("changed while" in reason for reason in reasons), reasons

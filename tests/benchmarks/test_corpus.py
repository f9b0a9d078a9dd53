"""The corpus that the benchmarks make: every format is a file of its kind, and says what its page says."""

import re
from itertools import islice
from pathlib import Path

import pytest

from benchmarks import corpus
from benchmarks.corpus import SHARES, write_mixed
from benchmarks.formats import WRITERS
from benchmarks.pages import Page, Part, modules, topic_pages
from ingest.extract import load
from ingest.sources import discover

PAGE = Page(
    "harbour",
    "The harbour & its rules",
    (
        Part("text", "Ferries leave at dawn (and at noon), except\non days when the fog is too thick to see the pier."),
        Part("heading", "Fees"),
        Part("text", "The fee is paid on board; a receipt costs nothing."),
        Part("code", "def fee(crates):\n    return 3 * crates"),
    ),
)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_holds_all_words_of_the_page_in_order(suffix: str, tmp_path: Path):
    (tmp_path / f"page{suffix}").write_bytes(WRITERS[suffix](PAGE))
    (source,) = discover([str(tmp_path)])
    document = load(source).document
    found = iter(words(f"{document.title}\n{document.text}"))
    title = "" if suffix == ".py" else PAGE.title
    written = words(" ".join([title, *(part.text for part in PAGE.parts)]))
    assert [word for word in written if word not in found] == []  # `in` moves on behind what it finds


def test_the_mixed_corpus_has_every_format_and_is_always_the_same(tmp_path: Path):
    first, second = write_mixed(tmp_path / "a", 40), write_mixed(tmp_path / "b", 40)
    files = sorted(first.iterdir())
    assert {suffix: sum(path.suffix == suffix for path in files) for suffix in SHARES} == SHARES
    assert {path.name: path.read_bytes() for path in files} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }


def test_a_corpus_larger_than_pythons_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(corpus, "modules", lambda: iter(()))
    with pytest.raises(ValueError, match="has text for"):
        write_mixed(tmp_path, 40)


def test_pages_are_many_and_have_headings_and_code():
    described = (module.page for module in modules() if module.page is not None)
    for pages in (list(topic_pages()), list(islice(described, 50))):
        assert len(pages) >= 50
        assert {part.kind for page in pages for part in page.parts} == {"heading", "text", "code"}

"""Corpora that anyone can make without a network, from the real text that every CPython carries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from itertools import chain, cycle, islice, tee
from pathlib import Path

from benchmarks.formats import WRITERS
from benchmarks.pages import Page, Part, modules, topic_pages, topics
from core.tokens import EncoderTokenizer

# Of 40 documents; a real corpus has more of the formats that people write by hand.
SHARES = {
    ".md": 6, ".html": 6, ".py": 5, ".pdf": 5, ".docx": 4, ".txt": 3, ".rst": 3, ".eml": 3, ".ipynb": 2, ".epub": 1,
    ".csv": 1, ".json": 1,
}  # fmt: skip


def passages(tokenizer: EncoderTokenizer, n_tokens: int) -> list[str]:
    """The topics cut into stretches of exactly `n_tokens` encoder tokens (special ones included), remainders left out.

    A cut that falls inside a word may change the count by one.
    """
    room = n_tokens - tokenizer.n_special_tokens
    cut = []
    for text in topics().values():
        offsets = tokenizer.offsets(text)
        for first in range(0, len(offsets) - room + 1, room):
            cut.append(text[offsets[first][0] : offsets[first + room - 1][1]])
    return cut


def write_files(folder: Path, names: Sequence[str] | None = None) -> Path:
    """The topics (those of `names`, if given) as one text file each; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in topics().items():
        if names is None or name in names:
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def write_mixed(folder: Path, n_documents: int) -> Path:
    """`n_documents` files of the formats in `SHARES`, mixed; returns the folder.

    The topics come first, then what modules of the standard library say of themselves; a `.py` is the source of one
    that says little.

    Raises `ValueError` when Python's library has too few modules for as many documents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dealt = sorted((n / share, suffix) for suffix, share in SHARES.items() for n in range(share))
    ours, theirs = tee(modules())
    sources = (Page(module.name, "", (Part("code", module.source),)) for module in ours if module.page is None)
    pages = chain(topic_pages(), (module.page for module in theirs if module.page is not None))
    for number, (_, suffix) in enumerate(islice(cycle(dealt), n_documents)):
        page = next(sources if suffix == ".py" else pages, None)
        if page is None:
            raise ValueError(f"This Python has text for {number} documents, not for {n_documents}.")
        (folder / f"{number:04d}-{page.name}{suffix}").write_bytes(WRITERS[suffix](page))
    return folder


def questions() -> list[str]:
    """Questions about the topics, as people would ask them."""
    lines = (resources.files("api") / "demo_data" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines if line.strip()]

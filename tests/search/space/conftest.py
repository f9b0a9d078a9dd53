"""A small real index whose documents belong to three kinds, with one text stored twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pydoc_data.topics import topics

import pytest

from core.index import Index, open_index
from core.settings import Settings

KINDS = {
    "loop": ("break", "continue", "for", "while"),
    "error": ("exceptions", "raise", "try"),
    "number": ("integers", "floating", "imaginary"),
}
TWIN = "twin of continue"


@pytest.fixture(scope="package")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The index, open; `TWIN` holds the text of "continue" under another title."""
    from ingest.pipeline import ingest
    from ingest.sources import discover

    folder = tmp_path_factory.mktemp("space")
    lines = [
        {"_id": name, "title": name, "text": topics[name], "metadata": {"kind": kind}}
        for kind, names in KINDS.items()
        for name in names
    ]
    lines.append({"_id": TWIN, "title": "continuing", "text": topics["continue"], "metadata": {"kind": "loop"}})
    corpus = folder / "corpus.jsonl"
    corpus.write_text("\n".join(map(json.dumps, lines)))
    settings = Settings(index=str(folder / "index"), offline=True)
    with open_index(settings, create=True) as opened:
        assert not ingest(opened, discover([str(corpus)]), settings).failures
        yield opened

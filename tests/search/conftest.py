"""What the tests of searching share: one index over a few topics of the language reference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pydoc_data.topics import topics

import pytest

from core.index import Index, open_index
from core.settings import Settings
from ingest.pipeline import ingest
from ingest.sources import discover

NAMES = ("assert", "break", "class", "del", "exceptions", "for", "import", "lambda", "raise", "return", "try", "while")


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """Twelve topics of the language reference as documents, with their length and their first letter."""
    folder = tmp_path_factory.mktemp("topics")
    corpus = folder / "corpus.jsonl"
    lines = [
        {"_id": name, "title": name, "text": topics[name], "metadata": {"size": len(topics[name]), "letter": name[0]}}
        for name in NAMES
    ]
    corpus.write_text("\n".join(map(json.dumps, lines)))
    settings = Settings(index=str(folder / "index"), offline=True)
    with open_index(settings, create=True) as opened:
        assert not ingest(opened, discover([str(corpus)]), settings).failures
        yield opened

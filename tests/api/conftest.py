"""A small real index, made by the real engine and the real model, and clients for the app over it."""

from __future__ import annotations

import asyncio
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from core.index import Index, open_index
from core.settings import Settings
from core.store import EmbeddedChunk
from core.types import Chunk, Document, DocumentRecord, Span
from tests.api.command import Command

Write = Callable[[str, str | bytes], Path]

HOSTILE = '<script>document.title="owned"</script>"><img src=x onerror=document.title="owned">'
STRANGE_IDS = (
    "file:///a/b.md",
    "a b%20c?d=e#f&g+h",
    "über/日本語",
    "line\nbreak",
    "newline at the end\n",
    "../../etc/passwd",
    "//double//slash/",
    "..",
)
DOCUMENTS = (
    Document(
        "https://example.org/tea",
        "https://example.org/tea?cup=1&pot=2",
        "Brewing tea",
        "Green tea turns bitter in boiling water. Let the kettle rest for three minutes before you pour.\n\n"
        "Black tea wants water that is still bubbling. Four minutes of steeping are enough; longer draws out tannins.",
        "",
        metadata={"topic": "drinks", "year": 2021, "rated": 4.5, "draft": False, "tags": ["hot", "leaf"]},
    ),
    Document(
        "file:///library/glaciers.pdf",
        "file:///library/glaciers.pdf",
        "Glaciers",
        "A glacier is a river of ice that flows under its own weight. Snow piles up for centuries and is pressed into "
        "ice.\n\nMeltwater that reaches the bed lets the ice slide faster. Crevasses open where it stretches.",
        "",
        page_starts=(0, 117),
        metadata={"topic": "nature", "year": 2015},
    ),
    Document(
        "loops",
        "file:///corpus.jsonl#loops",
        "Loops in Python",
        "The for statement iterates over the items of any sequence. A loop may be left early with break, and continue "
        "skips to the next item.\n\nfor line in file:\n    if not line.strip():\n        continue\n    "
        "total_of_everything_that_was_counted_so_far_without_a_single_space_in_between += measure(line)",
        "",
        metadata={"topic": "code", "year": 2023},
    ),
    Document(
        "bicycle",
        "ftp://example.org/bicycle",
        "Looking after a bicycle",
        "Pump the tyres until the thumb hardly dents them. Soft tyres roll slowly and puncture on every kerb. "
        "Brake pads are done when their grooves have gone; new ones cost little. Check that they meet the rim and not "
        "the rubber.\nOil the chain every few hundred kilometres and wipe off what drips. A dry chain squeaks and "
        "wears the cogs. Once a year let someone with the right tools true the wheels, since a wobble eats brakes and "
        "bearings, and grease the seat post so that it never seizes in the frame.",
        "",
        metadata={"topic": "repair", "year": 2019},
    ),
    Document(
        f"hostile {HOSTILE}",
        "javascript:document.title='owned'",
        f"Title {HOSTILE}",
        f"This passage about volcanoes tries to be markup: {HOSTILE} & &amp; </strong></mark>. Lava is molten rock.",
        "",
        metadata={"note": HOSTILE, HOSTILE: "x"},
    ),
    *(
        Document(name, f"file:///notes/{number}.txt", f"Note {number}", f"Note {number} is about bees and honey.", "")
        for number, name in enumerate(STRANGE_IDS)
    ),
)


def fill(index: Index, documents: tuple[Document, ...]) -> None:
    """Write documents as one chunk a paragraph; one named "unfinished" stands for an update that was cut short."""
    analyzer = index.analyzer
    chunks = [chunk for document in documents for chunk in _chunks(document)]
    index.meta.avg_len = sum(analyzer.length(chunk.lexical_text) for chunk in chunks) / len(chunks)
    index.meta.exact = True
    index.meta.fields = {"topic": "keyword", "year": "integer"}
    index.save()
    embedder, analyzer = index.embedder, index.analyzer
    embedded = []
    for chunk in chunks:
        texts = chunk.sentence_texts
        vectors = embedder.encode_documents([chunk.embedding_text, *texts])
        sparse = analyzer.document(chunk.lexical_text)
        embedded.append(EmbeddedChunk(chunk, "g1", vectors[0], vectors[1:], sparse))
    records = [
        DocumentRecord(d.id, d.uri, d.title, "hash", "g1", len(_chunks(d)), text=d.text, metadata=d.metadata)
        for d in documents
    ]
    index.store.upsert(embedded, [*records, DocumentRecord("unfinished", "file:///x", "", "", "", 0, settling=True)])
    index.store.optimize()


def _chunks(document: Document) -> list[Chunk]:
    return [
        Chunk(
            id=f"{uuid.uuid5(uuid.NAMESPACE_URL, f'{document.id} {position}').int >> 65:016x}",
            document_id=document.id,
            position=position,
            start=found.start(),
            end=found.end(),
            text=found[0],
            uri=document.uri,
            title=document.title,
            headings=(document.title, f"Part {position + 1}"),
            page=position + 1 if document.page_starts else None,
            last_page=position + 1 if document.page_starts else None,
            place=f"page {position + 1}" if document.page_starts else "",
            context=document.title,
            sentences=tuple(
                Span(found.start() + sentence.start(), found.start() + sentence.end())
                for sentence in re.finditer(r"\S.*?(?:[.?!](?=\s|$)|$)", found[0], re.DOTALL)
            ),
            metadata=document.metadata,
        )
        for position, found in enumerate(re.finditer(r"\S.*?(?=\n\n|$)", document.text, re.DOTALL))
    ]


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed index over `DOCUMENTS`: copy it, since only one process may have it open."""
    folder = tmp_path_factory.mktemp("api") / "index"
    with open_index(Settings(index=str(folder), offline=True), create=True) as index:
        fill(index, DOCUMENTS)
    return folder


@pytest.fixture(scope="session")
def index(index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """The index over `DOCUMENTS`, open."""
    copied = tmp_path_factory.mktemp("api-open") / "index"
    shutil.copytree(index_folder, copied)
    with open_index(Settings(index=str(copied), offline=True)) as opened:
        yield opened


class Client:
    """Requests to an app in this process."""

    def __init__(self, app: FastAPI):
        self.app = app

    def request(self, method: str, url: str, **options: object) -> httpx.Response:
        """The app's answer; what it raises becomes the answer that a client gets."""

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.request(method, url, **options)

        return asyncio.run(send())

    def get(self, url: str, **options: object) -> httpx.Response:
        """GET."""
        return self.request("GET", url, **options)

    def search(self, **body: object) -> httpx.Response:
        """POST /v1/search."""
        return self.request("POST", "/v1/search", json=body)


@pytest.fixture(scope="session")
def client(index: Index) -> Client:
    """A client of an app without keys."""
    return Client(create_app(index, Settings(offline=True)))


@pytest.fixture
def client_of(index: Index) -> Callable[..., Client]:
    """Makes a client of an app with other settings."""
    return lambda **settings: Client(create_app(index, Settings(offline=True, **settings)))


NOTES = """# Boats

Sailing boats need wind to move. The keel keeps them from drifting sideways.

## Rigging

A sloop has one mast and two sails, the mainsail and the jib.
"""


@pytest.fixture
def limpid(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """The command line in an empty folder, on an index of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIMPID_OFFLINE", "true")
    return Command(capfd)


@pytest.fixture
def corpus(write: Write) -> Path:
    """A small folder of real files."""
    write("docs/boats.md", NOTES)
    write("docs/bread.txt", "Sourdough bread rises slowly because wild yeast works at its own pace.")
    write("docs/page.html", "<html><title>Clouds</title><body><h1>Clouds</h1><p>Cumulus clouds look like wool.</p>")
    return write("docs/sub/stars.txt", "A red giant is a dying star that has swollen and cooled.").parents[1]

"""A small real index in which every cause of failure is planted once, among topics of the language reference."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pydoc_data.topics import topics

from core.index import Index, open_index
from core.settings import Settings
from core.store import EmbeddedChunk
from core.types import Chunk, DocumentRecord, Span
from search.retriever import Retriever

BACKGROUND = (
    "assert",
    "break",
    "class",
    "del",
    "exceptions",
    "for",
    "function",
    "import",
    "operator-summary",
    "try",
    "typesseq",
)
SENTENCE = re.compile(r"\S.*?(?:[.!?:](?= )|$)")
JOINT, MOST_PARTS = "\n\n", 5

MUDDY = (
    "Feed the sourdough starter with equal parts of flour and water. Knead the dough until it is smooth and stretchy. "
    "Let the loaf rise in a warm kitchen overnight. Score the crust before the bread goes into the oven. "
    "Lava pours from the vents of an erupting volcano. Ash clouds from the crater ground aeroplanes for days. "
    "Seismographs warn of magma that rises under the cone. Villages below the volcano are evacuated in time."
)
ERUPTIONS = (
    "Geologists measure ground tremors near mountains that may erupt, and publish a level of alert each morning.",
    "Gas samples taken at fumaroles show how far molten rock has risen below the surface of the mountain.",
    "Hot mud flows, called lahars, race down the slopes when an eruption melts the snow on the summit.",
)
FOOTER = (
    "Payments are due within thirty days of the invoice date; late payments bear interest of eight per cent a year."
)
COPIES = {
    "terms": f"Terms for customers. {FOOTER} Disputes go to the court in the seller's city.",
    "terms-2019": f"Terms for customers, 2019. {FOOTER} Disputes go to the court in the seller's city.",
    "terms-draft": f"Draft of the terms for customers. {FOOTER} Disputes go to the court in the seller's city.",
}
CITIES = ["Lyon", "Turin", "Porto", "Bruges", "Graz", "Malmö", "Cork", "Split", "Brno", "Tartu", "Bergen", "Basel"]
LEAVE = tuple(f"Employees in {city} get twenty-five days of annual leave." for city in CITIES)
TEA = "Green tea tastes harsh when brewed with boiling water: cool the kettle to eighty degrees first."
SHARED_WITH, MARKET = "tea-at-the-market", "What the stalls at the market advise."
UNREAD = "The spare key of the boathouse hangs on a nail behind the blue oil drum."
TRUNCATED = "Minutes of the sailing club. " + 40 * "The members discussed the paint of the hulls and agreed on white. "


@contextmanager
def planted_index(folder: Path) -> Iterator[Index]:
    """The index; the ids of its planted documents say what they show. Each document is one chunk but for topics."""
    documents = {name: _parts(topics[name]) for name in BACKGROUND}
    documents |= {"muddy": [MUDDY], "tea": [TEA], "truncated": [TRUNCATED + UNREAD]}
    documents |= {name: [text] for name, text in COPIES.items()}
    documents |= {f"eruption-{i}": [text] for i, text in enumerate(ERUPTIONS)}
    documents |= {f"leave-{i}": [text] for i, text in enumerate(LEAVE)}
    with open_index(Settings(index=str(folder / "index"), offline=True), create=True) as index:
        chunks = [chunk for name, parts in documents.items() for chunk in _chunks(index, name, parts)]
        index.meta.avg_len = sum(index.analyzer.length(chunk.lexical_text) for chunk in chunks) / len(chunks)
        index.meta.exact = True
        texts = [text for chunk in chunks for text in (chunk.embedding_text, *chunk.sentence_texts)]
        vectors, embedded, first = index.embedder.encode_documents(texts), [], 0
        for chunk in chunks:
            own = vectors[first : first + 1 + len(chunk.sentences)]
            first += len(own)
            sparse = index.analyzer.document(chunk.lexical_text)
            embedded.append(EmbeddedChunk(chunk, "g", own[0], own[1:], sparse))
        records = [
            DocumentRecord(name, "", "", "", "g", len(parts), text=JOINT.join(parts))
            for name, parts in (documents | {"empty": [], SHARED_WITH: [MARKET, TEA]}).items()
        ]
        index.store.upsert(embedded, records)
        index.store.optimize()
        index.save()
        yield index


def _parts(text: str) -> list[str]:
    """Neighbouring sentences, five at a time: chunks that are long enough to be judged."""
    sentences = SENTENCE.findall(" ".join(text.split()))
    return [" ".join(sentences[i : i + 5]) for i in range(0, len(sentences), 5)][:MOST_PARTS]


def _chunks(index: Index, name: str, parts: list[str]) -> Iterator[Chunk]:
    start = 0
    for position, text in enumerate(parts):
        spans = [Span(start + found.start(), start + found.end()) for found in SENTENCE.finditer(text)]
        yield Chunk(
            id=f"{uuid.uuid5(uuid.NAMESPACE_URL, f'{name} {position}').int >> 65:016x}",
            document_id=name,
            position=position,
            start=start,
            end=start + len(text),
            text=text,
            sentences=tuple(spans),
            encoder_tokens=index.embedder.tokenizer.count([text])[0],
            also_in=(SHARED_WITH,) if text == TEA else (),
        )
        start += len(text) + len(JOINT)


def ranker(index: Index) -> Callable[[str, str], list[tuple[str, float]]]:
    """The candidates of a mode with their scores, best first."""
    found = Retriever(index).ranker

    def rank(text: str, mode: str) -> list[tuple[str, float]]:
        ranking = found.rank(text, mode)
        return [(ranking.ids[row], float(ranking.fused.scores[row])) for row in ranking.best()]

    return rank

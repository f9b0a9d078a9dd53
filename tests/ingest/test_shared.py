"""Shared text: stored once, with the first document that holds it, whatever the order in which they came."""

import random

from core.types import Chunk, Document, DocumentRecord
from ingest.shared import SharedText, block_keys
from ingest.structure import parse

FOOTER = "Copyright Example Works. Reproduced with permission of the authors and their heirs."
LICENCE = "Permission is granted to anyone to use this text for any purpose, provided that this notice is kept."


def document(name: str, *parts: str, **metadata) -> Document:
    return Document(name, f"file:///{name}", name, "\n\n".join(parts), f"hash of {name}", metadata=metadata)


def record(doc: Document) -> DocumentRecord:
    keys = block_keys(doc.text, parse(doc.text))
    return DocumentRecord(doc.id, doc.uri, doc.title, doc.content_hash, "", 1, metadata=doc.metadata, block_keys=keys)


def paragraphs(doc: Document, blocks) -> list[Chunk]:
    return [
        Chunk(f"{i}", doc.id, i, block.start, block.end, doc.text[block.start : block.end], metadata=doc.metadata)
        for i, block in enumerate(blocks.blocks)
    ]


def shared_among(documents: list[Document], shared_by: int = 3) -> SharedText:
    shared = SharedText(shared_by)
    for doc in documents:
        shared.add(doc.id, doc.content_hash, record(doc).block_keys)
    shared.gather(map(record, documents), map(record, documents))
    return shared


def kept(shared: SharedText, doc: Document) -> list[Chunk]:
    blocks = parse(doc.text)
    placed = shared.place(doc, blocks, block_keys(doc.text, blocks))
    return placed.kept(doc.id, paragraphs(doc, placed.blocks))


BOOKS = [
    document(name, f"A story about {name} that nobody else has ever told.", FOOTER, LICENCE, lang=lang, year=year)
    for name, lang, year in (("b", "en", 1), ("a", "de", 2), ("c", "en", 3))
]


def test_text_of_enough_documents_is_kept_by_the_first_alone():
    shared = shared_among(BOOKS)
    first = kept(shared, BOOKS[1])
    assert [chunk.text for chunk in first] == [BOOKS[1].text.split("\n\n")[0], FOOTER, LICENCE]
    assert [chunk.also_in for chunk in first] == [(), ("b", "c"), ("b", "c")]
    assert first[0].metadata == {"lang": "de", "year": 2}
    assert {name: sorted(values) for name, values in first[1].metadata.items()} == {
        "lang": ["de", "en"],
        "year": [1, 2, 3],
    }
    for other in (BOOKS[0], BOOKS[2]):
        assert [chunk.text for chunk in kept(shared, other)] == [other.text.split("\n\n")[0]]


def test_text_of_too_few_documents_stays():
    shared = shared_among(BOOKS[:2])
    assert [len(kept(shared, doc)) for doc in BOOKS[:2]] == [3, 3]


def test_a_short_block_or_a_heading_is_not_shared():
    text = "# A heading that stands word for word in each of all these documents\n\nSee also the index."
    assert block_keys(text, parse(text, "markdown")) == b""
    assert len(block_keys(text, parse(text, "text"))) == 8  # there it is no heading


def test_spacing_does_not_count():
    spread = FOOTER.replace(" ", "\n", 1)
    documents = [document("a", FOOTER), document("b", spread), document("c", FOOTER)]
    assert len({record(doc).block_keys for doc in documents}) == 1


def test_neighbouring_blocks_of_the_same_documents_are_one_group_others_not():
    documents = [*BOOKS, document("d", "Another story, told by nobody before or since, really.", FOOTER)]
    shared = shared_among(documents)
    groups = [[block.group for block in placed(shared, doc).blocks.blocks] for doc in documents]
    assert groups[0][0] == ""
    assert groups[0][1] != groups[0][2] != ""  # the licence is in three of them, the footer in four
    same = [[block.group for block in placed(shared_among(BOOKS), doc).blocks.blocks] for doc in BOOKS]
    assert all(own == "" and footer == licence != "" for own, footer, licence in same)


def placed(shared: SharedText, doc: Document):
    blocks = parse(doc.text)
    return shared.place(doc, blocks, block_keys(doc.text, blocks))


def test_the_generation_depends_on_the_corpus_alone():
    def generations(documents: list[Document]) -> dict[str, str]:
        shared = SharedText(3)
        for doc in documents:
            shared.add(doc.id, doc.content_hash, record(doc).block_keys)
        return {doc.id: shared.generation(doc.id, doc.content_hash, record(doc).block_keys) for doc in documents}

    expected = generations(BOOKS)
    for seed in range(5):
        shuffled = random.Random(seed).sample(BOOKS, len(BOOKS))
        assert generations(shuffled) == expected
    assert generations(BOOKS[:2]) == {doc.id: doc.content_hash for doc in BOOKS[:2]}
    # A new holder changes what the owner says of it, and nothing in the other documents.
    more = generations([*BOOKS, document("z", FOOTER, LICENCE)])
    assert more["a"] != expected["a"]
    assert (more["b"], more["c"]) == (expected["b"], expected["c"])
    # One whose id sorts first takes over.
    taken = generations([*BOOKS, document("0", FOOTER, LICENCE)])
    assert taken["a"] != more["a"]


def test_adding_a_document_twice_counts_once():
    shared = SharedText(3)
    for doc in (BOOKS[0], BOOKS[0], BOOKS[1]):
        shared.add(doc.id, doc.content_hash, record(doc).block_keys)
    assert [len(kept(shared, doc)) for doc in BOOKS[:2]] == [3, 3]


def test_the_owner_that_comes_last_is_known_to_lack_the_names_of_the_others():
    shared = SharedText(3)
    for doc in BOOKS:
        shared.add(doc.id, doc.content_hash, record(doc).block_keys)
    owner, other = BOOKS[1], BOOKS[0]
    assert placed(shared, owner).generation != shared.generation(owner.id, owner.content_hash, record(owner).block_keys)
    assert placed(shared, other).generation == shared.generation(other.id, other.content_hash, record(other).block_keys)
    shared.gather(map(record, BOOKS), list(map(record, BOOKS)))
    assert placed(shared, owner).generation == shared.generation(owner.id, owner.content_hash, record(owner).block_keys)

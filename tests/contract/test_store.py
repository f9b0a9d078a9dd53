"""One suite over every store: the same writes give the same answers."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_client import QdrantClient

from core.filters import parse_filter
from core.sparse import Analyzer
from core.store import EmbeddedChunk, Store
from core.store.edge import EdgeStore
from core.store.server import ServerStore, connect
from core.types import Chunk, DocumentRecord, Span

DIM = 16
SERVER = os.environ.get("LIMPID_TEST_QDRANT_URL")
WORDS = ("search", "engine", "vector", "space", "retrieval", "geometry", "cluster", "muddy", "chunk", "fusion")
ODD = "a/b.c[0] d"  # a name that has to be quoted, and that no engine can index
FIELDS = {
    "year": "integer", "lang": "keyword", "weight": "float", "draft": "yes or no", "tags": "keyword", ODD: "integer"
}  # fmt: skip
ANALYZER = Analyzer("english", 1.2, 0.75, 6.0)


def _unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    rows = rng.normal(size=(*shape, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _chunk(number: int, generation: str = "g1") -> EmbeddedChunk:
    rng = np.random.default_rng(number)
    text = " ".join(rng.choice(WORDS, 7)) + f" item{number}"
    metadata = {
        "year": 2000 + number,
        "lang": ("en", "de", "zh")[number % 3],
        "weight": number / 4,
        "draft": number % 2 == 0,
        "tags": [f"t{number % 5}", "all"],
        ODD: number % 3,
    }
    chunk = Chunk(
        id=f"{uuid.uuid5(uuid.NAMESPACE_OID, str(number)).int >> 65:016x}",
        document_id=f"doc-{number // 4}",
        position=number % 4,
        start=0,
        end=len(text),
        text=text,
        uri=f"file:///docs/{number // 4}",
        title=f"Title {number // 4}",
        headings=("Title", f"Part {number}"),
        page=number % 4 + 1 if number % 2 else None,
        context="Title",
        sentences=(Span(0, 5), Span(6, len(text))),
        encoder_tokens=9,
        llm_tokens=8,
        metadata=metadata,
    )
    return EmbeddedChunk(chunk, generation, _unit(rng), _unit(rng, 2), ANALYZER.document(text))


CHUNKS = [_chunk(number) for number in range(48)]
RECORDS = [
    DocumentRecord(
        f"doc-{n}", f"file:///docs/{n}", f"Title {n}", f"hash{n}", "g1", 4, 32, {"year": 1}, text=f"text {n}"
    )
    for n in range(12)
]
QUERY = _unit(np.random.default_rng(1000))
TERMS = ANALYZER.query("muddy retrieval geometry")


def _fill(store: Store) -> Store:
    store.upsert(CHUNKS, RECORDS)
    return store


def _recommended(positive: np.ndarray, negative: np.ndarray, strategy: str) -> dict[str, float]:
    """Every chunk's score by the formula that `Store.recommend` states."""

    def sigma(x: float) -> float:
        return (1 + x / (1 + abs(x))) / 2

    scores = {}
    for embedded in CHUNKS:
        if strategy == "average_vector":
            query = 2 * positive.mean(axis=0) - negative.mean(axis=0) if len(negative) else positive.mean(axis=0)
            scores[embedded.chunk.id] = float(embedded.dense @ query / np.linalg.norm(query))
        else:
            nearest = max(positive @ embedded.dense, default=-np.inf)
            farthest = max(negative @ embedded.dense, default=-np.inf)
            scores[embedded.chunk.id] = float(sigma(nearest) if nearest > farthest else -sigma(farthest))
    return scores


def _is_en(embedded: EmbeddedChunk) -> bool:
    return embedded.chunk.metadata["lang"] == "en"


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Store]:
    store = EdgeStore(tmp_path / "index", DIM, min_free_mb=0)
    yield store
    store.close()


def _open_remote(kind: str, quantization: str = "none") -> Iterator[Store]:
    if kind == "memory":
        client, collection = QdrantClient(":memory:"), "test"
    elif SERVER:
        client, collection = connect(SERVER, os.environ.get("LIMPID_QDRANT_API_KEY")), f"test-{uuid.uuid4()}"
    else:
        pytest.skip("LIMPID_TEST_QDRANT_URL isn't set: no Qdrant server to test against")
    store = ServerStore(client, collection, DIM, quantization)
    yield store
    if kind == "server":
        client.delete_collection(collection)
    store.close()


REMOTE = ["memory", pytest.param("server", marks=pytest.mark.server)]


@pytest.fixture(params=REMOTE)
def remote(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The server's store, on the client's in-memory stand-in and on a real server."""
    yield from _open_remote(request.param)


@pytest.fixture(params=["edge", *REMOTE])
def store(request: pytest.FixtureRequest, edge: Store) -> Iterator[Store]:
    """Each store alone, for what it must do by itself."""
    if request.param == "edge":
        yield edge
    else:
        yield from _open_remote(request.param)


class TestSameAnswers:
    """Both stores over the same chunks."""

    @pytest.mark.parametrize(
        "where",
        [
            None,
            'lang = "en"',
            "draft = true",
            "draft in (false)",
            "year >= 2010 and year < 2030",
            'lang in ("de", "zh") and not draft = true',
            'tags = "t3" or weight <= 1.5',
            "weight = 2.5",
            "page = 2",
            'document_id != "doc-3"',
            'headings = "Part 7"',
            'lang not in ("en")',
            f'"{ODD}" = 1',
            f"'{ODD}' in (0, 2) and '{ODD}' < 1.5",
        ],
    )
    def test_candidates(self, edge: Store, remote: Store, where: str | None) -> None:
        condition = parse_filter(where, FIELDS) if where else None
        ours = _fill(edge).candidates(QUERY, TERMS, 100, condition)
        theirs = _fill(remote).candidates(QUERY, TERMS, 100, condition)
        assert ours.dense
        for leg in ("dense", "sparse"):
            assert [key for key, _ in getattr(ours, leg)] == [key for key, _ in getattr(theirs, leg)]
            assert [s for _, s in getattr(ours, leg)] == pytest.approx([s for _, s in getattr(theirs, leg)], abs=1e-5)

    def test_exact_scores(self, edge: Store, remote: Store) -> None:
        ids = [embedded.chunk.id for embedded in CHUNKS]
        ours, theirs = _fill(edge).score(ids, QUERY, TERMS), _fill(remote).score(ids, QUERY, TERMS)
        assert ours.cosine == pytest.approx([float(embedded.dense @ QUERY) for embedded in CHUNKS], abs=1e-5)
        assert ours.cosine == pytest.approx(theirs.cosine, abs=1e-5)
        assert ours.sentence == pytest.approx(theirs.sentence, abs=5e-4)  # float16 against float32
        assert ours.sparse == pytest.approx(theirs.sparse, abs=1e-5)

    @pytest.mark.parametrize("strategy", ["average_vector", "best_score"])
    @pytest.mark.parametrize("where", [None, 'lang = "en" and not draft = true'])
    @pytest.mark.parametrize(("n_positive", "n_negative"), [(1, 0), (3, 2), (1, 4), (0, 2)])
    def test_recommendations(
        self, edge: Store, remote: Store, strategy: str, where: str | None, n_positive: int, n_negative: int
    ) -> None:
        if strategy == "average_vector" and not n_positive:
            pytest.skip("an average needs a positive example")
        condition = parse_filter(where, FIELDS) if where else None
        rng = np.random.default_rng(7)
        examples = _unit(rng, n_positive), _unit(rng, n_negative)
        ours = _fill(edge).recommend(*examples, strategy, 20, condition)
        theirs = _fill(remote).recommend(*examples, strategy, 20, condition)
        expected = _recommended(*examples, strategy)
        for found in (ours, theirs):
            for key, score in found:
                assert score == pytest.approx(expected[key], abs=1e-5)
            allowed = [e.chunk.id for e in CHUNKS if where is None or (_is_en(e) and not e.chunk.metadata["draft"])]
            best = sorted(allowed, key=lambda key: (-round(expected[key], 5), key))[:20]
            assert [key for key, _ in found] == best

    def test_inverse_document_frequencies(self, edge: Store, remote: Store) -> None:
        terms = [*TERMS.indices, *ANALYZER.query("absent").indices]
        for store in (edge, remote):
            found = _fill(store).idf(terms)
            assert found.keys() == set(TERMS.indices)
            for term, frequency in found.items():
                holding = sum(term in embedded.sparse.indices for embedded in CHUNKS)
                assert frequency == pytest.approx(np.log(1 + (len(CHUNKS) - holding + 0.5) / (holding + 0.5)), abs=1e-5)
            assert store.idf([]) == {}

    def test_what_is_read_back(self, edge: Store, remote: Store) -> None:
        ids = [embedded.chunk.id for embedded in CHUNKS[:5]]
        ours, theirs = _fill(edge).fetch(ids, sentences=True), _fill(remote).fetch(ids, sentences=True)
        for embedded in CHUNKS[:5]:
            key = embedded.chunk.id
            assert ours[key].chunk == theirs[key].chunk == embedded.chunk
            assert np.allclose(ours[key].sentences, embedded.sentences, atol=5e-4)
            assert np.allclose(theirs[key].sentences, embedded.sentences, atol=5e-4)


class TestEachStore:
    """What every store must do by itself."""

    def test_scores_are_cosines_and_bm25_sums(self, store: Store) -> None:
        found = _fill(store).candidates(QUERY, TERMS, 100)
        by_id = {embedded.chunk.id: embedded for embedded in CHUNKS}
        assert len(found.dense) == len(CHUNKS)
        for key, score in found.dense:
            assert score == pytest.approx(float(by_id[key].dense @ QUERY), abs=1e-5)
        n = len(CHUNKS)
        for key, score in found.sparse:
            weights = dict(zip(by_id[key].sparse.indices, by_id[key].sparse.values, strict=True))
            total = 0.0
            for term in TERMS.indices:
                holding = sum(term in embedded.sparse.indices for embedded in CHUNKS)
                total += weights.get(term, 0.0) * np.log(1 + (n - holding + 0.5) / (holding + 0.5))
            assert score == pytest.approx(total, rel=1e-4)

    def test_order_is_by_score_then_id(self, store: Store) -> None:
        twins = [replace(embedded, dense=CHUNKS[0].dense) for embedded in CHUNKS[:6]]
        store.upsert(twins, [])
        found = store.candidates(QUERY, None, 10).dense
        assert [key for key, _ in found] == sorted(embedded.chunk.id for embedded in twins)

    def test_limit_and_legs_on_request(self, store: Store) -> None:
        _fill(store)
        assert len(store.candidates(QUERY, None, 7).dense) == 7
        assert store.candidates(QUERY, None, 7).sparse == []
        assert store.candidates(None, TERMS, 3).dense == []
        assert len(store.candidates(None, TERMS, 3).sparse) == 3
        assert store.candidates(None, ANALYZER.query("zzzunknown"), 3).sparse == []
        assert store.candidates(QUERY, ANALYZER.query(""), 3).sparse == []

    def test_score_of_unknown_ids(self, store: Store) -> None:
        _fill(store)
        ids = [CHUNKS[0].chunk.id, "00000000000000ff"]
        scores = store.score(ids, QUERY, TERMS)
        assert scores.cosine[0] == pytest.approx(float(CHUNKS[0].dense @ QUERY), abs=1e-5)
        assert np.isnan([scores.cosine[1], scores.sentence[1], scores.sparse[1]]).all()
        assert store.score([], QUERY, TERMS).cosine.shape == (0,)

    def test_vectors_by_id(self, store: Store) -> None:
        _fill(store)
        found = store.vectors([CHUNKS[0].chunk.id, "00000000000000ff", CHUNKS[5].chunk.id])
        assert found.keys() == {CHUNKS[0].chunk.id, CHUNKS[5].chunk.id}
        for embedded in (CHUNKS[0], CHUNKS[5]):
            assert found[embedded.chunk.id].dtype == np.float32
            assert np.allclose(found[embedded.chunk.id], embedded.dense, atol=1e-6)
        assert store.vectors([]) == {}

    def test_records(self, store: Store) -> None:
        _fill(store)
        listed = {record.id: record for record in store.records()}
        assert listed == {record.id: replace(record, text="") for record in RECORDS}
        assert store.record("doc-3") == RECORDS[3]
        assert store.record("nowhere") is None

    def test_meta_survives_as_it_was(self, store: Store) -> None:
        assert store.read_meta() is None
        meta = {"avg_len": 61.300000000000004, "exact": True, "fields": {"a.b": "keyword"}}
        store.write_meta(meta)
        assert store.read_meta() == meta

    def test_settling_leaves_the_current_generation(self, store: Store) -> None:
        _fill(store)
        fresh = [_chunk(number, "g2") for number in (4, 5)]
        record = replace(RECORDS[1], generation="g2", n_chunks=2, settling=True)
        store.upsert(fresh, [record])
        assert [found.id for found in store.records(unsettled=True)] == ["doc-1"]
        store.settle(record)
        assert list(store.records(unsettled=True)) == []
        assert store.count_chunks() == len(CHUNKS) - 2
        left = {key for key, owner in store.owners([e.chunk.id for e in CHUNKS]).items() if owner == ["doc-1"]}
        assert left == {embedded.chunk.id for embedded in fresh}

    def test_deleting_documents(self, store: Store) -> None:
        _fill(store)
        store.delete_documents(["doc-0", "nowhere"])
        assert store.count_chunks() == len(CHUNKS) - 4
        assert store.record("doc-0") is None
        assert store.fetch([CHUNKS[0].chunk.id]) == {}

    def test_new_sparse_vectors_leave_the_rest(self, store: Store) -> None:
        _fill(store)
        key = CHUNKS[0].chunk.id
        store.update_sparse([(key, ANALYZER.query("zebra"))])
        assert [found for found, _ in store.candidates(None, ANALYZER.query("zebra"), 5).sparse] == [key]
        assert store.score([key], QUERY, TERMS).cosine[0] == pytest.approx(float(CHUNKS[0].dense @ QUERY), abs=1e-5)

    def test_scan_meets_every_chunk_once_in_order(self, store: Store) -> None:
        _fill(store)
        store.write_meta({})
        scanned = [found for batch in store.scan(vectors=True, batch=7) for found in batch]
        assert [found.chunk.id for found in scanned] == sorted(embedded.chunk.id for embedded in CHUNKS)
        by_id = {embedded.chunk.id: embedded for embedded in CHUNKS}
        for found in scanned:
            assert np.allclose(found.dense, by_id[found.chunk.id].dense, atol=1e-6)

    def test_indexed_fields_filter_alike(self, store: Store) -> None:
        for name, kind in FIELDS.items():
            if kind != "yes or no" and name != ODD:
                store.index_field(f"meta.{name}", kind)
        _fill(store)
        store.optimize()
        found = store.candidates(QUERY, None, 100, parse_filter('lang = "en" and year > 2020', FIELDS)).dense
        wanted = {e.chunk.id for e in CHUNKS if e.chunk.metadata["lang"] == "en" and e.chunk.metadata["year"] > 2020}
        assert {key for key, _ in found} == wanted


@pytest.fixture(params=["int8", "binary"])
def quantization(request: pytest.FixtureRequest) -> str:
    """How the engine holds the chunk vectors in memory."""
    return request.param


class TestQuantized:
    """Stores whose chunk vectors are quantised: what is found is ordered, and scored, by the full ones."""

    @pytest.fixture(params=["edge", *REMOTE])
    def quantized(self, request: pytest.FixtureRequest, quantization: str, tmp_path: Path) -> Iterator[Store]:
        if request.param == "edge":
            store: Store = EdgeStore(tmp_path / "quantized", DIM, 0, quantization)
            yield store
            store.close()
        else:
            yield from _open_remote(request.param, quantization)

    def test_scores_are_cosines(self, quantized: Store) -> None:
        _fill(quantized).optimize()
        by_id = {embedded.chunk.id: embedded for embedded in CHUNKS}
        found = quantized.candidates(QUERY, TERMS, len(CHUNKS))
        assert len(found.dense) == len(CHUNKS)
        for key, score in found.dense:
            assert score == pytest.approx(float(by_id[key].dense @ QUERY), abs=1e-5)
        scores = quantized.score(list(by_id), QUERY, TERMS)
        assert scores.cosine == pytest.approx([float(by_id[key].dense @ QUERY) for key in by_id], abs=1e-5)

    def test_twice_as_many_are_looked_at_as_are_wanted(self, quantized: Store) -> None:
        _fill(quantized)
        best = sorted(CHUNKS, key=lambda embedded: -float(embedded.dense @ QUERY))[:5]
        found = {key for key, _ in quantized.candidates(QUERY, None, 24).dense[:5]}
        assert found == {embedded.chunk.id for embedded in best}

    def test_what_is_read_back_is_full(self, quantized: Store) -> None:
        _fill(quantized)
        for batch in quantized.scan(vectors=True):
            for found in batch:
                wanted = next(embedded for embedded in CHUNKS if embedded.chunk.id == found.chunk.id)
                assert np.allclose(found.dense, wanted.dense, atol=1e-6)


def test_the_embedded_engine_holds_what_was_asked_for(tmp_path: Path, quantization: str) -> None:
    """On enough vectors to be indexed: the quantised ones stand in a file of their own, of the size that is told."""
    rng, dimension, n = np.random.default_rng(5), 768, 3600  # 11 MB
    folder = tmp_path / "large"
    store = EdgeStore(folder, dimension, 0, quantization)
    rows = rng.normal(size=(n, dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    chunk = CHUNKS[0].chunk
    sparse = CHUNKS[0].sparse
    embedded = [
        EmbeddedChunk(replace(chunk, id=f"{row + 1:016x}"), "g1", rows[row], rows[row : row + 1], sparse)
        for row in range(n)
    ]
    store.upsert(embedded, [])
    store.optimize()
    found = store.candidates(rows[7], None, 100).dense
    store.close()
    assert found[0] == (f"{8:016x}", 1.0)
    (held,) = (path for path in folder.rglob("quantized.data") if path.stat().st_size > 0)
    size = {"int8": dimension + 4, "binary": dimension / 8}[quantization]
    assert held.stat().st_size / n == pytest.approx(size, rel=0.02)

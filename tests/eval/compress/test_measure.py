"""The table: what each row counts, checked where it can be told by hand."""

from __future__ import annotations

import numpy as np
import pytest

from core.compress.recipe import Recipe
from core.errors import InputError
from core.sparse import SparseVector
from core.store import EmbeddedChunk
from core.store.edge import EdgeStore
from core.types import Chunk, DocumentRecord
from eval.compress.measure import Judged, default_recipes, plan
from eval.compress.quantized import coarse
from eval.compress.sample import Sampled, draw, every_chunk

DIM, N = 32, 300
RNG = np.random.default_rng(1)


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


# Of 32 directions some vary more than others, but none is a number of the vectors alone.
TURNED, _ = np.linalg.qr(RNG.normal(size=(DIM, DIM)))
VECTORS = _unit((RNG.normal(size=(N, DIM)) * 0.8 ** np.arange(DIM)) @ TURNED)


def _embedded(row: int) -> EmbeddedChunk:
    chunk = Chunk(id=f"{row * 7919 + 1:016x}", document_id=f"d{row // 2}", position=row % 2, start=0, end=0, text="")
    sentences = _unit(VECTORS[row] + 0.1 * np.random.default_rng(row).normal(size=(2, DIM)))
    return EmbeddedChunk(chunk, "g", VECTORS[row], sentences, SparseVector([0], [1.0]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    opened = EdgeStore(tmp_path_factory.mktemp("measure") / "index", DIM, min_free_mb=0)
    records = [DocumentRecord(f"d{n}", "", "", "", "g", 2) for n in range(N // 2)]
    opened.upsert([_embedded(row) for row in range(N)], records)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def sampled(store: EdgeStore) -> Sampled:
    return draw(every_chunk(store), N)


class TestSample:
    def test_whole_index(self, sampled: Sampled) -> None:
        assert (len(sampled.chunk_ids), sampled.n_total, len(sampled.sentences)) == (N, N, 2 * N)
        assert len(sampled.training) == 2 * N
        assert len(sampled.held_out) == 60

    def test_held_out_sentences_are_not_trained_on(self, sampled: Sampled) -> None:
        assert (sampled.held_out @ sampled.training[N:].T).max() < 0.9999

    def test_wanted_documents_come_first(self, store: EdgeStore) -> None:
        some = draw(every_chunk(store, ["d140", "d149"]), N, limit=50)
        assert len(some.chunk_ids) == 50
        assert some.document_ids.count("d140") == some.document_ids.count("d149") == 2

    def test_the_same_index_gives_the_same_sample(self, store: EdgeStore, sampled: Sampled) -> None:
        again = draw(every_chunk(store), N)
        assert again.chunk_ids == sampled.chunk_ids
        assert np.array_equal(again.training, sampled.training)
        assert np.array_equal(again.held_out, sampled.held_out)

    def test_too_small(self) -> None:
        with pytest.raises(InputError, match="has 7 chunks"):
            draw([], 7)


class TestPlan:
    def test_bytes(self, sampled: Sampled) -> None:
        recipes = [Recipe(), Recipe("pca", 8), Recipe(quantization="binary"), Recipe("pca", 8, "int8")]
        rows = plan(sampled, recipes[1:]).rows
        assert [row.method for row in rows] == ["none", "pca:8", "binary", "pca:8+int8"]
        assert [row.memory_bytes for row in rows] == [4 * 32, 4 * 8, 32 / 8, 8 + 4]
        two_sentences = 2 * 2  # float16 numbers of two sentences, for each dimension
        assert [row.disk_bytes for row in rows] == [
            (4 + two_sentences) * 32,
            (4 + two_sentences) * 8,
            (4 + two_sentences) * 32 + 4,
            (4 + two_sentences) * 8 + 12,
        ]

    def test_recall_rises_with_dimensions_and_is_that_of_brute_force(self, sampled: Sampled) -> None:
        rows = plan(sampled, [Recipe("truncate", n) for n in (2, 4, 8, 16, 31)], sampled.held_out).rows
        recalls = [row.recall for row in rows[1:]]
        assert recalls == sorted(recalls)
        assert rows[0].recall == 1.0
        found = 0
        for query in sampled.held_out:
            full = set(np.argsort(-(sampled.vectors @ query))[:10])
            short = _unit(sampled.vectors[:, :8]) @ query[:8]
            found += len(full & set(np.argsort(-short)[:10]))
        assert rows[3].recall == pytest.approx(found / 10 / len(sampled.held_out), abs=1e-3)

    def test_principal_components_lose_least(self, sampled: Sampled) -> None:
        _, cut, components = plan(sampled, [Recipe("truncate", 8), Recipe("pca", 8)]).rows
        assert components.error < 0.5 * cut.error

    def test_the_engine_rescores_what_it_finds_by_bits(self, sampled: Sampled) -> None:
        _, binary = plan(sampled, [Recipe(quantization="binary")]).rows
        assert 0.9 < binary.recall <= 1.0
        assert binary.error > 0.1

    def test_judgements(self, sampled: Sampled) -> None:
        """Each query is a chunk's own vector and its document alone is relevant: full vectors can't fail."""
        qrels = {str(row): {sampled.document_ids[row]: 1} for row in range(0, N, 10)}
        judged = Judged(list(qrels), sampled.vectors[::10], qrels)
        table = plan(sampled, [Recipe("truncate", 2), Recipe(quantization="binary")], judged)
        full, cut, binary = table.rows
        assert (full.ndcg, full.change, full.p) == (1.0, 0.0, None)
        assert cut.ndcg < 1.0
        assert cut.change == pytest.approx(cut.ndcg - 1.0)
        assert cut.p < 0.05
        assert binary.ndcg == 1.0
        assert (table.n_queries, table.queries) == (30, "queries")

    def test_without_queries_it_says_what_was_asked(self, sampled: Sampled) -> None:
        table = plan(sampled, [])
        assert (table.n_queries, table.queries) == (60, "sentences of the corpus, held out")
        assert table.to_json()["sample"] == {"chunks": N, "of": N}
        assert table.rows[0].ndcg is None

    def test_the_default_choice_has_every_method(self) -> None:
        named = {str(recipe) for recipe in default_recipes(384)}
        assert named >= {"truncate:128", "pca:128", "autoencoder:128", "vae:128", "int8", "binary", "pca:128+int8"}


class TestCoarse:
    def test_bits_keep_signs_with_the_best_factor(self) -> None:
        row = np.array([[0.5, -0.25, 0.1]], dtype=np.float32)
        mean = (0.5 + 0.25 + 0.1) / 3
        assert coarse(row, "binary") == pytest.approx(np.array([[mean, -mean, mean]]), rel=1e-5)

    def test_bytes_are_within_half_a_step_inside_the_quantiles(self) -> None:
        low, high = np.quantile(VECTORS, [0.005, 0.995])
        kept = coarse(VECTORS, "int8")
        inside = (low <= VECTORS) & (high >= VECTORS)
        assert np.abs(kept - VECTORS)[inside].max() <= (high - low) / 127 / 2 + 1e-6
        assert len(np.unique(kept)) <= 128

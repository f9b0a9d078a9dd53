"""Limpid and its peers behind one face: built on disk from the synthetic corpus, opened, asked for ten passages.

Every contender runs in a process of its own and imports its library there, so that what one takes isn't charged to
another; this module itself imports next to nothing. Each stores a passage's id, its text and its vector, and answers
with ids and texts. A dense query gives the nearest passages; a hybrid one does what the library's documentation calls
hybrid search, or, where there is none, the nearest thing to it, which `HYBRID` says. `SETTINGS` are the values of the
one setting that trades recall for time, cheapest first; everything else is fixed and stated in `STATED`.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from benchmarks.synthetic import SyntheticCorpus

K, CANDIDATES, BATCH = 10, 100, 5_000
Vectors = Mapping[str, np.ndarray]  # of queries, by their texts


class Contender(Protocol):
    """A search library with an index open. `setting` names what `tune` sets."""

    STATED: str
    HYBRID: str
    SETTING: str
    SETTINGS: Sequence[int]
    LIBRARY: str
    FOLDER: str

    @staticmethod
    def build(corpus: SyntheticCorpus, folder: Path) -> float:
        """Write the index into `folder`; the seconds spent in the library."""

    def __init__(self, folder: Path, vectors: Vectors):
        """Open the index; `vectors` has those of all queries."""

    def tune(self, value: int) -> None:
        """Use another value of the setting from the next query on."""

    def dense(self, text: str) -> list[str]:
        """Ids of the passages nearest to the query's vector."""

    def hybrid(self, text: str) -> list[str]:
        """Ids of the best passages for the query's vector and words."""


class Limpid:
    """Whole hybrid queries go through the retriever; dense ones through the leg as the retriever asks it."""

    STATED = "HNSW, m 16, 200 at construction; BM25; six sentence vectors a passage as well"
    HYBRID = "convex fusion, scores completed, sentences scored"
    SETTING, SETTINGS, LIBRARY = "ef", (128,), "qdrant-edge-py"
    FOLDER = "synthetic"

    @staticmethod
    def build(corpus: SyntheticCorpus, folder: Path) -> float:
        from benchmarks.synthetic_index import build

        built = build(corpus, folder.parent.parent)[1]
        return built.upsert_s + built.optimize_s

    def __init__(self, folder: Path, vectors: Vectors):
        from benchmarks.hybrid import PreparedQueries
        from benchmarks.synthetic import Query
        from benchmarks.synthetic_index import Built, open_synthetic
        from search.retriever import Retriever

        built = Built.read(folder.parent)
        queries = [Query(text, vector) for text, vector in vectors.items()]
        dimension = len(queries[0].vector)
        self._index = open_synthetic(folder, built, dimension, PreparedQueries(queries))
        self._retriever = Retriever(self._index, CANDIDATES)
        self._vectors = vectors

    def tune(self, value: int) -> None:
        """It has the one value that it is delivered with."""

    def dense(self, text: str) -> list[str]:
        ids = [key for key, _ in self._index.store.candidates(self._vectors[text], None, CANDIDATES).dense[:K]]
        self._index.store.fetch(ids)
        return ids

    def hybrid(self, text: str) -> list[str]:
        return [hit.chunk.id for hit in self._retriever.search(text, K).hits]


class LanceDB:
    """Columns on disk, one HNSW graph, a full-text index."""

    STATED = "IVF_HNSW_FLAT with one partition, m 16, 200 at construction; native full-text index (BM25)"
    HYBRID = "query_type hybrid, reciprocal rank fusion"
    SETTING, SETTINGS, LIBRARY = "ef", (16, 32, 64, 128, 256, 512, 1024), "lancedb"
    FOLDER = "lancedb"

    @staticmethod
    def build(corpus: SyntheticCorpus, folder: Path) -> float:
        import lancedb
        import pyarrow as pa
        from lancedb.index import FTS, HnswFlat

        vector = pa.list_(pa.float32(), corpus.dimension)
        schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("vector", vector)])
        started = time.perf_counter()
        table = lancedb.connect(folder).create_table("passages", schema=schema)
        taken = time.perf_counter() - started
        for ids, texts, vectors in _batches(corpus):
            columns = [pa.array(ids), pa.array(texts), pa.FixedSizeListArray.from_arrays(vectors.ravel(), type=vector)]
            started = time.perf_counter()
            table.add(pa.Table.from_arrays(columns, schema=schema))
            taken += time.perf_counter() - started
        started = time.perf_counter()
        table.optimize()
        graph = HnswFlat(distance_type="cosine", num_partitions=1, m=16, ef_construction=200)
        table.create_index("vector", config=graph)
        table.create_index("text", config=FTS())
        return taken + time.perf_counter() - started

    def __init__(self, folder: Path, vectors: Vectors):
        os.environ["LANCEDB_LOG"] = "error"  # else it warns on every query that score columns will become optional
        import lancedb

        self._table = lancedb.connect(folder).open_table("passages")
        self._vectors, self._ef = vectors, CANDIDATES

    def tune(self, value: int) -> None:
        self._ef = value

    def dense(self, text: str) -> list[str]:
        return self._ids(self._table.search(self._vectors[text], query_type="vector"))

    def hybrid(self, text: str) -> list[str]:
        query = self._table.search(query_type="hybrid", vector_column_name="vector", fts_columns="text")
        return self._ids(query.vector(self._vectors[text]).text(text))

    def _ids(self, query) -> list[str]:
        wanted = query.distance_type("cosine").ef(self._ef).limit(K).select(["id", "text"])
        return [row["id"] for row in wanted.to_list()]


class Chroma:
    """HNSW beside SQLite."""

    STATED = "HNSW, m 16, 200 at construction"
    HYBRID = "none when embedded: the dense query among passages that hold any of the words (where_document)"
    SETTING, SETTINGS, LIBRARY = "ef", (16, 32, 64, 128, 256, 512, 1024), "chromadb"
    FOLDER = "chroma"

    @staticmethod
    def build(corpus: SyntheticCorpus, folder: Path) -> float:
        started = time.perf_counter()
        graph = {"space": "cosine", "max_neighbors": 16, "ef_construction": 200}
        made = {"configuration": {"hnsw": graph}, "embedding_function": None}
        collection = Chroma._connect(folder).create_collection("passages", **made)
        taken = time.perf_counter() - started
        for ids, texts, vectors in _batches(corpus):
            started = time.perf_counter()
            collection.add(ids=ids, embeddings=vectors, documents=texts)
            taken += time.perf_counter() - started
        return taken

    def __init__(self, folder: Path, vectors: Vectors):
        self._folder, self._vectors = folder, vectors
        self._open()

    @staticmethod
    def _connect(folder: Path):
        import chromadb

        return chromadb.PersistentClient(folder, chromadb.Settings(anonymized_telemetry=False))

    def _open(self) -> None:
        self._client = self._connect(self._folder)
        self._collection = self._client.get_collection("passages", embedding_function=None)

    def tune(self, value: int) -> None:
        self._collection.modify(configuration={"hnsw": {"ef_search": value}})
        self._client.close()  # an open graph keeps the value that it was opened with
        self._open()

    def dense(self, text: str) -> list[str]:
        return self._ids(text)

    def hybrid(self, text: str) -> list[str]:
        holds = [{"$contains": word} for word in text.split()]
        return self._ids(text, where_document={"$or": holds} if len(holds) > 1 else holds[0])

    def _ids(self, text: str, **condition) -> list[str]:
        found = self._collection.query(
            query_embeddings=[self._vectors[text]], n_results=K, include=["documents", "distances"], **condition
        )
        return found["ids"][0]


class Txtai:
    """Faiss beside SQLite and BM25 in arrays."""

    STATED = "its default Faiss index, IVF with 4·√n cells (at most n / 39), exact up to 5,000 passages; BM25; SQLite"
    HYBRID = "hybrid: convex combination of normalised scores"
    SETTING, SETTINGS, LIBRARY = "nprobe", (4, 8, 16, 32, 64, 128, 256, 512, 1024), "txtai"
    FOLDER = "txtai"
    OPTIONS = {"method": "external", "content": True, "hybrid": True, "faiss": {"nprobe": 16}}  # noqa: RUF012

    @staticmethod
    def build(corpus: SyntheticCorpus, folder: Path) -> float:
        from txtai import Embeddings

        batches = list(_batches(corpus))  # it wants one stream, and the generator's time isn't its own
        vectors = {text: row for _, texts, rows in batches for text, row in zip(texts, rows, strict=True)}
        started = time.perf_counter()
        embeddings = Embeddings(Txtai.OPTIONS)
        embeddings.model.transform = lambda texts: np.stack([vectors[text] for text in texts])
        embeddings.index((key, text, None) for ids, texts, _ in batches for key, text in zip(ids, texts, strict=True))
        embeddings.save(str(folder))
        return time.perf_counter() - started

    def __init__(self, folder: Path, vectors: Vectors):
        from txtai import Embeddings

        self._embeddings = Embeddings()
        self._embeddings.load(str(folder))
        self._embeddings.model.transform = lambda texts: np.stack([vectors[text] for text in texts])
        self._dense = copy.copy(self._embeddings)  # the same index without its words
        self._dense.scoring = None

    def tune(self, value: int) -> None:
        self._embeddings.config["faiss"]["nprobe"] = value

    def dense(self, text: str) -> list[str]:
        return [found["id"] for found in self._dense.search(text, K)]

    def hybrid(self, text: str) -> list[str]:
        return [found["id"] for found in self._embeddings.search(text, K)]


CONTENDERS: dict[str, type[Contender]] = {"Limpid": Limpid, "LanceDB": LanceDB, "Chroma": Chroma, "txtai": Txtai}


def _batches(corpus: SyntheticCorpus) -> Iterator[tuple[list[str], list[str], np.ndarray]]:
    """Ids, texts as BM25 reads them and vectors, float32, shape (n_batch, dim), of up to `BATCH` passages at once."""
    ids: list[str] = []
    texts: list[str] = []
    vectors: list[np.ndarray] = []
    for batch in range(corpus.n_batches):
        chunks = [chunk for chunk, _ in corpus.chunks(batch)]
        ids += [chunk.id for chunk in chunks]
        texts += [chunk.lexical_text for chunk in chunks]
        vectors.append(corpus.vectors(batch))
        if len(ids) >= BATCH or batch == corpus.n_batches - 1:
            yield ids, texts, np.concatenate(vectors)
            ids, texts, vectors = [], [], []

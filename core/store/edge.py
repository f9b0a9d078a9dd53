"""The embedded store: Qdrant Edge, Qdrant's own engine inside this process, in one folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import qdrant_edge as edge

from core import filters
from core.errors import DependencyError, IndexLocked, NotFound, StorageFull
from core.sparse import SparseVector
from core.store import Candidates, EmbeddedChunk, Scores, StoredChunk
from core.store import payload as form
from core.store.turns import Turns
from core.types import DocumentRecord

# Every `optimize` clears out all deleted points (1.4 s for 10 in 50,000): until then the engine counts them in the
# inverse document frequencies, and BM25 scores would differ from a fresh build's.
DELETED_THRESHOLD = 1e-9
# One thread a query: with a pool a dense query over 20,000 chunks took 1.8 ms instead of 1.2 on 2 cores, and a server
# has other queries for the other cores.
SEARCH_THREADS = 1
HELD = "held.lock"  # in the collection's folder, locked while a process has it open
MEGABYTE = 1 << 20
POINTS_PER_WRITE = 2048  # bounds the memory that the engine's log entry takes: 90 KB a chunk of 384 dimensions
_FIELD_KINDS = {
    "keyword": edge.PayloadSchemaType.Keyword,
    "integer": edge.PayloadSchemaType.Integer,
    "float": edge.PayloadSchemaType.Float,
}
_QUANTIZED = {
    "none": None,
    "int8": edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=form.INT8_QUANTILE, memory=edge.Memory.Pinned),
    "binary": edge.BinaryQuantizationConfig(memory=edge.Memory.Pinned),
}


class EdgeStore:
    """See `core.store.Store`. One write is one entry of the engine's log: it is there as a whole or not at all.

    A batch of more than `POINTS_PER_WRITE` chunks takes several; then its records are marked before, as on a server.
    """

    def __init__(
        self, folder: Path, dimension: int | None = None, min_free_mb: float = 256, quantization: str = "none"
    ):
        """Opens the collection in `folder`; with `dimension`, makes it where it doesn't exist.

        `quantization` is none, int8 or binary, and counts only where the collection is made.

        Raises `NotFound` where there is none to open, `IndexLocked` while another process has it open.
        """
        self._turns = Turns()
        self._folder = folder
        self._min_free = min_free_mb * MEGABYTE
        is_new = not exists(folder)
        if is_new and dimension is None:
            raise NotFound(f"There is no index in {folder}. Make one: limpid ingest PATH --index {folder}")
        if is_new:
            self._check_space(0)
            folder.mkdir(parents=True, exist_ok=True)
        self._held: int | None = _hold(folder)
        try:
            with _translated(folder):
                if is_new:
                    self._shard = edge.EdgeShard.create(str(folder), _config(dimension, quantization))
                else:
                    self._shard = edge.EdgeShard.load(str(folder))
            for key, kind in form.INDEXED.items() if is_new else ():
                self.index_field(key, kind)
        except BaseException:
            os.close(self._held)
            raise

    def reading(self) -> AbstractContextManager[None]:
        """See `Store`."""
        return self._turns.reading()

    def changing(self) -> AbstractContextManager[None]:
        """See `Store`."""
        return self._turns.changing()

    def read_meta(self) -> dict | None:
        """See `Store`."""
        with _translated(self._folder):
            found = self._shard.retrieve([form.META_ID], True, False)
        return form.meta_of(found[0].payload) if found else None

    def write_meta(self, meta: dict) -> None:
        """See `Store`."""
        self._write(edge.UpdateOperation.upsert_points([edge.Point(form.META_ID, {}, form.meta_payload(meta))]))
        with _translated(self._folder):
            self._shard.flush()

    def upsert(self, chunks: Sequence[EmbeddedChunk], records: Sequence[DocumentRecord]) -> None:
        """See `Store`."""
        self._check_space(sum(4 * (chunk.dense.size + chunk.sentences.size) for chunk in chunks))
        first = max(0, len(chunks) - POINTS_PER_WRITE)
        if first:  # too much for one entry of the log: leave a trace of what is under way
            marked = [form.marked(record, self.record(record.id)) for record in records]
            self._write(edge.UpdateOperation.upsert_points(list(map(_record_point, marked))))
        for start in range(0, first, POINTS_PER_WRITE):
            part = chunks[start : min(first, start + POINTS_PER_WRITE)]
            self._write(edge.UpdateOperation.upsert_points(list(map(_chunk_point, part))))
        points = [*map(_chunk_point, chunks[first:]), *map(_record_point, records)]
        self._write(edge.UpdateOperation.upsert_points(points))

    def settle(self, record: DocumentRecord) -> None:
        """See `Store`."""
        of_document = [_equals("kind", "chunk"), _equals("document_id", record.id)]
        stale = edge.Filter(must=of_document, must_not=[_equals("generation", record.generation)])
        self._write(edge.UpdateOperation.delete_points_by_filter(stale))
        self._write(edge.UpdateOperation.set_payload([form.record_id(record.id)], form.SETTLED))

    def delete_documents(self, document_ids: Sequence[str]) -> None:
        """See `Store`."""
        for document_id in document_ids:
            everything = edge.Filter(must=[_equals("document_id", document_id)])
            self._write(edge.UpdateOperation.delete_points_by_filter(everything))

    def update_sparse(self, vectors: Sequence[tuple[str, SparseVector]]) -> None:
        """See `Store`."""
        points = [
            edge.PointVectors(form.point_id(key), {form.SPARSE: edge.SparseVector(vector.indices, vector.values)})
            for key, vector in vectors
        ]
        self._write(edge.UpdateOperation.update_vectors(points))

    def index_field(self, key: str, kind: str) -> None:
        """See `Store`."""
        self._write(edge.UpdateOperation.create_field_index(key, _FIELD_KINDS[kind]))

    def candidates(
        self,
        dense: np.ndarray | None,
        sparse: SparseVector | None,
        limit: int,
        where: filters.Filter | None = None,
    ) -> Candidates:
        """See `Store`."""
        condition = _filter(where) if where is not None else None
        queries = []
        if dense is not None:
            nearest = edge.Query.Nearest(dense.tolist(), using=form.DENSE)
            params = _approximate(limit)
            queries.append(edge.QueryRequest(limit=limit, query=nearest, filter=condition, params=params))
        if sparse is not None and sparse.indices:
            nearest = edge.Query.Nearest(edge.SparseVector(sparse.indices, sparse.values), using=form.SPARSE)
            queries.append(edge.QueryRequest(limit=limit, query=nearest, filter=condition))
        if not queries:
            return Candidates([], [])
        with _translated(self._folder):
            found = [form.ranked(points) for points in self._shard.query_batch(edge.QueryBatchRequest(queries))]
        return Candidates(found.pop(0) if dense is not None else [], found.pop(0) if found else [])

    def score(self, ids: Sequence[str], dense: np.ndarray, sparse: SparseVector) -> Scores:
        """See `Store`."""
        points = [form.point_id(key) for key in ids]
        only = edge.Filter(must=[edge.HasIdCondition(set(points))])
        vector = dense.tolist()
        nearest = [edge.Query.Nearest(vector, using=form.DENSE), edge.Query.Nearest([vector], using=form.SENTENCES)]
        if sparse.indices:
            nearest.append(edge.Query.Nearest(edge.SparseVector(sparse.indices, sparse.values), using=form.SPARSE))
        exact = edge.SearchParams(exact=True)
        queries = [edge.QueryRequest(limit=len(ids), query=query, filter=only, params=exact) for query in nearest]
        with _translated(self._folder):
            answers = self._shard.query_batch(edge.QueryBatchRequest(queries)) if points else []
        return form.completed(points, answers)

    def recommend(
        self,
        positive: np.ndarray,
        negative: np.ndarray,
        strategy: str,
        limit: int,
        where: filters.Filter | None = None,
    ) -> list[tuple[str, float]]:
        """See `Store`."""
        if strategy == form.AVERAGE_VECTOR:  # the embedded engine leaves the average to its caller
            mean = form.average_vector(positive, negative)
            query = edge.Query.Nearest((mean / np.linalg.norm(mean)).tolist(), using=form.DENSE)
        else:
            examples = edge.RecommendQuery(positive.tolist(), negative.tolist())
            query = edge.Query.RecommendBestScore(examples, using=form.DENSE)
        condition = _filter(where) if where is not None else None
        request = edge.QueryRequest(limit=limit, query=query, filter=condition, params=_approximate(limit))
        with _translated(self._folder):
            return form.ranked(self._shard.query(request))

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """See `Store`."""
        with _translated(self._folder):
            points = self._shard.retrieve([form.point_id(key) for key in ids], False, [form.DENSE])
        return {form.chunk_id(point.id): np.asarray(point.vector[form.DENSE], dtype=np.float32) for point in points}

    def idf(self, indices: Sequence[int]) -> dict[int, float]:
        """See `Store`."""
        queries = [
            edge.QueryRequest(
                limit=1,
                query=edge.Query.Nearest(edge.SparseVector([index], [1.0]), using=form.SPARSE),
                with_vector=[form.SPARSE],
            )
            for index in indices
        ]
        with _translated(self._folder):
            answers = self._shard.query_batch(edge.QueryBatchRequest(queries)) if queries else []
        return form.idf(indices, answers)

    def fetch(self, ids: Sequence[str], *, sentences: bool = False) -> dict[str, StoredChunk]:
        """See `Store`."""
        with _translated(self._folder):
            wanted = [form.SENTENCES] if sentences else False
            points = self._shard.retrieve([form.point_id(key) for key in ids], True, wanted)
        return {form.chunk_id(point.id): _stored(point) for point in points}

    def owners(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """See `Store`."""
        with _translated(self._folder):
            points = self._shard.retrieve([form.point_id(key) for key in ids], form.OWNERS, False)
        return {form.chunk_id(point.id): form.owners_of(point.payload) for point in points}

    def scan(
        self, *, vectors: bool = False, batch: int = 256, where: filters.Filter | None = None
    ) -> Iterator[list[StoredChunk]]:
        """See `Store`."""
        must = [_equals("kind", "chunk")] + ([_filter(where)] if where is not None else [])
        for points in self._scroll(edge.Filter(must=must), True, form.wanted(vectors), batch):
            yield [_stored(point) for point in points]

    def records(self, *, unsettled: bool = False) -> Iterator[DocumentRecord]:
        """See `Store`."""
        must = [_equals("kind", "document")] + ([_equals("state", "settling")] if unsettled else [])
        for points in self._scroll(edge.Filter(must=must), form.RECORD_FIELDS, False, 1024):
            yield from (form.record_of(point.payload) for point in points)

    def record(self, document_id: str) -> DocumentRecord | None:
        """See `Store`."""
        return next(iter(self.load_records([document_id])), None)

    def load_records(self, document_ids: Sequence[str]) -> list[DocumentRecord]:
        """See `Store`."""
        with _translated(self._folder):
            found = self._shard.retrieve([form.record_id(key) for key in document_ids], True, False)
        return [form.record_of(point.payload) for point in found]

    def count_chunks(self) -> int:
        """See `Store`."""
        return self._count("chunk")

    def count_documents(self) -> int:
        """See `Store`."""
        return self._count("document")

    def optimize(self) -> None:
        """See `Store`."""
        self._check_space(0)
        with _translated(self._folder):
            self._shard.optimize()
            self._shard.flush()

    def close(self) -> None:
        """See `Store`."""
        with _translated(self._folder):
            try:
                self._shard.flush()
                self._shard.close()
            finally:
                held, self._held = self._held, None
                if held is not None:
                    os.close(held)

    def _count(self, kind: str) -> int:
        complete = edge.Filter(must=[_equals("kind", kind)], must_not=[_equals("generation", "")])
        with _translated(self._folder):
            return self._shard.count(edge.CountRequest(exact=True, filter=complete))

    def _scroll(self, where: edge.Filter, payload: object, vectors: object, batch: int) -> Iterator[list[edge.Record]]:
        offset = None
        while True:
            request = edge.ScrollRequest(
                offset=offset, limit=batch, filter=where, with_payload=payload, with_vector=vectors
            )
            with _translated(self._folder):
                points, offset = self._shard.scroll(request)
            if points:
                yield points
            if offset is None:
                return

    def _write(self, operation: edge.UpdateOperation) -> None:
        with _translated(self._folder):
            self._shard.update(operation)

    def _check_space(self, size_bytes: int) -> None:
        """Refuse while there is still room: the engine writes to mapped files, where a full disk kills the process."""
        existing = next(path for path in (self._folder, *self._folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < self._min_free + 4 * size_bytes:
            raise StorageFull(
                f"Only {free / MEGABYTE:,.0f} MB are free for {self._folder}, and {self._min_free / MEGABYTE:,.0f} MB "
                "must stay free (setting min_free_mb). Make room, then run the same command again: "
                "what was indexed so far is kept."
            )


def exists(folder: Path) -> bool:
    """Whether a folder holds an embedded collection."""
    return (folder / "edge_config.json").is_file()


def _hold(folder: Path) -> int:
    """A handle whose closing lets go of the folder.

    The engine has a lock of its own, but what it does before it finds that taken removes files of whoever has it.
    Raises `IndexLocked`, or `DependencyError` where the folder can't be written.
    """
    try:
        handle = os.open(folder / HELD, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DependencyError(f"The index {folder} can't be used: {error.strerror}.") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise _locked(folder) from None
    return handle


def _locked(folder: Path) -> IndexLocked:
    return IndexLocked(f"The index {folder} is open in another process. Wait for it, or stop it.")


def _approximate(limit: int) -> edge.SearchParams:
    """How the chunk vectors are searched; the second part counts only where they are quantised."""
    quantized = edge.QuantizationSearchParams(rescore=True, oversampling=form.OVERSAMPLING)
    return edge.SearchParams(hnsw_ef=max(form.HNSW_EF, limit), quantization=quantized)


def _config(dimension: int, quantization: str) -> edge.EdgeConfig:
    no_hnsw = edge.HnswIndexConfig(m=0, ef_construct=4, full_scan_threshold=0)
    quantized = _QUANTIZED[quantization]
    return edge.EdgeConfig(
        vectors={
            form.DENSE: edge.EdgeVectorParams(
                size=dimension,
                distance=edge.Distance.Dot,
                quantization_config=quantized,
                memory=edge.Memory.Cold if quantized else None,
            ),
            form.SENTENCES: edge.EdgeVectorParams(
                size=dimension,
                distance=edge.Distance.Dot,
                datatype=edge.VectorStorageDatatype.Float16,
                multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
                hnsw_config=no_hnsw,
                memory=edge.Memory.Cold,
            ),
        },
        sparse_vectors={form.SPARSE: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        max_search_threads=SEARCH_THREADS,
        hnsw_config=edge.HnswIndexConfig(
            m=form.HNSW_M, ef_construct=form.HNSW_EF_CONSTRUCT, full_scan_threshold=form.FULL_SCAN_KB
        ),
        optimizers=edge.EdgeOptimizersConfig(
            indexing_threshold=form.FULL_SCAN_KB, deleted_threshold=DELETED_THRESHOLD, vacuum_min_vector_number=1
        ),
    )


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:  # the engine raises plain exceptions only
            raise
        text = str(error)
        if "WouldBlock" in text:
            raise _locked(folder) from None
        if "No space left" in text or "StorageFull" in text:
            raise StorageFull(f"The disk of {folder} is full. Make room, then run the same command again.") from None
        raise DependencyError(f"The index {folder} can't be used: {text}") from error


def _chunk_point(embedded: EmbeddedChunk) -> edge.Point:
    vectors = {
        form.DENSE: embedded.dense.tolist(),
        form.SENTENCES: embedded.sentences.tolist(),
        form.SPARSE: edge.SparseVector(embedded.sparse.indices, embedded.sparse.values),
    }
    payload = form.chunk_payload(embedded.chunk, embedded.generation)
    return edge.Point(form.point_id(embedded.chunk.id), vectors, payload)


def _record_point(record: DocumentRecord) -> edge.Point:
    return edge.Point(form.record_id(record.id), {}, form.record_payload(record))


def _equals(key: str, value: filters.Value) -> edge.FieldCondition:
    if isinstance(value, float):
        return edge.FieldCondition(key, range=edge.RangeFloat(gte=value, lte=value))
    return edge.FieldCondition(key, match=edge.MatchValue(value))


def _among(key: str, values: tuple[filters.Value, ...]) -> list[edge.FieldCondition]:
    words = [value for value in values if isinstance(value, str)]
    integers = [value for value in values if isinstance(value, int)]
    conditions = [edge.FieldCondition(key, match=edge.MatchAny(group)) for group in (words, integers) if group]
    return conditions + [_equals(key, value) for value in values if isinstance(value, float)]


def _filter(where: filters.Filter) -> edge.Filter:
    match where:
        case filters.Comparison(key, "=", value):
            return edge.Filter(must=[_equals(key, value)])
        case filters.Comparison(key, operator, value):
            bound = edge.RangeFloat(**{form.RANGES[operator]: float(value)})
            return edge.Filter(must=[edge.FieldCondition(key, range=bound)])
        case filters.OneOf(key, values):
            return edge.Filter(should=_among(key, values))
        case filters.Not(part):
            return edge.Filter(must_not=[_filter(part)])
        case filters.All(parts):
            return edge.Filter(must=[_filter(part) for part in parts])
        case filters.Some(parts):
            return edge.Filter(should=[_filter(part) for part in parts])


def _stored(point: edge.Record) -> StoredChunk:
    vectors = point.vector or {}
    dense = _matrix([vectors[form.DENSE]])[0] if form.DENSE in vectors else None
    sentences = _matrix(vectors[form.SENTENCES]) if form.SENTENCES in vectors else None
    return StoredChunk(form.chunk_of(point.id, point.payload), dense, sentences)


def _matrix(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """As `np.asarray(rows, dtype=np.float32)`, four times as fast: it is half of what reading a hit takes."""
    packed = bytearray().join([struct.pack(f"{len(row)}f", *row) for row in rows])
    return np.frombuffer(packed, dtype=np.float32).reshape(len(rows), -1)

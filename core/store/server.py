"""The scale-out store: a collection on a Qdrant server or cluster, through qdrant-client."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from core import filters
from core.errors import ConfigError, DependencyError, NotFound
from core.sparse import SparseVector
from core.store import Candidates, EmbeddedChunk, Scores, StoredChunk
from core.store import payload as form
from core.store.turns import Turns
from core.types import DocumentRecord

# Points to a request: with their sentence vectors about 5 MB of JSON, far below the server's limit of 32 MB.
POINTS_PER_REQUEST = 64
TIMEOUT_S = 60
_FIELD_KINDS = {
    "keyword": models.PayloadSchemaType.KEYWORD,
    "integer": models.PayloadSchemaType.INTEGER,
    "float": models.PayloadSchemaType.FLOAT,
}
_QUANTIZED = {
    "none": None,
    "int8": models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=form.INT8_QUANTILE, always_ram=True
        )
    ),
    "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
}


def connect(url: str, api_key: str | None) -> QdrantClient:
    """A client for a server. Raises `ConfigError` for an address that can't be one."""
    try:
        with warnings.catch_warnings():  # a key over http:// is the user's choice, such as inside one host
            warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
            return QdrantClient(url=url, api_key=api_key, timeout=TIMEOUT_S, check_compatibility=False)
    except ValueError as error:
        raise ConfigError(f"{url!r} isn't the address of a Qdrant server: {error}.") from None


def point_alias(client: QdrantClient, alias: str, collection: str) -> None:
    """Let an alias stand for another collection; the server changes it in one step."""
    operations: list[models.AliasOperations] = [
        models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=held.alias_name))
        for held in client.get_aliases().aliases
        if held.alias_name == alias
    ]
    create = models.CreateAlias(collection_name=collection, alias_name=alias)
    client.update_collection_aliases([*operations, models.CreateAliasOperation(create_alias=create)])


@contextmanager
def translated() -> Iterator[None]:
    """Whatever the client raises becomes a `DependencyError`."""
    try:
        yield
    except UnexpectedResponse as error:
        if error.status_code in (401, 403):
            raise DependencyError("The Qdrant server refuses the key; set LIMPID_QDRANT_API_KEY.") from None
        raise DependencyError(f"The Qdrant server answered {error.status_code}: {error.reason_phrase}.") from error
    except (ResponseHandlingException, ApiException, ConnectionError) as error:
        raise DependencyError(f"The Qdrant server can't be reached ({error}). Is it running?") from None


class ServerStore:
    """See `core.store.Store`. A document's record is marked before and released after its chunks are written."""

    def __init__(self, client: QdrantClient, collection: str, dimension: int | None = None, quantization: str = "none"):
        """Opens `collection`; with `dimension`, makes it where it doesn't exist. The client is closed with the store.

        `quantization` is none, int8 or binary, and counts only where the collection is made.
        Raises `NotFound` where there is no such collection, `DependencyError` where the server can't be reached.
        """
        self._turns = Turns()
        self._client = client
        self._collection = collection
        with translated():
            if client.collection_exists(collection):
                return
            if dimension is None:
                raise NotFound(
                    f"The server has no collection {collection!r}. Make it with `limpid ingest PATH`, the same --index "
                    f"and --collection {collection}."
                )
            client.create_collection(collection, **_config(dimension, quantization))
            for key, kind in form.INDEXED.items():
                self.index_field(key, kind)

    def reading(self) -> AbstractContextManager[None]:
        """See `Store`."""
        return self._turns.reading()

    def changing(self) -> AbstractContextManager[None]:
        """See `Store`."""
        return self._turns.changing()

    def read_meta(self) -> dict | None:
        """See `Store`."""
        found = self._retrieve([form.META_ID])
        return form.meta_of(found[0].payload) if found else None

    def write_meta(self, meta: dict) -> None:
        """See `Store`."""
        self._upsert([models.PointStruct(id=form.META_ID, vector={}, payload=form.meta_payload(meta))])

    def upsert(self, chunks: Sequence[EmbeddedChunk], records: Sequence[DocumentRecord]) -> None:
        """See `Store`."""
        self._upsert([_record_point(form.marked(record, self.record(record.id))) for record in records])
        for start in range(0, len(chunks), POINTS_PER_REQUEST):
            self._upsert([_chunk_point(embedded) for embedded in chunks[start : start + POINTS_PER_REQUEST]])
        self._upsert([_record_point(record) for record in records])

    def settle(self, record: DocumentRecord) -> None:
        """See `Store`."""
        of_document = [_equals("kind", "chunk"), _equals("document_id", record.id)]
        self._delete(models.Filter(must=of_document, must_not=[_equals("generation", record.generation)]))
        with translated():
            self._client.set_payload(self._collection, form.SETTLED, points=[form.record_id(record.id)], wait=True)

    def delete_documents(self, document_ids: Sequence[str]) -> None:
        """See `Store`."""
        for document_id in document_ids:
            self._delete(models.Filter(must=[_equals("document_id", document_id)]))

    def update_sparse(self, vectors: Sequence[tuple[str, SparseVector]]) -> None:
        """See `Store`."""
        points = [
            models.PointVectors(id=form.point_id(key), vector={form.SPARSE: _sparse(vector)}) for key, vector in vectors
        ]
        with translated():
            self._client.update_vectors(self._collection, points, wait=True)

    def index_field(self, key: str, kind: str) -> None:
        """See `Store`."""
        with translated():
            self._client.create_payload_index(self._collection, key, _FIELD_KINDS[kind], wait=True)

    def candidates(
        self,
        dense: np.ndarray | None,
        sparse: SparseVector | None,
        limit: int,
        where: filters.Filter | None = None,
    ) -> Candidates:
        """See `Store`."""
        condition = _filter(where) if where is not None else None
        requests = []
        if dense is not None:
            params = _approximate(limit)
            requests.append(
                models.QueryRequest(
                    query=dense.tolist(), using=form.DENSE, limit=limit, filter=condition, params=params
                )
            )
        if sparse is not None and sparse.indices:
            requests.append(
                models.QueryRequest(query=_sparse(sparse), using=form.SPARSE, limit=limit, filter=condition)
            )
        found = [form.ranked(points) for points in self._query(requests)]
        return Candidates(found.pop(0) if dense is not None else [], found.pop(0) if found else [])

    def score(self, ids: Sequence[str], dense: np.ndarray, sparse: SparseVector) -> Scores:
        """See `Store`."""
        points = [form.point_id(key) for key in ids]
        vector = dense.tolist()
        queries: list[tuple[object, str]] = [(vector, form.DENSE), ([vector], form.SENTENCES)]
        if sparse.indices:
            queries.append((_sparse(sparse), form.SPARSE))
        only = models.Filter(must=[models.HasIdCondition(has_id=points)])
        exact = models.SearchParams(exact=True)
        requests = [
            models.QueryRequest(query=query, using=using, limit=len(ids), filter=only, params=exact)
            for query, using in queries
        ]
        return form.completed(points, self._query(requests) if points else [])

    def recommend(
        self,
        positive: np.ndarray,
        negative: np.ndarray,
        strategy: str,
        limit: int,
        where: filters.Filter | None = None,
    ) -> list[tuple[str, float]]:
        """See `Store`."""
        examples = models.RecommendInput(
            positive=positive.tolist(), negative=negative.tolist(), strategy=models.RecommendStrategy(strategy)
        )
        request = models.QueryRequest(
            query=models.RecommendQuery(recommend=examples),
            using=form.DENSE,
            limit=limit,
            filter=_filter(where) if where is not None else None,
            params=_approximate(limit),
        )
        (found,) = self._query([request])
        if strategy == form.AVERAGE_VECTOR:  # the server doesn't normalise the average: its scores aren't cosines yet
            length = float(np.linalg.norm(form.average_vector(positive, negative)))
            found = [point.model_copy(update={"score": point.score / length}) for point in found]
        return form.ranked(found)

    def vectors(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        """See `Store`."""
        points = self._retrieve([form.point_id(key) for key in ids], payload=False, vectors=[form.DENSE])
        return {form.chunk_id(point.id): np.asarray(point.vector[form.DENSE], dtype=np.float32) for point in points}

    def idf(self, indices: Sequence[int]) -> dict[int, float]:
        """See `Store`."""
        requests = [
            models.QueryRequest(
                query=models.SparseVector(indices=[index], values=[1.0]),
                using=form.SPARSE,
                limit=1,
                with_vector=[form.SPARSE],
            )
            for index in indices
        ]
        return form.idf(indices, self._query(requests))

    def fetch(self, ids: Sequence[str], *, sentences: bool = False) -> dict[str, StoredChunk]:
        """See `Store`."""
        points = self._retrieve([form.point_id(key) for key in ids], vectors=[form.SENTENCES] if sentences else False)
        return {form.chunk_id(point.id): _stored(point) for point in points}

    def owners(self, ids: Sequence[str]) -> dict[str, list[str]]:
        """See `Store`."""
        points = self._retrieve([form.point_id(key) for key in ids], payload=form.OWNERS)
        return {form.chunk_id(point.id): form.owners_of(point.payload) for point in points}

    def scan(
        self, *, vectors: bool = False, batch: int = 256, where: filters.Filter | None = None
    ) -> Iterator[list[StoredChunk]]:
        """See `Store`."""
        must = [_equals("kind", "chunk")] + ([_filter(where)] if where is not None else [])
        for points in self._scroll(models.Filter(must=must), True, form.wanted(vectors), batch):
            yield [_stored(point) for point in points]

    def records(self, *, unsettled: bool = False) -> Iterator[DocumentRecord]:
        """See `Store`."""
        must = [_equals("kind", "document")] + ([_equals("state", "settling")] if unsettled else [])
        for points in self._scroll(models.Filter(must=must), form.RECORD_FIELDS, False, 1024):
            yield from (form.record_of(point.payload) for point in points)

    def record(self, document_id: str) -> DocumentRecord | None:
        """See `Store`."""
        return next(iter(self.load_records([document_id])), None)

    def load_records(self, document_ids: Sequence[str]) -> list[DocumentRecord]:
        """See `Store`."""
        return [
            form.record_of(point.payload) for point in self._retrieve([form.record_id(key) for key in document_ids])
        ]

    def count_chunks(self) -> int:
        """See `Store`."""
        return self._count("chunk")

    def count_documents(self) -> int:
        """See `Store`."""
        return self._count("document")

    def optimize(self) -> None:
        """See `Store`: a server optimises by itself, in the background, and answers meanwhile."""

    def close(self) -> None:
        """See `Store`."""
        self._client.close()

    def _count(self, kind: str) -> int:
        with translated():
            complete = models.Filter(must=[_equals("kind", kind)], must_not=[_equals("generation", "")])
            return self._client.count(self._collection, count_filter=complete, exact=True).count

    def _upsert(self, points: list[models.PointStruct]) -> None:
        if points:
            with translated():
                self._client.upsert(self._collection, points, wait=True)

    def _delete(self, where: models.Filter) -> None:
        with translated():
            self._client.delete(self._collection, models.FilterSelector(filter=where), wait=True)

    def _retrieve(
        self, ids: list[int], *, payload: list[str] | bool = True, vectors: list[str] | bool = False
    ) -> list[models.Record]:
        with translated():
            return self._client.retrieve(self._collection, ids, with_payload=payload, with_vectors=vectors)

    def _query(self, requests: list[models.QueryRequest]) -> list[list[models.ScoredPoint]]:
        if not requests:
            return []
        with translated():
            return [answer.points for answer in self._client.query_batch_points(self._collection, requests)]

    def _scroll(
        self, where: models.Filter, payload: object, vectors: object, batch: int
    ) -> Iterator[list[models.Record]]:
        offset = None
        while True:
            with translated():
                points, offset = self._client.scroll(
                    self._collection,
                    scroll_filter=where,
                    limit=batch,
                    offset=offset,
                    with_payload=payload,
                    with_vectors=vectors,
                )
            if points:
                yield points
            if offset is None:
                return


def _approximate(limit: int) -> models.SearchParams:
    """How the chunk vectors are searched; the second part counts only where they are quantised."""
    quantized = models.QuantizationSearchParams(rescore=True, oversampling=form.OVERSAMPLING)
    return models.SearchParams(hnsw_ef=max(form.HNSW_EF, limit), quantization=quantized)


def _config(dimension: int, quantization: str) -> dict:
    quantized = _QUANTIZED[quantization]
    return {
        "vectors_config": {
            form.DENSE: models.VectorParams(
                size=dimension,
                distance=models.Distance.DOT,
                quantization_config=quantized,
                on_disk=True if quantized else None,
            ),
            form.SENTENCES: models.VectorParams(
                size=dimension,
                distance=models.Distance.DOT,
                datatype=models.Datatype.FLOAT16,
                multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
                hnsw_config=models.HnswConfigDiff(m=0),
                on_disk=True,
            ),
        },
        "sparse_vectors_config": {form.SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        "hnsw_config": models.HnswConfigDiff(
            m=form.HNSW_M, ef_construct=form.HNSW_EF_CONSTRUCT, full_scan_threshold=form.FULL_SCAN_KB
        ),
        "optimizers_config": models.OptimizersConfigDiff(indexing_threshold=form.FULL_SCAN_KB),
        "on_disk_payload": True,
    }


def _sparse(vector: SparseVector) -> models.SparseVector:
    return models.SparseVector(indices=vector.indices, values=vector.values)


def _chunk_point(embedded: EmbeddedChunk) -> models.PointStruct:
    vectors = {
        form.DENSE: embedded.dense.tolist(),
        form.SENTENCES: embedded.sentences.tolist(),
        form.SPARSE: _sparse(embedded.sparse),
    }
    payload = form.chunk_payload(embedded.chunk, embedded.generation)
    return models.PointStruct(id=form.point_id(embedded.chunk.id), vector=vectors, payload=payload)


def _record_point(record: DocumentRecord) -> models.PointStruct:
    return models.PointStruct(id=form.record_id(record.id), vector={}, payload=form.record_payload(record))


def _equals(key: str, value: filters.Value) -> models.FieldCondition:
    if isinstance(value, float):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def _among(key: str, values: tuple[filters.Value, ...]) -> list[models.FieldCondition]:
    words = [value for value in values if isinstance(value, str)]
    integers = [value for value in values if isinstance(value, int)]
    conditions = [
        models.FieldCondition(key=key, match=models.MatchAny(any=group)) for group in (words, integers) if group
    ]
    return conditions + [_equals(key, value) for value in values if isinstance(value, float)]


def _filter(where: filters.Filter) -> models.Filter:
    match where:
        case filters.Comparison(key, "=", value):
            return models.Filter(must=[_equals(key, value)])
        case filters.Comparison(key, operator, value):
            bound = models.Range(**{form.RANGES[operator]: float(value)})
            return models.Filter(must=[models.FieldCondition(key=key, range=bound)])
        case filters.OneOf(key, values):
            return models.Filter(should=_among(key, values))
        case filters.Not(part):
            return models.Filter(must_not=[_filter(part)])
        case filters.All(parts):
            return models.Filter(must=[_filter(part) for part in parts])
        case filters.Some(parts):
            return models.Filter(should=[_filter(part) for part in parts])


def _stored(point: models.Record) -> StoredChunk:
    vectors: dict = point.vector or {}
    dense, sentences = (
        np.asarray(vectors[name], dtype=np.float32) if name in vectors else None
        for name in (form.DENSE, form.SENTENCES)
    )
    return StoredChunk(form.chunk_of(point.id, point.payload), dense, sentences)

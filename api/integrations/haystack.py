"""A Haystack component: `pip install limpid[haystack]`."""

from __future__ import annotations

from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import Secret, deserialize_secrets_inplace

from api.client import AsyncClient, Client
from api.integrations.hits import content_of, metadata_of
from api.schemas import HitAnswer


@component
class LimpidRetriever:
    """Documents are passages of a Limpid server with their scores, best first. Raises the errors of `api.client`."""

    def __init__(
        self,
        url: str,
        key: Secret | None = None,
        top_k: int = 10,
        filter: str | None = None,
        options: dict[str, Any] | None = None,
    ):
        """`options` are further arguments of `Client.search`."""
        self.url = url
        self.key = key
        self.top_k = top_k
        self.filter = filter
        self.options = options or {}

    @component.output_types(documents=list[Document])
    def run(self, query: str, top_k: int | None = None, filter: str | None = None) -> dict[str, list[Document]]:
        """The passages that answer a query; `top_k` and `filter` replace the component's own."""
        with Client(self.url, self._secret) as client:
            answer = client.search(query, **self._asked(top_k, filter))
        return {"documents": [_document(hit) for hit in answer.hits]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, top_k: int | None = None, filter: str | None = None
    ) -> dict[str, list[Document]]:
        """As `run`, awaited."""
        async with AsyncClient(self.url, self._secret) as client:
            answer = await client.search(query, **self._asked(top_k, filter))
        return {"documents": [_document(hit) for hit in answer.hits]}

    def to_dict(self) -> dict[str, Any]:
        """The component as plain values, for a pipeline's file. Raises `ValueError` for a key that isn't a variable."""
        return default_to_dict(
            self,
            url=self.url,
            key=self.key.to_dict() if self.key else None,
            top_k=self.top_k,
            filter=self.filter,
            options=self.options,
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LimpidRetriever:
        """The component that `to_dict` has described."""
        deserialize_secrets_inplace(data["init_parameters"], keys=["key"])
        return default_from_dict(cls, data)

    @property
    def _secret(self) -> str | None:
        return self.key.resolve_value() if self.key else None

    def _asked(self, top_k: int | None, filter: str | None) -> dict[str, Any]:
        k = self.top_k if top_k is None else top_k
        return {"k": k, "filter": self.filter if filter is None else filter, **self.options}


def _document(hit: HitAnswer) -> Document:
    return Document(id=hit.chunk_id, content=content_of(hit), meta=metadata_of(hit), score=hit.score)

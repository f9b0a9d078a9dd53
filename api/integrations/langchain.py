"""A LangChain retriever: `pip install limpid[langchain]`."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import Field, SecretStr

from api.client import AsyncClient, Client
from api.integrations.hits import content_of, metadata_of
from api.schemas import HitAnswer


class LimpidRetriever(BaseRetriever):
    """Documents are passages of a Limpid server, best first. Raises the errors of `api.client`."""

    url: str
    key: SecretStr | None = None
    k: int = 10
    filter: str | None = None
    options: dict[str, Any] = Field(default_factory=dict, description="Further arguments of `Client.search`.")

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        with Client(self.url, self._secret) as client:
            answer = client.search(query, k=self.k, filter=self.filter, **self.options)
        return [_document(hit) for hit in answer.hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun
    ) -> list[Document]:
        async with AsyncClient(self.url, self._secret) as client:
            answer = await client.search(query, k=self.k, filter=self.filter, **self.options)
        return [_document(hit) for hit in answer.hits]

    @property
    def _secret(self) -> str | None:
        return self.key.get_secret_value() if self.key else None


def _document(hit: HitAnswer) -> Document:
    return Document(page_content=content_of(hit), id=hit.chunk_id, metadata=metadata_of(hit))

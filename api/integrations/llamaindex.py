"""A LlamaIndex retriever: `pip install limpid[llamaindex]`."""

from __future__ import annotations

from typing import Any

from llama_index.core.callbacks import CallbackManager
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from api.client import AsyncClient, Client
from api.integrations.hits import content_of, metadata_of
from api.schemas import HitAnswer

SHOWN = {"title", "place"}  # of the metadata, to a model


class LimpidRetriever(BaseRetriever):
    """Nodes are passages of a Limpid server with their scores, best first. Raises the errors of `api.client`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        k: int = 10,
        filter: str | None = None,
        callback_manager: CallbackManager | None = None,
        **options: Any,
    ):
        """`options` are further arguments of `Client.search`."""
        super().__init__(callback_manager=callback_manager)
        self._url = url
        self._key = key
        self._options = {"k": k, "filter": filter, **options}

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        with Client(self._url, self._key) as client:
            answer = client.search(query_bundle.query_str, **self._options)
        return [_node(hit) for hit in answer.hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        async with AsyncClient(self._url, self._key) as client:
            answer = await client.search(query_bundle.query_str, **self._options)
        return [_node(hit) for hit in answer.hits]


def _node(hit: HitAnswer) -> NodeWithScore:
    metadata = metadata_of(hit)
    hidden = [name for name in metadata if name not in SHOWN]
    node = TextNode(
        id_=hit.chunk_id,
        text=content_of(hit),
        metadata=metadata,
        excluded_llm_metadata_keys=hidden,
        excluded_embed_metadata_keys=hidden,
    )
    return NodeWithScore(node=node, score=hit.score)

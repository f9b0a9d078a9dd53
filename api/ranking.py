"""Answering many queries, with a progress bar."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.console import Console
    from core.types import Hit
    from search.retriever import Retriever


def rank_all(
    retriever: Retriever,
    texts: Mapping[str, str],
    console: Console,
    *,
    k: int,
    exclude_self: bool = False,
    label: str = "searching",
    **how: Any,
) -> dict[str, list[tuple[str, float]]]:
    """Query id → its `k` best documents with their scores; with `exclude_self` without the document of that id."""
    ranked = {}
    with console.progress(label, len(texts)) as advance:
        for done, (query_id, text) in enumerate(texts.items(), start=1):
            found = retriever.rank_documents(text, k + exclude_self, **how)
            ranked[query_id] = [hit for hit in found if not (exclude_self and hit[0] == query_id)][:k]
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    return ranked


def passages_all(
    retriever: Retriever,
    texts: Mapping[str, str],
    console: Console,
    *,
    k: int,
    owned: Mapping[str, str],
    exclude_self: bool = False,
    label: str = "searching",
    **how: Any,
) -> dict[str, list[tuple[str, int, int]]]:
    """Query id → its `k` best passages as document id, start and end.

    `owned` are texts by document: a passage that one of these shares with the document it is stored with counts as its.
    """
    found = {}
    with console.progress(label, len(texts)) as advance:
        for done, (query_id, text) in enumerate(texts.items(), start=1):
            where = without(query_id) if exclude_self else None
            hits = retriever.search(text, k, where=where, **how).hits
            found[query_id] = [_stretch(hit, owned) for hit in hits]
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    return found


def without(document_id: str) -> str:
    """The filter that leaves out one document."""
    return f"document_id != {json.dumps(document_id, ensure_ascii=False)}"


def _stretch(hit: Hit, owned: Mapping[str, str]) -> tuple[str, int, int]:
    chunk, passage = hit.chunk, hit.passage or hit.chunk
    if chunk.document_id not in owned:
        for document_id in chunk.also_in:
            start = owned.get(document_id, "").find(passage.text)
            if start >= 0:
                return document_id, start, start + len(passage.text)
    return chunk.document_id, passage.start, passage.end

"""Answering many queries, with a progress bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from api.console import Console
    from search.retriever import Retriever


def rank_all(
    retriever: Retriever, texts: dict[str, str], console: Console, *, k: int, exclude_self: bool = False, **how: Any
) -> dict[str, list[tuple[str, float]]]:
    """Query id → its `k` best documents with their scores; with `exclude_self` without the document of that id."""
    ranked = {}
    with console.progress("searching", len(texts)) as advance:
        for done, (query_id, text) in enumerate(texts.items(), start=1):
            found = retriever.rank_documents(text, k + exclude_self, **how)
            ranked[query_id] = [hit for hit in found if not (exclude_self and hit[0] == query_id)][:k]
            advance(done, detail=f"{done:,} of {len(texts):,} queries")
    return ranked

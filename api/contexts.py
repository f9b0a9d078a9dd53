"""Contexts from an open index, the same for the command line and for HTTP."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from core.index import Index
from core.settings import Settings
from core.tokens import LlmTokenizer
from search.context import Context, Texts, build_context
from search.evidence import gather
from search.retriever import Retriever


def find_context(
    index: Index,
    retriever: Retriever,
    settings: Settings,
    query: str,
    *,
    max_tokens: int,
    encoding: str,
    form: str,
    passage: str,
    order: str,
    k: int,
    **how: Any,
) -> Context:
    """The context of a query; `how` are further options of a search. Raises like `gather` and `build_context`."""
    tokenizer = llm_tokenizer(encoding, settings.cache_dir / "tiktoken")
    evidence = gather(index, retriever, query, passage, k, **how)
    return build_context(evidence, Texts(index.store).record, tokenizer, max_tokens, form, order)


@lru_cache(maxsize=4)
def llm_tokenizer(encoding: str, cache_dir: Path) -> LlmTokenizer:
    """One for all that count tokens: building it takes a fifth of a second. Raises like `LlmTokenizer`."""
    return LlmTokenizer(encoding, cache_dir)

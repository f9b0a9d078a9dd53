"""Ingest with its progress shown, the same for the command and the demo."""

from __future__ import annotations

from api.console import Console
from core.index import Index
from core.settings import Settings
from core.tokens import LlmTokenizer
from ingest.pipeline import Progress, Summary, ingest
from ingest.sources import Sources


def ingest_shown(index: Index, settings: Settings, console: Console, sources: Sources, prune: bool) -> Summary:
    """Bring the index in step with the sources while a progress bar shows how far it is; raises like `ingest`."""
    with console.progress("reading") as advance:

        def show(progress: Progress) -> None:
            advance(
                progress.done_bytes,
                progress.total_bytes or None,
                progress.stage,
                f"{progress.n_chunks:,} chunks, {progress.n_texts:,} texts",
            )

        tokenizer = LlmTokenizer(cache_dir=settings.cache_dir / "tiktoken")
        return ingest(index, sources, prune=prune, llm_tokenizer=tokenizer, on_progress=show)

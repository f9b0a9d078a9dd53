"""Ingest with its progress shown, the same for the command and the demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from api.console import Console
from core.index import Index
from core.settings import Settings
from ingest.pipeline import Summary, ingest
from ingest.sources import Sources
from ingest.sources.archives import ArchiveLimits
from ingest.writer import Progress

MEGABYTE = 2**20


def document_bytes(settings: Settings) -> int:
    """The largest file that is read."""
    return int(settings.max_document_mb * MEGABYTE)


def archive_limits(settings: Settings) -> ArchiveLimits:
    """What one archive may unpack to."""
    return ArchiveLimits(
        unpacked_bytes=int(settings.max_archive_mb * MEGABYTE),
        members=settings.max_archive_members,
        depth=settings.max_archive_depth,
        nested_bytes=document_bytes(settings),
    )


def ingest_shown(index: Index, settings: Settings, console: Console, sources: Sources, prune: bool) -> Summary:
    """Bring the index in step with the sources while a progress bar shows how far it is; raises like `ingest`."""
    with progress_shown(console) as show:
        return ingest(index, sources, settings, prune=prune, on_progress=show)


@contextmanager
def progress_shown(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A progress bar for whatever writes to an index: documents, chunks a second, time left by bytes."""
    started = time.monotonic()
    with console.progress("reading") as advance:

        def show(progress: Progress) -> None:
            rate = progress.n_chunks / max(1e-3, time.monotonic() - started)
            detail = f"{progress.n_documents:,} documents, {progress.n_chunks:,} chunks ({rate:,.0f}/s)"
            advance(progress.done_bytes, progress.total_bytes or None, progress.stage, detail)

        yield show

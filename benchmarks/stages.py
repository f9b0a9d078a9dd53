"""Where the time of an ingest goes: a stopwatch for its stages, put around the parts that it is made of."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from unittest import mock

from core.index import Index
from ingest import pipeline, writer
from ingest.sources import Sources

READING, EXTRACTING, CHUNKING = "reading files", "extracting, and waiting for its processes", "chunking"
ENCODING, WRITING, OPTIMISING = "encoding", "writing", "optimising"
MAIN, FINISHING, REWEIGHING = "main thread: waiting for the encoder, and the rest", "finishing", "weighing terms"
_STORE = {
    "upsert": WRITING,
    "settle": WRITING,
    "delete_documents": WRITING,
    "scan": REWEIGHING,
    "update_sparse": REWEIGHING,
    "optimize": OPTIMISING,
}


@dataclass(slots=True)
class Spent:
    """Seconds on the clock, and of them processor seconds of the thread itself."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


class Stages:
    """Every moment of a thread counts for the innermost stage that it is in."""

    def __init__(self):
        self.spent: dict[str, Spent] = defaultdict(Spent)
        self._lock = threading.Lock()
        self._local = threading.local()

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """The calling thread is at `stage` meanwhile."""
        outer = self.move(stage)
        try:
            yield
        finally:
            self.move(outer)

    def move(self, stage: str | None) -> str | None:
        """From now on the calling thread is at `stage`; returns where it was."""
        wall, cpu = time.perf_counter(), time.thread_time()
        before, since_wall, since_cpu = getattr(self._local, "since", (None, wall, cpu))
        if before is not None:
            with self._lock:
                spent = self.spent[before]
                spent.wall_s += wall - since_wall
                spent.cpu_s += cpu - since_cpu
        self._local.since = (stage, wall, cpu)
        return before

    def through(self, stage: str, items: Iterable) -> Iterator:
        """The items; getting each is at `stage`."""
        rest = iter(items)
        while True:
            with self.at(stage):
                try:
                    item = next(rest)
                except StopIteration:
                    return
            yield item

    def around(self, target: object, methods: Mapping[str, str]) -> Watched:
        """`target` with the named methods at the named stages."""
        return Watched(self, target, methods)


class Watched:
    """Stands for another object; what an iterator among its methods gives is watched item by item."""

    def __init__(self, stages: Stages, target: object, methods: Mapping[str, str]):
        self._stages, self._target, self._methods = stages, target, methods

    def __getattr__(self, name: str):
        found = getattr(self._target, name)
        return partial(self._call, found, self._methods[name]) if name in self._methods else found

    def __iter__(self) -> Iterator:
        return self._stages.through(self._methods["__iter__"], self._target)

    def _call(self, method: Callable, stage: str, *args, **kwargs):
        with self._stages.at(stage):
            result = method(*args, **kwargs)
        return self._stages.through(stage, result) if isinstance(result, Iterator) else result


@contextmanager
def watched(index: Index, sources: Sources) -> Iterator[tuple[Stages, Sources, Callable]]:
    """A stopwatch around all that an ingest of `sources` into `index` calls; with it what to give to `ingest`."""
    stages = Stages()
    embedder, store = index.embedder, index.store
    index.embedder = stages.around(embedder, {"encode_documents": ENCODING})
    index.store = stages.around(store, _STORE)

    def on_progress(progress: writer.Progress) -> None:
        if progress.stage == "finishing":
            stages.move(FINISHING)

    open_chunker, extractor = writer.open_chunker, pipeline.Extractor
    chunker = mock.patch.object(
        writer, "open_chunker", lambda *args: stages.around(open_chunker(*args), {"chunk": CHUNKING})
    )
    extract = mock.patch.object(pipeline, "Extractor", lambda *args: _Extractor(stages, extractor(*args)))
    try:
        with chunker, extract, stages.at(MAIN):
            yield stages, stages.around(sources, {"__iter__": READING}), on_progress
    finally:
        index.embedder, index.store = embedder, store


class _Extractor:
    """Watches what an extractor gives, from its `with` on."""

    def __init__(self, stages: Stages, extractor: pipeline.Extractor):
        self._stages, self._extractor = stages, extractor

    def __enter__(self) -> Watched:
        return self._stages.around(self._extractor.__enter__(), {"extract": EXTRACTING})

    def __exit__(self, *error: object) -> None:
        with self._stages.at(EXTRACTING):
            self._extractor.__exit__(*error)

"""Extraction in child processes (in the making)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from core.errors import InputError
from core.settings import Settings
from ingest.extract import Extracted, load
from ingest.sources import Failure, Source


@dataclass(frozen=True, slots=True)
class Limits:
    timeout_s: float
    memory_mb: float

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.extract_timeout_s, settings.extract_memory_mb)


class Extractor:
    def __init__(self, limits: Limits):
        self._limits = limits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def extract(self, items: Iterable[Source]) -> Iterator[tuple[Source, Extracted | Failure]]:
        for source in items:
            try:
                yield source, load(source)
            except InputError as error:
                yield source, Failure(source.uri, str(error))

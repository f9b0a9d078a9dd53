"""What reading a corpus gives: sources, and the reasons why others can't be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.types import MetadataValue


@dataclass(frozen=True, slots=True)
class Source:
    """One document before extraction, its raw bytes read.

    `format` is a value of `FORMATS`, or "record" for a record read by a mapping. For these and for a line of a BEIR
    corpus `data` is the canonical JSON of `title`, `text` and `metadata`. `metadata` is what the user says of the
    document (sidecar, `--meta`). `content_hash` is the SHA-256 of `data`, in hexadecimal; where the user says
    something, that of `data`'s hash and `metadata` together. `size_bytes` is what the source took of its file, for
    progress.
    """

    id: str
    uri: str
    name: str
    format: str
    data: bytes = field(repr=False)
    content_hash: str
    size_bytes: int
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one source can't be used. `uri` is the file, the archive member, or the record by its id where it has one."""

    uri: str
    reason: str

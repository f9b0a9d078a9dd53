"""What clients hand over in place of naming it: files kept under generated names, and texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from core.types import MetadataValue
from ingest.sources.addresses import INLINE, UPLOAD, handed_over
from ingest.sources.archives import ArchiveLimits
from ingest.sources.discovery import Found, Scopes
from ingest.sources.items import Failure, Source
from ingest.sources.stream import Sources

HASH_DIGITS = 16  # of the SHA-256 that a text without an id is known by


def upload_uri(name: str) -> str:
    """The address of an uploaded file, `upload:NAME`; what lies inside it follows in the fragment."""
    return handed_over(UPLOAD, name)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file: where its bytes are, and what the client calls it, which is never a path here."""

    path: Path
    name: str

    @property
    def uri(self) -> str:
        """The address of its document."""
        return upload_uri(self.name)


@dataclass(frozen=True, slots=True)
class InlineText:
    """A document that is given as text; without an id it is known by its content."""

    title: str
    text: str
    metadata: Mapping[str, MetadataValue]
    id: str = ""
    uri: str = ""

    @property
    def key(self) -> str:
        """The document's id."""
        return self.id or self.uri or handed_over(INLINE, self.content_hash[:HASH_DIGITS])

    @property
    def data(self) -> bytes:
        """Canonical JSON of what it says."""
        said = {"title": self.title, "text": self.text, "metadata": dict(self.metadata)}
        return json.dumps(said, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()

    @property
    def content_hash(self) -> str:
        """SHA-256 of `data`, in hexadecimal."""
        return sha256(self.data).hexdigest()

    def source(self) -> Source:
        """The document before extraction."""
        data = self.data
        uri = self.uri or (handed_over(INLINE, self.id) if self.id else self.key)
        return Source(self.key, uri, INLINE, "record", data, self.content_hash, len(data))


class Uploads(Sources):
    """Uploaded files and texts as sources. See `Sources`.

    What was indexed of an earlier file with one of these names, and isn't in the new one, has vanished.
    """

    def __init__(
        self,
        files: Sequence[Upload],
        texts: Sequence[InlineText],
        metadata: Mapping[str, MetadataValue],
        max_document_bytes: int,
        archive_limits: ArchiveLimits,
        check: Callable[[], None] = lambda: None,
    ):
        """`metadata` is what the client says of all files. `check` is called for every source, and may raise."""
        scopes = Scopes(files={upload.uri for upload in files})
        found = Found([str(upload.path) for upload in files], scopes)
        super().__init__(found, max_document_bytes, archive_limits, None, metadata)
        self._uploads = {str(upload.path): upload for upload in files}
        self._texts = texts
        self._check = check

    @property
    def size_bytes(self) -> int:
        """Bytes of all files and texts together."""
        return super().size_bytes + sum(len(text.data) for text in self._texts)

    def __iter__(self) -> Iterator[Source | Failure]:
        for item in super().__iter__():
            self._check()
            yield item

    def _read_all(self) -> Iterator[Source | Failure]:
        yield from super()._read_all()
        for text in self._texts:
            source = text.source()
            if source.id in self._seen:
                yield Failure(source.uri, f"its id {source.id!r} was given twice; give each document one of its own")
            else:
                self._seen[source.id] = source.uri
                yield source

    def _called(self, path: str) -> tuple[str, str]:
        upload = self._uploads[path]
        return upload.uri, upload.name

    def _said_of(self, path: str) -> Mapping[str, MetadataValue]:
        return self.metadata

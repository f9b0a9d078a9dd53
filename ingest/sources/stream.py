"""Named paths become a stream of sources; what can't be read is yielded beside them as a failure."""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import BinaryIO

from core.errors import InputError
from core.types import MetadataValue
from ingest.formats import FORMATS
from ingest.sources.addresses import display_name, enclosing, file_uri, inside
from ingest.sources.archives import ArchiveLimits, is_archive, unpack
from ingest.sources.discovery import Found, find_files, skip_reason
from ingest.sources.files import CHANGED, open_file, read_file, size_of, unreadable
from ingest.sources.items import Failure, Source
from ingest.sources.mapping import FieldMap, field_map
from ingest.sources.metadata import check_metadata, read_sidecar
from ingest.sources.records import MAPPED_SUFFIXES, Record, read_beir, read_mapped

__all__ = ["ArchiveLimits", "Failure", "Source", "Sources", "discover", "read_paths"]

MAX_DOCUMENT_BYTES = 100 * 2**20  # a document is held in memory while it is read


@dataclass
class Sources:
    """A stream of `Source` and `Failure`; iterate once.

    `skipped` counts the files of folders, globs and archives that were left out, by reason, and `failures` collects
    what went wrong; both are complete after the last source.
    """

    found: Found
    max_document_bytes: int
    archive_limits: ArchiveLimits
    fields: FieldMap | None
    metadata: Mapping[str, MetadataValue]
    failures: list[Failure] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict, repr=False)  # document id -> the file that it was read from
    _failed: set[str] = field(default_factory=set, repr=False)

    @property
    def skipped(self) -> Counter[str]:
        """How many files were left out, by reason."""
        return self.found.skipped

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together; a file that has gone meanwhile counts as 0."""
        return sum(map(size_of, self.found.files))

    def __iter__(self) -> Iterator[Source | Failure]:
        for item in self._read_all():
            if isinstance(item, Failure):
                self.failures.append(item)
                self._failed.add(item.uri)
            yield item

    def is_vanished(self, document_id: str, uri: str) -> bool:
        """Whether an indexed document has gone from the named paths, or is ignored now; ask after the last source.

        What failed this time has not vanished, nor has anything inside a file, archive or folder that failed.
        """
        if document_id in self._seen or not self.found.scopes.cover(uri):
            return False
        return not any(place in self._failed for place in enclosing(uri))

    def _read_all(self) -> Iterator[Source | Failure]:
        yield from self.found.failures
        for path in self.found.files:
            uri, name = self._called(path)
            try:
                user = self._said_of(path)
                for item in self._read(path, uri, name):
                    yield _described(item, user) if user and isinstance(item, Source) else item
            except InputError as error:
                yield Failure(uri, str(error))
            except OSError as error:
                yield Failure(uri, unreadable(error))

    def _called(self, path: str) -> tuple[str, str]:
        """The address of a file, and the name that tells its kind."""
        return file_uri(path), path

    def _said_of(self, path: str) -> Mapping[str, MetadataValue]:
        """The user's metadata of a file."""
        return {**read_sidecar(path), **self.metadata}

    def _read(self, path: str, uri: str, name: str) -> Iterator[Source | Failure]:
        if not is_archive(name) and not self._holds_records(name):
            yield from self._document(read_file(path, self.max_document_bytes), uri, name)
            return
        with open_file(path) as file:
            stream = io.BufferedReader(file)
            if not is_archive(name):
                yield from self._records(stream, uri, name)
            else:
                n_read = 0
                for item in unpack(stream, uri, self.archive_limits, self._member, _skip_member, self.skipped):
                    yield replace(item, size_bytes=file.n_read - n_read) if isinstance(item, Source) else item
                    n_read = file.n_read
            if not file.is_unchanged():
                raise InputError(CHANGED)

    def _member(self, stream: BinaryIO, uri: str, path: str) -> Iterator[Source | Failure]:
        try:
            if self._holds_records(path):
                yield from self._records(stream, uri, path)
                return
            data = stream.read(self.max_document_bytes + 1)
            if len(data) > self.max_document_bytes:
                raise InputError(f"unpacks to more than {self.max_document_bytes / 2**20:g} MiB; raise max_document_mb")
            yield from self._document(data, uri, path)
        except InputError as error:
            yield Failure(uri, str(error))

    def _document(self, data: bytes, uri: str, path: str) -> Iterator[Source]:
        form = FORMATS.get(_suffix(path), "text")
        if not data.strip():
            if form.startswith("code:"):  # such as most `__init__.py`; of a text it would be a sign of damage
                self.skipped["empty source files"] += 1
                return
            raise InputError("holds only whitespace" if data else "empty file")
        self._seen[uri] = uri
        yield Source(uri, uri, display_name(path), form, data, sha256(data).hexdigest(), len(data))

    def _holds_records(self, path: str) -> bool:
        suffix = _suffix(path)
        return FORMATS.get(suffix) == "beir" or (self.fields is not None and suffix in MAPPED_SUFFIXES)

    def _records(self, stream: BinaryIO, uri: str, path: str) -> Iterator[Source | Failure]:
        if self.fields is None:
            form, records = "beir", read_beir(stream, self.max_document_bytes)
        else:
            form, records = "record", read_mapped(stream, _suffix(path), self.fields, self.max_document_bytes)
        name = display_name(path)
        for record in records:
            if (item := self._record(record, uri, name, form)) is not None:
                yield item

    def _record(self, record: Record, uri: str, name: str, form: str) -> Source | Failure | None:
        if record.fault:
            return Failure(inside(uri, record.id) if record.id else uri, f"line {record.line}: {record.fault}")
        content_hash = sha256(record.data).hexdigest()
        place = inside(uri, record.id or content_hash[:16])
        document_id = record.id or place
        if document_id in self._seen:
            if not record.id:
                self.skipped["repeated records"] += 1
                return None
            where = self._seen[document_id]
            return Failure(place, f"line {record.line}: its id {document_id!r} was already read from {where}")
        self._seen[document_id] = uri
        return Source(document_id, place, name, form, record.data, content_hash, record.size_bytes)


def discover(
    paths: Sequence[str],
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    *,
    archive_limits: ArchiveLimits | None = None,
    fields: Mapping[str, str] | None = None,
    metadata: Mapping[str, MetadataValue] | None = None,
    may_be_empty: bool = False,
) -> Sources:
    """Every supported file under the named files, folders and globs, as `find_files` finds them, to be read.

    A file that is named itself is read as text where its suffix is unknown. Archives are read member by member. With
    `fields` (as `field_map` takes them) each record of a JSONL, JSON, CSV or TSV file is a document; one without a
    mapped id is known by its content: an edited one is a new document, a repeated one is counted as skipped.
    `metadata` is what the user says of all documents; it wins over a file's sidecar, and both over what the document
    says itself.

    Raises `NotFound` for a path that doesn't exist, `InputError` for a folder or glob without any supported file unless
    it `may_be_empty`, for an unusable mapping, and for metadata with a reserved name.
    """
    limits = archive_limits or ArchiveLimits(nested_bytes=max_document_bytes)
    mapping = field_map(fields) if fields else None
    found = find_files(paths, may_be_empty=may_be_empty)
    return Sources(found, max_document_bytes, limits, mapping, check_metadata(metadata or {}))


def read_paths(lines: Iterable[str]) -> list[str]:
    """The paths of a list with one path a line, blank lines left out.

    Raises `InputError` for an empty list.
    """
    paths = [line.rstrip("\r\n") for line in lines if line.strip()]
    if not paths:
        raise InputError("The list of paths on stdin is empty. Write one path a line.")
    return paths


def _described(source: Source, user: Mapping[str, MetadataValue]) -> Source:
    """The source with what the user says of it, which is part of its content."""
    said = json.dumps(user, sort_keys=True).encode()
    return replace(source, metadata=user, content_hash=sha256(source.content_hash.encode() + said).hexdigest())


def _skip_member(path: str) -> str | None:
    """Why an archive's member is left out; whether a `corpus.jsonl` follows can't be known before it does."""
    folder, _, name = path.rpartition("/")
    if name in ("queries.jsonl", "qrels.tsv") or (folder.rpartition("/")[2] == "qrels" and name.endswith(".tsv")):
        return "queries and judgements in archives"
    return skip_reason(name)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()

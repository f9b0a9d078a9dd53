"""Members of archives, and of archives in them, read as streams and never written to disk."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from core.errors import InputError
from ingest.formats import FORMATS
from ingest.sources.addresses import inside, last_name
from ingest.sources.archive_formats import (
    BROKEN,
    PACKED_SUFFIXES,
    TAR_SUFFIXES,
    ZIP_SUFFIXES,
    Entry,
    LimitReached,
    packed_entries,
    tar_entries,
    zip_entries,
)
from ingest.sources.items import Failure, Source

ARCHIVE_SUFFIXES = (*ZIP_SUFFIXES, *TAR_SUFFIXES)
MAX_NAME_CHARS = 4096  # the longest path of common file systems; every chunk carries its document's address

Visit = Callable[[BinaryIO, str, str], Iterator[Source | Failure]]  # of a member's stream, URI and path
SkipReason = Callable[[str], str | None]  # of a member's path


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What one archive may unpack to, those inside it included; a nested one must also fit into `nested_bytes`."""

    unpacked_bytes: int = 1000 * 2**20
    members: int = 100_000
    depth: int = 3
    nested_bytes: int = 100 * 2**20


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive, or of a compressed file of a supported format (`manual.pdf.gz`)."""
    name = name.lower()
    return name.endswith(ARCHIVE_SUFFIXES) or (name.endswith(PACKED_SUFFIXES) and _suffix(_stem(name)) in FORMATS)


def unpack(
    file: BinaryIO, uri: str, limits: ArchiveLimits, visit: Visit, skip_reason: SkipReason, skipped: Counter[str]
) -> Iterator[Source | Failure]:
    """What `visit` makes of each member's stream, in the archive's order, and a failure for each that can't be read.

    Members of archives inside are visited in their place. Hidden members, links, devices and what `skip_reason` names
    are counted in `skipped`. When a limit is reached the archive is given up with one failure; so it is where damage
    makes the rest unreadable.
    """
    try:
        yield from _Unpacking(limits, visit, skip_reason, skipped).members(file, uri, depth=1)
    except LimitReached as limit:
        yield Failure(uri, str(limit))


def parse_name(name: str) -> str:
    """A member's path inside its archive, without `.` and empty components.

    Raises `InputError` for a name that leads out of the archive, isn't a relative path with slashes, or is too long.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        raise InputError("its name is an absolute path")
    if ".." in parts:
        raise InputError("its name leads out of the archive")
    if "\\" in name:
        raise InputError("its name has a backslash, which may be a separator or not")
    if not parts or len(name) > MAX_NAME_CHARS:
        raise InputError(f"its name has {len(name)} characters; 1 to {MAX_NAME_CHARS} are supported")
    return "/".join(parts)


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]


class _Unpacking:
    """One archive with all that it holds, and what it has taken of its limits."""

    def __init__(self, limits: ArchiveLimits, visit: Visit, skip_reason: SkipReason, skipped: Counter[str]):
        self._limits = limits
        self._visit = visit
        self._skip_reason = skip_reason
        self._skipped = skipped
        self._n_bytes = 0
        self._n_members = 0

    def members(self, file: BinaryIO, uri: str, depth: int) -> Iterator[Source | Failure]:
        """What the members of one archive give; raises `LimitReached`."""
        read: set[str] = set()
        try:
            for entry in self._entries(file, last_name(uri)):
                self._count_member()
                if not entry.is_folder:
                    yield from self._member(entry, uri, depth, read)
        except BROKEN as error:
            yield Failure(uri, f"the archive can't be read{' any further' if read else ''}: {_message(error)}")

    def _entries(self, file: BinaryIO, name: str) -> Iterator[Entry]:
        if name.lower().endswith(ZIP_SUFFIXES):
            return zip_entries(file, self._count_bytes, self._limits.members, self._limits.nested_bytes)
        if name.lower().endswith(TAR_SUFFIXES):
            return tar_entries(file, self._count_bytes)
        return packed_entries(file, self._count_bytes, name)

    def _member(self, entry: Entry, uri: str, depth: int, read: set[str]) -> Iterator[Source | Failure]:
        try:
            path = parse_name(entry.name)
        except InputError as error:
            yield Failure(inside(uri, entry.name[:MAX_NAME_CHARS]), str(error))
            return
        reason = "hidden" if any(part.startswith(".") for part in path.split("/")) else self._skip_reason(path)
        if not entry.is_file:
            reason = "links and devices in archives"
        if reason:
            self._skipped[reason] += 1
            return
        member = inside(uri, path)
        if entry.refusal or path in read:
            yield Failure(member, entry.refusal or "the archive holds two members of this name; the first was read")
            return
        read.add(path)
        try:
            with entry.open() as stream:
                if is_archive(path):
                    yield from self._nested(stream, member, depth + 1)
                else:
                    yield from self._visit(stream, member, path)
        except BROKEN as error:
            yield Failure(member, f"can't be unpacked: {_message(error)}")

    def _nested(self, stream: BinaryIO, uri: str, depth: int) -> Iterator[Source | Failure]:
        """The members of an archive in an archive, which is held in memory: a ZIP file must be read back and forth."""
        if depth > self._limits.depth:
            yield Failure(uri, f"archives are nested more than {self._limits.depth} deep; raise max_archive_depth")
            return
        data = stream.read(self._limits.nested_bytes + 1)
        if len(data) > self._limits.nested_bytes:
            limit = f"{self._limits.nested_bytes / 2**20:g} MiB"
            yield Failure(uri, f"is larger than {limit}, the limit for an archive in an archive; raise max_document_mb")
            return
        yield from self.members(io.BytesIO(data), uri, depth)

    def _count_bytes(self, n_bytes: int) -> None:
        self._n_bytes += n_bytes
        limit = self._limits.unpacked_bytes
        if self._n_bytes > limit:
            raise LimitReached(f"unpacks to more than {limit / 2**20:g} MiB; raise max_archive_mb")

    def _count_member(self) -> None:
        self._n_members += 1
        if self._n_members > self._limits.members:
            raise LimitReached(f"holds more than {self._limits.members} members; raise max_archive_members")


def _message(error: BaseException) -> str:
    return str(error) or type(error).__name__

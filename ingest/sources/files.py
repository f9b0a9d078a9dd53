"""Bytes of regular files: opened without ever blocking, and checked not to have changed while they were read."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from core.errors import InputError

_NEVER_BLOCK = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # a FIFO that took the file's place meanwhile
_MISSING = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)
CHANGED = "changed while it was read. Ingest it again when nothing writes to it."


class RegularFile(io.FileIO):
    """A file open for reading; `n_read` counts the bytes that a buffered reader took from it, however often."""

    def __init__(self, path: str):
        super().__init__(path, opener=lambda name, flags: os.open(name, flags | _NEVER_BLOCK))
        self.n_read = 0
        self._opened = os.fstat(self.fileno())

    @property
    def size_bytes(self) -> int:
        """Its size when it was opened."""
        return self._opened.st_size

    @property
    def is_regular(self) -> bool:
        """Whether it is neither a FIFO nor a device or socket."""
        return stat.S_ISREG(self._opened.st_mode)

    def is_unchanged(self) -> bool:
        """Whether size and modification time are still those of its opening."""
        now = os.fstat(self.fileno())
        return (now.st_size, now.st_mtime_ns) == (self._opened.st_size, self._opened.st_mtime_ns)

    def readinto(self, buffer) -> int | None:
        """As `FileIO.readinto`, counted."""
        n = super().readinto(buffer)
        self.n_read += n or 0
        return n


def open_file(path: str) -> RegularFile:
    """The file, open for reading; the caller closes it.

    Raises `InputError` for what isn't a regular file or isn't there, and for what may not be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # asked first: opening a device may already do something
            raise InputError("not a regular file")
        file = RegularFile(path)
    except OSError as error:
        raise InputError(unreadable(error)) from None
    if not file.is_regular:
        file.close()
        raise InputError("not a regular file")
    return file


def read_file(path: str, limit_bytes: int) -> bytes:
    """All bytes of a file; one that changes meanwhile is read once more.

    Raises `InputError` for what isn't a regular file or isn't there, may not be read, exceeds the limit, or changes
    again.
    """
    for _ in range(2):
        with open_file(path) as file:
            if file.size_bytes > limit_bytes:
                raise InputError(too_large("file", file.size_bytes, limit_bytes))
            try:
                data = file.read(file.size_bytes + 1)
            except OSError as error:
                raise InputError(unreadable(error)) from None
            if len(data) == file.size_bytes and file.is_unchanged():
                return data
    raise InputError(CHANGED)


def read_lines(file: BinaryIO, limit_bytes: int) -> Iterator[bytes | int]:
    """Each line without holding more than the limit of it; a longer one is given as its length alone."""
    is_first = True
    while line := file.readline(limit_bytes + 1):
        if is_first:
            line, is_first = line.removeprefix(b"\xef\xbb\xbf"), False
        if len(line.rstrip(b"\r\n")) <= limit_bytes:
            yield line
            continue
        size_bytes = len(line)
        while line and not line.endswith(b"\n"):
            line = file.readline(limit_bytes + 1)
            size_bytes += len(line)
        yield size_bytes


def size_of(path: str) -> int:
    """Bytes of a file; 0 where it has gone."""
    with suppress(OSError):
        return os.stat(path).st_size
    return 0


def unreadable(error: OSError) -> str:
    """The reason of a failure to reach or read a file."""
    if error.errno in _MISSING:
        return "a link to nothing, or gone meanwhile"
    return f"can't be read: {error.strerror or error}"


def too_large(what: str, size_bytes: int, limit_bytes: int) -> str:
    """The reason of a failure: the size, the limit and the setting that raises it."""
    size, limit = size_bytes / 2**20, limit_bytes / 2**20
    return f"{what} of {size:.1f} MiB exceeds the limit of {limit:g} MiB; raise max_document_mb"

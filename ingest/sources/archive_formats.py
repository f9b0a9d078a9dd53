"""ZIP, tar and compressed files as entries whose bytes are counted while they unpack, whatever the headers declare."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")  # a single file, compressed

# What the standard library raises for damaged and unsupported data: `RuntimeError` also as `NotImplementedError`, and
# as `RecursionError` for headers about headers; `ValueError` for undecodable names.
BROKEN = (
    OSError, EOFError, RuntimeError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip

_PIECE_BYTES = 2**16
_LARGE_READ_BYTES = 2**20  # larger than any read besides that of a ZIP file's directory
_MAX_HEADER_BYTES = 2**20  # of a tar member's extended header, which is read at once
_TAR_EXTENSIONS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
# `zipfile` has no limit to what other methods unpack to at once: 300 bytes of bzip2 can become 200 MB.
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}

Count = Callable[[int], None]  # told of unpacked bytes; raises `LimitReached`


class LimitReached(Exception):
    """Reading an archive must stop: the text says at which limit."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A member as its archive describes it; `refusal` says why its data can't be had, `open` gives its bytes.

    Its stream is read forwards, and before the next entry is asked for.
    """

    name: str
    open: Callable[[], BinaryIO]
    is_folder: bool
    is_file: bool
    refusal: str = ""


def zip_entries(file: BinaryIO, count: Count, max_members: int, max_directory_bytes: int) -> Iterator[Entry]:
    """The entries of a ZIP file in its directory's order.

    Raises `LimitReached` for a directory of more members or bytes before it is parsed, and what `BROKEN` names.
    """
    with zipfile.ZipFile(_ZipInput(file, max_members, max_directory_bytes)) as archive:
        for info in archive.infolist():
            yield Entry(
                name=info.filename,
                open=lambda info=info: _counted(archive.open(info), count),
                is_folder=info.is_dir(),
                is_file=stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG),
                refusal=_zip_refusal(info),
            )


def tar_entries(file: BinaryIO, count: Count) -> Iterator[Entry]:
    """The entries of a tar file, compressed or not, in its order.

    Raises what `BROKEN` names, also for damage that `tarfile` takes for the archive's end.
    """
    plain = _decompressed(file)
    is_packed = plain is not file  # if it isn't, what is passed over isn't unpacked and costs nothing
    stream = _counted(plain, count) if is_packed else file
    with tarfile.open(fileobj=stream, mode="r|" if is_packed else "r:", tarinfo=_TarMember) as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # it would remember them all
            yield Entry(
                name=info.name,
                open=lambda info=info: _open_tarred(archive, info, (lambda n_bytes: None) if is_packed else count),
                is_folder=info.isdir(),
                is_file=info.isreg(),
            )
    while is_packed and stream.read(_PIECE_BYTES):
        pass  # the checksum stands at the end


def packed_entries(file: BinaryIO, count: Count, name: str) -> Iterator[Entry]:
    """The one entry of a compressed file, called as the file without its last suffix. Raises what `BROKEN` names."""
    plain = _decompressed(file)
    if plain is file:
        raise OSError("it isn't compressed as its name says")
    yield Entry(name.rpartition(".")[0], lambda: _counted(plain, count), is_folder=False, is_file=True)


def _zip_refusal(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type not in _ZIP_METHODS:
        return f"is compressed by method {info.compress_type}; in ZIP files only deflate (8) and none (0) are supported"
    return ""


def _open_tarred(archive: tarfile.TarFile, info: tarfile.TarInfo, count: Count) -> BinaryIO:
    stream = archive.extractfile(info)
    if stream is None:
        raise tarfile.ReadError("it has no data")
    return _counted(stream, count)  # type: ignore[arg-type]


def _decompressed(file: BinaryIO) -> BinaryIO:
    """What a file unpacks to, whatever its suffix says: tools write the compression that they were told to."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)  # type: ignore[return-value]
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    return lzma.LZMAFile(file) if start == b"\xfd7zXZ\0" else file  # type: ignore[return-value]


def _counted(stream: BinaryIO, count: Count) -> BinaryIO:
    return io.BufferedReader(_Counted(stream, count), _PIECE_BYTES)


class _Counted(io.RawIOBase):
    """A stream that tells how many bytes were read from it."""

    def __init__(self, stream: BinaryIO, count: Count):
        self._stream = stream
        self._count = count

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        data = self._stream.read(min(len(buffer), _PIECE_BYTES))
        self._count(len(data))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _ZipInput:
    """A ZIP file whose directory is refused before it is parsed where it is too large.

    `zipfile` reads the directory at once, by far its largest read, and makes an object of half a kilobyte or more of
    every 46 bytes that a member may take there.
    """

    def __init__(self, file: BinaryIO, max_members: int, max_directory_bytes: int):
        self._file = file
        self._max_members = max_members
        self._max_directory_bytes = max_directory_bytes
        self.seek = file.seek
        self.tell = file.tell
        self.seekable = file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > max(self._max_directory_bytes, _LARGE_READ_BYTES):
            raise LimitReached(
                f"has a directory of {size / 2**20:.1f} MiB, more than {self._max_directory_bytes / 2**20:g} MiB; "
                "raise max_document_mb"
            )
        data = self._file.read(size)
        if size > _LARGE_READ_BYTES and data.count(b"PK\1\2") > self._max_members:
            raise LimitReached(f"holds more than {self._max_members} members; raise max_archive_members")
        return data


class _TarMember(tarfile.TarInfo):
    """A tar header that takes for damage what `tarfile` takes for the archive's end or follows backwards."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _TAR_EXTENSIONS and header.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {header.size} bytes; at most {_MAX_HEADER_BYTES} are supported")
        return header

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        start = archive.fileobj.tell()
        try:
            member = super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError, tarfile.EmptyHeaderError) as error:
            raise tarfile.ReadError(f"no header and no end's mark at byte {start}: {error}") from None
        if member.size < 0 or archive.offset <= start:
            raise tarfile.ReadError(f"the header at byte {start} points backwards")
        return member

"""The process that extracts untrusted files: one source at a time over a socket, each within the limits."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import pkgutil
import resource
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import InputError
from ingest.extract import Extracted
from ingest.sources.items import Failure, Source

if TYPE_CHECKING:  # pydantic would double the time that a child takes to start
    from core.settings import Settings

MIB = 2**20
# A child that has done this much is replaced, so that a parser's leaks don't add up.
MAX_DOCUMENTS = 1000
MAX_RESIDENT_BYTES = 400 * MIB  # kreuzberg holds 60 to 100 MB after large PDFs
# Half of a thread's usual stack: what recursive parsers get through here, they get through elsewhere. The parent parses
# the texts of indexed documents again.
MAX_STACK_BYTES = 4 * MIB
MAX_REASON_CHARS = 300

Load = Callable[[Source, int], Extracted]  # a source, and the most characters that its text may have

_HEADER = struct.Struct("!Q")
_CHUNK_BYTES = MIB  # received at a time


@dataclass(frozen=True, slots=True)
class Limits:
    """What the extraction of one document may take: the settings `extract_*` and `max_text_mb`.

    `memory_mb`, in 2^20 bytes, comes on top of what the process holds before.
    """

    timeout_s: float = 120
    memory_mb: float = 2000
    max_text_mb: float = 20

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that the settings ask for."""
        return cls(settings.extract_timeout_s, settings.extract_memory_mb, settings.max_text_mb)


def read(load: Load, source: Source, limits: Limits) -> Extracted | Failure:
    """What `load` makes of a source, or why it can't be used; raises no `Exception`."""
    try:
        return load(source, int(limits.max_text_mb * MIB))
    except InputError as error:
        return Failure(source.uri, str(error))
    except MemoryError:
        return Failure(source.uri, memory_reason(limits))
    except Exception as error:
        return Failure(source.uri, _fault(error))


def memory_reason(limits: Limits) -> str:
    """Why a document failed that wanted more memory than it may take."""
    return f"needs more than {limits.memory_mb:g} MiB of memory to be read; raise extract_memory_mb"


def send(channel: socket.socket, message: bytes, deadline: float | None = None) -> None:
    """Send one message; raises `OSError`, `TimeoutError` once `time.monotonic()` has passed `deadline`."""
    _wait_until(channel, deadline)
    channel.sendall(_HEADER.pack(len(message)))
    channel.sendall(message)


def receive(channel: socket.socket, deadline: float | None = None) -> bytes | None:
    """The next message, None when the other side has gone; raises `OSError` and `TimeoutError` like `send`."""
    header = _receive(channel, _HEADER.size, deadline)
    return None if header is None else _receive(channel, _HEADER.unpack(header)[0], deadline)


def _receive(channel: socket.socket, size: int, deadline: float | None) -> bytes | None:
    message = bytearray()
    while len(message) < size:
        _wait_until(channel, deadline)
        part = channel.recv(min(size - len(message), _CHUNK_BYTES))
        if not part:
            return None
        message += part
    return bytes(message)


def _wait_until(channel: socket.socket, deadline: float | None) -> None:
    if deadline is None:
        return
    remaining_s = deadline - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    channel.settimeout(remaining_s)


def main(channel_fd: int, lifeline_fd: int) -> None:
    """Answer sources with what they hold until the parent goes or this process is spent.

    The first message names the function that loads a source, and the limits. Each answer tells whether it is the last.
    """
    _die_with_parent(lifeline_fd)
    channel = socket.socket(fileno=channel_fd)
    name, limits = pickle.loads(receive(channel) or b"")
    load = pkgutil.resolve_name(name)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _set_limit(resource.RLIMIT_FSIZE, limits.memory_mb * MIB)  # a parser's temporary files, and what it prints
    _set_limit(resource.RLIMIT_STACK, MAX_STACK_BYTES)
    send(channel, b"")
    is_last = False
    n_documents = 0
    while not is_last and (message := receive(channel)) is not None:
        answer = _answer(load, message, limits)
        n_documents += 1
        is_last = n_documents == MAX_DOCUMENTS or _resident_bytes() > MAX_RESIDENT_BYTES
        send(channel, bytes([is_last]) + answer)


def _answer(load: Load, message: bytes, limits: Limits) -> bytes:
    source = pickle.loads(message)
    _set_limit(resource.RLIMIT_AS, _address_bytes() + limits.memory_mb * MIB)
    try:
        return pickle.dumps(read(load, source, limits), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return pickle.dumps(Failure(source.uri, memory_reason(limits)))
    except BaseException as error:  # panics of Rust code, and whatever else a parser raises
        return pickle.dumps(Failure(source.uri, _fault(error)))
    finally:
        _set_limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)


def _fault(error: BaseException) -> str:
    """One line for an error that its parser wasn't meant to raise."""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    return f"can't be read, its parser failed: {message[:MAX_REASON_CHARS]}"


def _die_with_parent(lifeline_fd: int) -> None:
    """Have the kernel end this process when the parent closes its end of a pipe, however the parent ends.

    The signal needs neither a thread nor Python's lock, which a parser that hangs may hold. Unlike a parent-death
    signal it doesn't depend on the thread that started the process.
    """
    fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)  # SIGIO ends it
    if select.select([lifeline_fd], [], [], 0)[0]:  # closed before the signal was asked for
        raise SystemExit


def _set_limit(which: int, limit: float) -> None:
    """Set a soft limit, as far as the hard one allows."""
    _, hard = resource.getrlimit(which)
    unlimited = resource.RLIM_INFINITY
    soft = hard if limit == unlimited else int(limit) if hard == unlimited else min(int(limit), hard)
    with contextlib.suppress(ValueError, OSError):  # a system that doesn't know this limit
        resource.setrlimit(which, (soft, hard))


def _address_bytes() -> int:
    return _statm()[0]


def _resident_bytes() -> int:
    return _statm()[1]


def _statm() -> tuple[int, int]:
    """Bytes of address space and resident memory of this process; zeros where the system doesn't tell."""
    try:
        fields = Path("/proc/self/statm").read_bytes().split()
    except OSError:
        return 0, 0
    return int(fields[0]) * resource.getpagesize(), int(fields[1]) * resource.getpagesize()

"""A parser that does what its document says, for the worst: crash, hang, grow, print, leave things behind."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from ingest import extract
from ingest.extract import Extracted
from ingest.sources.items import Source

LEAKED: list[bytearray] = []


class Panic(BaseException):
    """What the Rust core of a parser raises: no `Exception`."""


def load(source: Source, max_text_chars: int) -> Extracted:
    """The document, after doing what its first word says; the rest of it is what gets extracted, if anything does."""
    word, _, text = source.data.decode().partition(" ")
    text = ACTS[word](text) or text
    return extract.load(replace(source, format="text", data=text.encode()), max_text_chars)


def _grow(text: str) -> None:
    while True:
        LEAKED.append(bytearray(16 * 2**20))


def _abort_for_memory(text: str) -> None:
    """Ends like Rust code whose allocation failed."""
    os.write(2, b"memory allocation of 8589934592 bytes failed\n")
    os.abort()


def _leak(text: str) -> str:
    LEAKED.append(bytearray(b"x") * (450 * 2**20))
    return str(os.getpid())


def _print(text: str) -> None:
    print("noise")
    print("noise", file=sys.stderr)
    os.write(1, b"noise")
    assert sys.stdin.read() == ""


def _litter(text: str) -> str:
    """Leaves a temporary file and a process behind; tells where."""
    handle, path = tempfile.mkstemp()
    os.close(handle)
    return f"{path} {subprocess.Popen(['sleep', '600']).pid} {os.getpid()}"


def _raise(text: str) -> None:
    raise ZeroDivisionError("a bug\nover two lines")


def _panic(text: str) -> None:
    raise Panic("index out of bounds")


def _hold_pid(text: str) -> None:
    """Hangs inside C code that keeps Python's lock, as the worst of parsers would."""
    Path(text).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)


ACTS = {
    "say": lambda text: None,
    "stack": lambda text: str(resource.getrlimit(resource.RLIMIT_STACK)[0]),
    "pid": lambda text: str(os.getpid()),
    "wait": lambda text: time.sleep(0.3),
    "segfault": lambda text: ctypes.string_at(0),
    "kill": lambda text: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda text: os._exit(3),
    "quit": lambda text: sys.exit("enough"),
    "hang": lambda text: time.sleep(600),
    "hold": _hold_pid,
    "grow": _grow,
    "abort": _abort_for_memory,
    "leak": _leak,
    "print": _print,
    "litter": _litter,
    "raise": _raise,
    "panic": _panic,
}

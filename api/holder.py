"""Which `limpid serve` holds an embedded index: a note in its folder, so that other commands can go through it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

NOTE = "served.json"


@dataclass(frozen=True, slots=True)
class Holder:
    """A serving process; `secret` is a key that it accepts from whoever can read the index' folder."""

    url: str
    pid: int
    secret: str


def read_holder(index: str) -> Holder | None:
    """The live server that holds the index in this folder, None where there is none."""
    try:
        holder = Holder(**json.loads((Path(index) / NOTE).read_text(encoding="utf-8")))
        os.kill(holder.pid, 0)
    except (OSError, ValueError, TypeError):
        return None
    return holder


@contextmanager
def announced(index: str, url: str, secret: str) -> Iterator[None]:
    """Leave the note, for its owner's eyes only, while this process serves the index."""
    note = Path(index) / NOTE
    note.unlink(missing_ok=True)
    with os.fdopen(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(Holder(url, os.getpid(), secret)), file)
    try:
        yield
    finally:
        note.unlink(missing_ok=True)

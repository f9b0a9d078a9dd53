"""Generations of an index: one is current, the next is built beside it, and the switch between them is one step.

Generations are numbered from 1. An embedded index keeps each in a folder of its own and the current one's number in a
file; on a server each is a collection `NAME@NUMBER`, and the alias `NAME` points to the current one.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from core.errors import DependencyError, IndexLocked, IndexMismatch, NotFound
from core.store import Store

FIRST = 1
CURRENT = "CURRENT"
FOLDERS = "generations"
_EARLIER = (
    "was made by an earlier version of Limpid, whose form this one can't read. Ingest the corpus into a new index."
)


class Generations(Protocol):
    """All generations of one index. Every method may raise `DependencyError`."""

    def current(self) -> int | None:
        """Number of the generation that answers; None where there is no index yet.

        Raises `IndexMismatch` for an index from before there were generations.
        """
        ...

    def exists(self, number: int) -> bool:
        """Whether there is such a generation, finished or not."""
        ...

    def open(self, number: int, dimension: int | None = None, quantization: str = "none") -> Store:
        """A generation's store; with `dimension` it is made where it doesn't exist, with that quantisation.

        Raises `NotFound` where it doesn't, `IndexLocked` while another process has it open.
        """
        ...

    def switch(self, number: int) -> None:
        """Make a generation the current one, in one step that a crash can't divide."""
        ...

    def discard(self, number: int) -> None:
        """Remove a generation where it exists. Raises `IndexLocked` while another process has it open."""
        ...

    def sweep(self) -> None:
        """Remove what is older than the current generation, apart from what another process still has open."""
        ...

    def absent(self) -> NotFound:
        """The error that says that there is no index, and how to make one."""
        ...

    def close(self) -> None:
        """Let go of connections; stores that were opened stay open."""
        ...


def open_current(generations: Generations) -> tuple[int, Store] | None:
    """The current generation's number and store, None where there is none; raises like `Generations.open`."""
    while (number := generations.current()) is not None:
        try:
            store = generations.open(number)
        except (NotFound, DependencyError):
            if generations.current() == number:
                raise
            continue  # it was replaced and removed meanwhile
        if generations.current() == number:
            return number, store
        store.close()
    return None


class FolderGenerations:
    """The generations of an embedded index, in the folder `root`. See `Generations`."""

    def __init__(self, root: Path, min_free_mb: float):
        """Makes nothing; `min_free_mb` is what must stay free on the disk."""
        self._root = root
        self._min_free_mb = min_free_mb

    def current(self) -> int | None:
        """See `Generations`."""
        from core.store.edge import exists

        try:
            text = (self._root / CURRENT).read_text(encoding="utf-8").strip()
        except (FileNotFoundError, NotADirectoryError):
            if exists(self._root):
                raise IndexMismatch(f"The index {self._root} {_EARLIER}") from None
            return None
        except OSError as error:
            raise DependencyError(f"The index {self._root} can't be read: {error.strerror}.") from None
        if not text.isdecimal():
            raise DependencyError(f"{self._root / CURRENT} holds {text[:40]!r}, not a number. Restore a backup.")
        return int(text)

    def exists(self, number: int) -> bool:
        """See `Generations`."""
        return self._folder(number).exists()

    def open(self, number: int, dimension: int | None = None, quantization: str = "none") -> Store:
        """See `Generations`."""
        from core.store.edge import EdgeStore, exists

        folder = self._folder(number)
        if dimension is None and not exists(folder):
            raise NotFound(
                f"The index {self._root} lacks its generation {number}. Restore a backup, or remove the folder and "
                "ingest the corpus again."
            )
        try:
            store = EdgeStore(folder, dimension, self._min_free_mb, quantization)
        except IndexLocked:
            raise self._locked() from None
        if dimension is not None:
            self._hide()
        return store

    def switch(self, number: int) -> None:
        """See `Generations`."""
        draft = self._root / f"{CURRENT}.new"
        with draft.open("w", encoding="utf-8") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self._root / CURRENT)
        folder = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self, number: int) -> None:
        """See `Generations`."""
        from core.store.edge import EdgeStore, exists

        folder = self._folder(number)
        if exists(folder):
            try:
                EdgeStore(folder).close()  # only whoever gets the engine's lock may remove its files
            except IndexLocked:
                raise self._locked() from None
            except DependencyError:
                pass  # half made or half removed: nobody can have it open
        shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """See `Generations`."""
        current = self.current() or 0
        for folder in list((self._root / FOLDERS).glob("*")):
            if folder.name.isdecimal() and int(folder.name) < current:
                try:
                    self.discard(int(folder.name))
                except IndexLocked:
                    continue

    def absent(self) -> NotFound:
        """See `Generations`."""
        return NotFound(f"There is no index in {self._root}. Make one: limpid ingest PATH --index {self._root}")

    def close(self) -> None:
        """See `Generations`."""

    def _folder(self, number: int) -> Path:
        return self._root / FOLDERS / str(number)

    def _locked(self) -> IndexLocked:
        return IndexLocked(f"The index {self._root} is open in another process. Wait for it, or stop it.")

    def _hide(self) -> None:
        """An index inside a folder that is ingested is no document, and nothing to put under version control."""
        for name in (".limpidignore", ".gitignore"):
            path = self._root / name
            if not path.exists():
                path.write_text("*\n", encoding="utf-8")


class ServerGenerations:
    """The generations of a collection on a Qdrant server. See `Generations`."""

    def __init__(self, url: str, api_key: str | None, name: str):
        """`name` is the alias. Raises `ConfigError` for an address that can't be one."""
        from core.store import server

        self._server = server
        self._client = server.connect(url, api_key)
        self._url, self._api_key, self._name = url, api_key, name

    def current(self) -> int | None:
        """See `Generations`."""
        with self._server.translated():
            aliases = {alias.alias_name: alias.collection_name for alias in self._client.get_aliases().aliases}
            target = aliases.get(self._name)
            if target is None and self._name in self._collections():
                raise IndexMismatch(f"The collection {self._name} {_EARLIER}")
        number = self._number(target) if target else None
        if target and number is None:
            raise IndexMismatch(
                f"The alias {self._name} points to the collection {target}, which isn't Limpid's. "
                "Choose another name (--collection)."
            )
        return number

    def exists(self, number: int) -> bool:
        """See `Generations`."""
        with self._server.translated():
            return self._collection(number) in self._collections()

    def open(self, number: int, dimension: int | None = None, quantization: str = "none") -> Store:
        """See `Generations`."""
        return self._server.ServerStore(
            self._server.connect(self._url, self._api_key), self._collection(number), dimension, quantization
        )

    def switch(self, number: int) -> None:
        """See `Generations`."""
        with self._server.translated():
            self._server.point_alias(self._client, self._name, self._collection(number))

    def discard(self, number: int) -> None:
        """See `Generations`: a server knows no locks, so whoever uses the generation sees it vanish."""
        with self._server.translated():
            self._client.delete_collection(self._collection(number))

    def sweep(self) -> None:
        """See `Generations`."""
        current = self.current() or 0
        with self._server.translated():
            names = self._collections()
        for number in map(self._number, names):
            if number is not None and number < current:
                self.discard(number)

    def absent(self) -> NotFound:
        """See `Generations`."""
        return NotFound(
            f"The server has no collection {self._name!r}. Make it with `limpid ingest PATH`, the same --index "
            f"and --collection {self._name}."
        )

    def close(self) -> None:
        """See `Generations`."""
        self._client.close()

    def _collection(self, number: int) -> str:
        return f"{self._name}@{number}"

    def _number(self, collection: str) -> int | None:
        name, _, number = collection.rpartition("@")
        return int(number) if name == self._name and number.isdecimal() else None

    def _collections(self) -> set[str]:
        return {found.name for found in self._client.get_collections().collections}

"""Named paths become the list of files to read, and the scopes that they answer for."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote_to_bytes

from core.errors import InputError, NotFound
from ingest.formats import FORMATS
from ingest.sources.addresses import enclosing, file_uri
from ingest.sources.archives import ARCHIVE_SUFFIXES, is_archive
from ingest.sources.ignore import IGNORE_FILE, IgnoreRules
from ingest.sources.items import Failure
from ingest.sources.metadata import SIDECAR

_Patterns = tuple[str, ...]  # the components of a glob below its fixed folder


@dataclass
class Scopes:
    """What the named paths answer for: files, and folders with the globs below them (None: all that is supported)."""

    files: set[str] = field(default_factory=set)
    folders: dict[str, list[_Patterns | None]] = field(default_factory=dict)

    def cover(self, uri: str) -> bool:
        """Whether a document with this URI would have come from the named paths if it still existed."""
        file = uri.partition("#")[0]
        if file in self.files:
            return True
        for root in enclosing(file):
            if root in self.folders and root != file:
                path = os.fsdecode(unquote_to_bytes(file[len(root) :])).lstrip("/")
                if any(_belongs(path, patterns) for patterns in self.folders[root]):
                    return True
        return False


@dataclass
class Found:
    """The files under the named paths, each once, in order.

    `skipped` counts what folders and globs left out, by reason; `failures` are folders that could not be listed.
    """

    files: list[str] = field(default_factory=list)
    scopes: Scopes = field(default_factory=Scopes)
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)


def find_files(names: Sequence[str], *, may_be_empty: bool = False) -> Found:
    """Every supported file under the named files, folders and globs, each once, in the order of the arguments.

    Folders are read recursively in sorted order, without hidden files and what `.limpidignore` files leave out; links
    are followed, and a file or folder reached by two names is taken once.

    Raises `NotFound` for a path that doesn't exist, `InputError` for a folder or glob without any supported file
    unless it `may_be_empty`.
    """
    if not names:
        raise InputError("No path was given. Name a file, a folder or a glob.")
    found = Found()
    files: dict[str, str] = {}  # real path -> path as it was reached
    for name in names:
        for path, real in _expand(name, found, may_be_empty):
            files.setdefault(real, path)
    found.files = list(files.values())
    return found


def skip_reason(name: str) -> str | None:
    """Why a file that isn't named itself is left out by its name; None where its kind is supported."""
    suffix = os.path.splitext(name)[1].lower()
    if name.endswith(SIDECAR):
        return f"metadata of another file ({SIDECAR})"
    if suffix in FORMATS or is_archive(name):
        return None
    return f"unsupported type {suffix}" if suffix else "no suffix"


def _expand(name: str, found: Found, may_be_empty: bool) -> list[tuple[str, str]]:
    """The files under one named path, with their real paths."""
    if not name.strip() or "\0" in name:
        raise InputError(f"{name!r} is not a path. Name a file, a folder or a glob.")
    path, patterns = os.path.abspath(name), None
    if os.path.isdir(path):
        root = path
    elif os.path.lexists(path):
        if not os.path.exists(path):
            raise NotFound(f"{name} is a link to something that doesn't exist. Mend the link or name its target.")
        found.scopes.files.add(file_uri(path))
        return [(path, os.path.realpath(path))]
    elif glob.has_magic(name):
        root, patterns = _split_glob(path)
    else:
        raise NotFound(f"{name} doesn't exist or can't be reached. Check the path; the current folder is {Path.cwd()}.")
    n_skipped_before = found.skipped.total()
    files = list(_Walk(root, patterns, found))
    if not files and not found.failures and not may_be_empty:
        n_skipped = found.skipped.total() - n_skipped_before
        what = f"no supported file under {name}" if patterns is None else f"no supported file matches {name}"
        raise InputError(
            f"There is {what} ({n_skipped} others seen). Supported are {', '.join((*FORMATS, *ARCHIVE_SUFFIXES))}; "
            "a file of another kind is read as text when it is named itself."
        )
    found.scopes.folders.setdefault(file_uri(root).rstrip("/"), []).append(patterns)
    return files


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    below: str  # its path below the walk's root, "" or ending in a slash
    real: str
    rules: IgnoreRules


class _Walk:
    """The files below a folder that are supported and match `patterns`, with their real paths, sorted."""

    def __init__(self, root: str, patterns: _Patterns | None, found: Found):
        self._root = root
        self._patterns = patterns
        self._found = found
        self._entered: set[tuple[int, int]] = set()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        stack: list[_Folder | tuple[str, str]] = [_Folder(self._root, "", os.path.realpath(self._root), IgnoreRules())]
        while stack:
            item = stack.pop()
            if isinstance(item, _Folder):
                stack.extend(reversed(self._list(item)))
            else:
                yield item

    def _list(self, folder: _Folder) -> list[_Folder | tuple[str, str]]:
        """What to enter and what to read in a folder; nothing where a link has led here before."""
        try:
            status = os.stat(folder.path)
            if (status.st_dev, status.st_ino) in self._entered:
                return []
            self._entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder.path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
            names = {entry.name for entry in entries}
            rules = folder.rules
            if IGNORE_FILE in names:
                rules = rules.extended(folder.below, f"{folder.path}/{IGNORE_FILE}")
        except OSError as error:
            self._found.failures.append(Failure(file_uri(folder.path), f"can't be listed: {error.strerror or error}"))
            return []
        except InputError as error:  # without its rules, what nobody wants indexed could be taken in
            self._found.failures.append(Failure(file_uri(folder.path), f"its {IGNORE_FILE}: {error}"))
            return []
        return [item for entry in entries if (item := self._select(entry, folder, rules, names))]

    def _select(
        self, entry: os.DirEntry[str], folder: _Folder, rules: IgnoreRules, names: set[str]
    ) -> _Folder | tuple[str, str] | None:
        below, is_folder = folder.below + entry.name, _is_folder(entry)
        reason = self._skip_reason(entry.name, below, is_folder, rules, names)
        if reason is not None:
            if reason:
                self._found.skipped[reason] += 1
            return None
        real = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(folder.real, entry.name)
        return _Folder(entry.path, below + "/", real, rules) if is_folder else (entry.path, real)

    def _skip_reason(self, name: str, below: str, is_folder: bool, rules: IgnoreRules, names: set[str]) -> str | None:
        """Why a file or folder isn't taken; "" for what the glob doesn't ask for."""
        patterns = self._patterns
        if patterns is not None and not (_leads_to if is_folder else _matches)(below.split("/"), patterns):
            return ""
        if name.startswith("."):
            return "" if name == IGNORE_FILE else "hidden"
        if rules.ignore(below, is_folder):
            return f"{'folders' if is_folder else 'files'} that a {IGNORE_FILE} names"
        if "corpus.jsonl" in names and name in ("queries.jsonl", "qrels.tsv", "qrels"):
            return f"{name} beside a BEIR corpus"
        reason = None if is_folder else skip_reason(name)
        if reason and patterns is not None and _names_suffix(patterns) and not name.endswith(SIDECAR):
            return None
        return reason


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: reading it will say so
        return False


def _split_glob(path: str) -> tuple[str, _Patterns]:
    """The fixed folder in front of a glob's first magic component, and the components from there on."""
    parts = Path(path).parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return os.path.join(*parts[:first]), parts[first:]


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether path components match glob components; `**` stands for any number of folders."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return any(_matches(parts[n_folders:], patterns[1:]) for n_folders in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


def _leads_to(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a file below a folder with these components could match."""
    if not parts or not patterns:
        return bool(patterns)
    return patterns[0] == "**" or (fnmatchcase(parts[0], patterns[0]) and _leads_to(parts[1:], patterns[1:]))


def _belongs(path: str, patterns: _Patterns | None) -> bool:
    """Whether a walk takes a path below its root, hidden and ignored or not."""
    if patterns is not None and not _matches(path.split("/"), patterns):
        return False
    return skip_reason(path) is None or (patterns is not None and _names_suffix(patterns))


def _names_suffix(patterns: _Patterns) -> bool:
    """Whether a glob spells out the suffix (`*.py`), so that its matches count as named files."""
    suffix = os.path.splitext(patterns[-1])[1]
    return len(suffix) > 1 and not glob.has_magic(suffix)

"""Named paths become a stream of sources; what can't be read is yielded beside them as a failure."""

from __future__ import annotations

import glob
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from core.errors import InputError, NotFound
from core.types import MetadataValue
from ingest.formats import FORMATS
from ingest.records import BEIR_FORM, parse_record, read_lines

# A document is held in memory while it is read and chunked; 20 MiB of text is about ten thousand pages.
MAX_DOCUMENT_BYTES = 20 * 2**20
# A JSONL file whose first objects all lack an `_id` is another kind of JSONL: one failure says so, not one a line.
N_PROBED_LINES = 10


@dataclass(frozen=True, slots=True)
class Source:
    """One document before extraction, its raw bytes read.

    `format` is a value of `FORMATS`. For a line of a BEIR corpus `data` is the canonical JSON of its `title`, `text`
    and `metadata`. `content_hash` is the SHA-256 of `data`, in hexadecimal. `size_bytes` is what the source took of its
    file, for progress.
    """

    id: str
    uri: str
    name: str
    format: str
    data: bytes = field(repr=False)
    content_hash: str
    size_bytes: int
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)  # what the user says of it


@dataclass(frozen=True, slots=True)
class Failure:
    """Why one source can't be used. `uri` is the file, or the file's line by its `_id` where that is known."""

    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The URIs that one named path answers for: `root` itself, or what lies below it and matches `patterns`.

    `patterns` are the components of a glob below its fixed folder; None stands for a whole folder. `kind` is
    "file" or "folder".
    """

    root: str
    kind: str
    patterns: tuple[str, ...] | None = None

    def covers(self, uri: str) -> bool:
        """Whether a document with this URI would have come from the named path if it still existed."""
        file, _, _ = uri.partition("#")
        if self.kind == "file":
            return file == self.root
        below = self.root.rstrip("/") + "/"
        if not file.startswith(below):
            return False
        parts = [unquote(part) for part in file[len(below) :].split("/")]
        if self.patterns is not None and not _matches(parts, self.patterns):
            return False
        return _is_named(self.patterns) or Path(parts[-1]).suffix.lower() in FORMATS


@dataclass
class Sources:
    """A stream of `Source` and `Failure`; iterate once.

    `size_bytes` is the size of all files found, `skipped` counts the files of folders and globs that were left out, by
    reason, and `scopes` says what the named paths answer for.
    """

    files: list[Path]
    scopes: tuple[Scope, ...]
    skipped: Counter[str]
    max_document_bytes: int = MAX_DOCUMENT_BYTES
    failures: list[Failure] = field(default_factory=list)
    _seen: dict[str, str] = field(default_factory=dict, repr=False)  # document id -> where it was read

    @property
    def size_bytes(self) -> int:
        """Bytes of all files together; a file that has gone meanwhile counts as 0."""
        return sum(_size(path) for path in self.files)

    def __iter__(self) -> Iterator[Source | Failure]:
        yield from list(self.failures)  # folders that could not be listed
        for path in self.files:
            for item in self._read(path):
                if isinstance(item, Failure):
                    self.failures.append(item)
                yield item

    def is_vanished(self, document_id: str, uri: str) -> bool:
        """Whether an indexed document has gone from the named paths; ask after the last source was read.

        What failed this time has not vanished, nor has anything inside a file or folder that failed.
        """
        if document_id in self._seen or not any(scope.covers(uri) for scope in self.scopes):
            return False
        return not any(uri == f.uri or uri.startswith((f.uri + "#", f.uri + "/")) for f in self.failures)

    def _read(self, path: Path) -> Iterator[Source | Failure]:
        uri = path.as_uri()
        form = FORMATS.get(path.suffix.lower(), "text")
        try:
            if not path.is_file():
                yield Failure(uri, "not a regular file" if path.exists() else "a link to nothing, or gone meanwhile")
            elif form == "beir":
                with path.open("rb") as lines:
                    yield from self._read_beir(lines, uri, path)
            else:
                yield self._read_file(path, uri, form)
        except OSError as error:
            yield Failure(uri, f"can't be read: {error.strerror or error}")

    def _read_file(self, path: Path, uri: str, form: str) -> Source | Failure:
        with path.open("rb") as file:
            data = file.read(self.max_document_bytes + 1)
        if len(data) > self.max_document_bytes:
            return Failure(uri, self._too_large("file", max(_size(path), len(data))))
        if not data.strip():
            return Failure(uri, "empty file" if not data else "holds only whitespace")
        self._seen[uri] = uri
        return Source(uri, uri, _name(path), form, data, sha256(data).hexdigest(), len(data))

    def _read_beir(self, lines: BinaryIO, uri: str, path: Path) -> Iterator[Source | Failure]:
        held: list[Failure] | None = []  # failures of the first lines, while every one of them is "lacks `_id`"
        number, is_blank = 0, True
        for number, line in enumerate(read_lines(lines, self.max_document_bytes), start=1):
            if isinstance(line, bytes) and not line.strip():
                continue
            is_blank = False
            item = self._parse_beir(line, number, uri, path)
            if held is None:
                yield item
                continue
            is_foreign = isinstance(item, Failure) and "lacks `_id`" in item.reason
            if is_foreign and len(held) + 1 == N_PROBED_LINES:
                yield Failure(uri, f"not a BEIR corpus: its first {N_PROBED_LINES} lines lack `_id`. {BEIR_FORM}")
                return
            held.append(item)
            if not is_foreign:
                yield from held
                held = None
        if held:
            yield from held
        if is_blank:
            yield Failure(uri, "empty file" if not number else "holds only whitespace")

    def _parse_beir(self, line: bytes | int, number: int, uri: str, path: Path) -> Source | Failure:
        if isinstance(line, int):
            return Failure(uri, f"line {number}: " + self._too_large("line", line))
        try:
            record = parse_record(line)
        except InputError as error:
            return Failure(uri, f"line {number}: {error}")
        document_id = record.pop("_id")
        place = f"{uri}#{quote(document_id, safe=_FRAGMENT_SAFE)}"
        where = f"line {number} of {uri}"
        if document_id in self._seen:
            return Failure(
                place, f"line {number}: `_id` {document_id!r} was already read from {self._seen[document_id]}"
            )
        try:
            data = json.dumps(record, ensure_ascii=False, sort_keys=True, allow_nan=False).encode()
        except (UnicodeEncodeError, ValueError) as error:
            return Failure(place, f"line {number}: holds a value that can't be stored: {error}")
        self._seen[document_id] = where
        return Source(document_id, place, _name(path), "beir", data, sha256(data).hexdigest(), len(line))

    def _too_large(self, what: str, size_bytes: int) -> str:
        limit = self.max_document_bytes
        return (
            f"{what} of {size_bytes / 2**20:.1f} MiB exceeds the limit of {limit / 2**20:g} MiB; raise max_document_mb"
        )


_FRAGMENT_SAFE = "/:@!$&'()*+,;=?"  # what RFC 3986 allows in a fragment besides letters and digits


def discover(paths: Sequence[str], max_document_bytes: int = MAX_DOCUMENT_BYTES) -> Sources:
    """Every supported file under the named files, folders and globs, each once, in the order of the arguments.

    Folders are read recursively in sorted order, without hidden files; a file reached by two names is taken once.
    A file that is named itself is read as text where its suffix is unknown.

    Raises `NotFound` for a path that doesn't exist, `InputError` for a folder or glob without any supported file.
    """
    if not paths:
        raise InputError("No path was given. Name a file, a folder or a glob.")
    files: dict[str, Path] = {}  # real path -> path as it was reached
    sources = Sources([], (), Counter(), max_document_bytes)
    scopes = []
    for name in paths:
        scope, found = _expand(name, sources)
        scopes.append(scope)
        for path in found:
            files.setdefault(os.path.realpath(path), path)
    sources.files = list(files.values())
    sources.scopes = tuple(dict.fromkeys(scopes))
    return sources


def read_paths(lines: Iterable[str]) -> list[str]:
    """The paths of a list with one path a line, blank lines left out.

    Raises `InputError` for an empty list.
    """
    paths = [line.rstrip("\r\n") for line in lines if line.strip()]
    if not paths:
        raise InputError("The list of paths on stdin is empty. Write one path a line.")
    return paths


def _expand(name: str, sources: Sources) -> tuple[Scope, list[Path]]:
    """The scope of one named path and the files under it."""
    if not name.strip() or "\0" in name:
        raise InputError(f"{name!r} is not a path. Name a file, a folder or a glob.")
    path = Path(os.path.abspath(name))
    patterns = None
    if os.path.isdir(path):
        root = path
    elif os.path.lexists(path):
        if not os.path.exists(path):
            raise NotFound(f"{name} is a link to something that doesn't exist. Mend the link or name its target.")
        return Scope(path.as_uri(), "file"), [path]
    elif glob.has_magic(name):
        root, patterns = _split_glob(path)
    else:
        raise NotFound(f"{name} doesn't exist or can't be reached. Check the path; the current folder is {Path.cwd()}.")
    skipped_before = sources.skipped.total()
    found = _select(root, patterns, sources)
    if not found and not sources.failures:
        n_skipped = sources.skipped.total() - skipped_before
        what = f"no supported file under {name}" if patterns is None else f"no supported file matches {name}"
        raise InputError(
            f"There is {what} ({n_skipped} others seen). Supported are {', '.join(FORMATS)}; "
            "a file of another kind is read as text when it is named itself."
        )
    return Scope(root.as_uri(), "folder", patterns), found


def _select(root: Path, patterns: tuple[str, ...] | None, sources: Sources) -> list[Path]:
    found = []
    for path in _walk(root, sources.failures):
        if patterns is not None and not _matches(path.relative_to(root).parts, patterns):
            continue
        suffix = path.suffix.lower()
        if path.name == "queries.jsonl" and path.with_name("corpus.jsonl").exists():
            sources.skipped["queries.jsonl beside a BEIR corpus"] += 1
        elif suffix in FORMATS or _is_named(patterns):
            found.append(path)
        else:
            sources.skipped[f"unsupported type {suffix}" if suffix else "no suffix"] += 1
    return found


def _walk(root: Path, failures: list[Failure]) -> Iterator[Path]:
    """Files below `root`, sorted by path; hidden ones left out, every folder entered once however it is linked."""
    entered: set[tuple[int, int]] = set()
    stack = [root]
    while stack:
        path = stack.pop()
        try:
            if not path.is_dir():
                yield path
                continue
            status = path.stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            names = sorted((name for name in os.listdir(path) if not name.startswith(".")), reverse=True)
        except OSError as error:
            failures.append(Failure(path.as_uri(), f"can't be listed: {error.strerror or error}"))
            continue
        stack.extend(path / name for name in names)


def _split_glob(path: Path) -> tuple[Path, tuple[str, ...]]:
    """The fixed folder in front of a glob's first magic component, and the components from there on."""
    first = next(i for i, part in enumerate(path.parts) if glob.has_magic(part))
    return Path(*path.parts[:first]), path.parts[first:]


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether path components match glob components; `**` stands for any number of folders."""
    if not patterns:
        return not parts
    if patterns[0] == "**":
        return _matches(parts, patterns[1:]) or (bool(parts) and _matches(parts[1:], patterns))
    return bool(parts) and fnmatchcase(parts[0], patterns[0]) and _matches(parts[1:], patterns[1:])


def _is_named(patterns: tuple[str, ...] | None) -> bool:
    """Whether a glob spells out the suffix (`*.py`), so that its matches count as named files."""
    if patterns is None:
        return False
    suffix = Path(patterns[-1]).suffix
    return len(suffix) > 1 and not glob.has_magic(suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _name(path: Path) -> str:
    """The file's name as text that can be stored; bytes that aren't UTF-8 become U+FFFD."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def is_gone(uri: str) -> bool:
    """Whether the file that a URI names no longer exists."""
    parts = urlsplit(uri)
    return parts.scheme == "file" and not os.path.lexists(unquote(parts.path))

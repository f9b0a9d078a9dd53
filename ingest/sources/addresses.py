"""Addresses of documents: files as `file://` URIs, what lies inside a file in the fragment, and the way back.

`file:///a/corpus.jsonl#id` is a record, `file:///a/b.zip#docs/c.md` a member of an archive, `…#docs/d.zip/e.md` a
member of an archive in it. Bytes of a name that aren't printable ASCII are percent-encoded one by one, so every name
that a file system can hold has one address, and every address one name. What clients hand over has no path: it is
`upload:NAME` or `inline:ID`.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes

UPLOAD, INLINE = "upload", "inline"  # schemes of what clients hand over
_SCHEME = "file://"
_FRAGMENT_SAFE = "/:@!$&'()*+,;=?"  # what RFC 3986 allows in a fragment besides letters, digits and -._~


def file_uri(path: str) -> str:
    """The URI of an absolute path."""
    return Path(path).as_uri()


def inside(uri: str, name: str) -> str:
    """The URI of what `name` calls inside the file, archive or archive member that `uri` names."""
    return uri + ("/" if "#" in uri else "#") + quote(os.fsencode(name), safe=_FRAGMENT_SAFE)


def handed_over(scheme: str, name: str) -> str:
    """The URI of what a client has handed over: one of our schemes, and the name that the client gave it."""
    return f"{scheme}:{quote(os.fsencode(name), safe=_FRAGMENT_SAFE)}"


def last_name(uri: str) -> str:
    """The name of what a URI leads to, without the folders and archives that it lies in."""
    return unquote(re.split("[/#]", uri.removeprefix(f"{UPLOAD}:"))[-1])


def file_path(uri: str) -> str | None:
    """The path of the file that a URI names or points into; None where it isn't a file's."""
    if not uri.startswith(_SCHEME + "/"):
        return None
    return os.fsdecode(unquote_to_bytes(uri.removeprefix(_SCHEME).partition("#")[0]))


def inner_name(uri: str) -> str:
    """What a URI names inside its file: a record's id or a member's path; "" where it names the file itself."""
    return os.fsdecode(unquote_to_bytes(uri.partition("#")[2]))


def enclosing(uri: str) -> Iterator[str]:
    """The URI itself, then all that it lies in: archives, the file, its folders, without a slash at their end."""
    yield uri
    for end in range(len(uri) - 1, 0, -1):
        if uri[end] in "/#":
            yield uri[:end]


def is_gone(uri: str) -> bool:
    """Whether the file that a `file://` URI names or points into no longer exists.

    False where that can't be told: the address isn't a file's, or its folder may not be entered.
    """
    path = file_path(uri)
    if path is None or "\0" in path:
        return False
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def display_name(path: str) -> str:
    """The last part of a path as one line of text that can be stored: bytes that aren't UTF-8 become U+FFFD."""
    name = os.fsencode(path.rpartition("/")[2]).decode("utf-8", "replace")
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in name)

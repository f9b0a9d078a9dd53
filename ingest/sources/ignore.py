"""Which files of a walk its `.limpidignore` files leave out, by the rules of gitignore.

The patterns are translated here: libraries for them judge whole paths of files, and so can't tell a walk which folders
to enter, nor hold to git's rule that what lies in an ignored folder stays ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingest.sources.files import read_file

IGNORE_FILE = ".limpidignore"
MAX_IGNORE_BYTES = 2**20  # thousands of patterns; each of them is tried on each name

_CLASSES = {  # what POSIX names, over ASCII
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "blank": r" \t", "cntrl": r"\x00-\x1f\x7f", "digit": "0-9",
    "graph": "!-~", "lower": "a-z", "print": " -~", "punct": r"!-/:-@\[-`{-~", "space": r" \t-\r", "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_BRACKET_ITEM = re.compile(r"\[:(?P<name>[^]/:]*):\]|(?P<low>\\.|[^\\])(?:-(?P<high>\\.|[^]\\]))?", re.S)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of an ignore file: what it matches is left out, or taken back in where it is negated."""

    regex: re.Pattern[str]
    is_negated: bool
    only_folders: bool
    is_path: bool  # matches the path below its ignore file's folder, not just the last name


class IgnoreRules:
    """The patterns that hold in one folder: its own, and those of the folders above it up to the walk's root.

    As in git, the last pattern that matches decides, one of a deeper folder before one of a higher, and what lies in
    an ignored folder can't be taken back in.
    """

    def __init__(self, patterns: tuple[tuple[str, Pattern], ...] = ()):
        self._patterns = patterns  # the deciding one first, each with its folder's path below the root

    def extended(self, folder: str, ignore_file: str) -> IgnoreRules:
        """These rules and those of a file in `folder`, a path below the root that is "" or ends in a slash.

        Raises `InputError` where the file can't be read.
        """
        text = read_file(ignore_file, MAX_IGNORE_BYTES).decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        patterns = [(folder, pattern) for line in text.split("\n") if (pattern := parse_pattern(line))]
        return IgnoreRules((*reversed(patterns), *self._patterns))

    def ignore(self, path: str, is_folder: bool) -> bool:
        """Whether a path below the root is left out, none of the folders above it being left out."""
        name = path.rpartition("/")[2]
        for folder, pattern in self._patterns:
            if pattern.only_folders and not is_folder:
                continue
            if pattern.regex.fullmatch(path[len(folder) :] if pattern.is_path else name):
                return not pattern.is_negated
        return False


def parse_pattern(line: str) -> Pattern | None:
    """The pattern of one line; None for a blank one, a comment, and what git takes for a pattern without matches."""
    line = _without_trailing_spaces(line.removesuffix("\r"))
    if not line or line.startswith("#"):
        return None
    is_negated, line = line.startswith("!"), line.removeprefix("!")
    only_folders, line = line.endswith("/"), line.removesuffix("/")
    is_path, line = "/" in line, line.removeprefix("/")
    regex = _translate(line)
    return None if regex is None or not line else Pattern(re.compile(regex, re.S), is_negated, only_folders, is_path)


def _without_trailing_spaces(line: str) -> str:
    """The line up to its last space that a backslash keeps."""
    kept = line.rstrip(" ")
    n_backslashes = len(kept) - len(kept.rstrip("\\"))
    return kept + " " if n_backslashes % 2 and kept != line else kept


def _translate(glob: str) -> str | None:
    """A regular expression for a glob in which only `**` between slashes crosses them; None where it can't match."""
    regex, at = "", 0
    while at < len(glob):
        if glob.startswith("**/", at) and glob[at - 1 : at] in ("", "/"):
            regex, at = regex + "(?:.*/)?", at + 3
        elif glob[at:] == "**" and glob[at - 1 : at] in ("", "/"):
            regex, at = regex + ".*", at + 2
        elif glob[at] == "*":
            regex, at = regex + "[^/]*", at + re.match(r"\*+", glob[at:]).end()
        elif glob[at] == "?":
            regex, at = regex + "[^/]", at + 1
        elif glob[at] == "[":
            bracket, at = _translate_bracket(glob, at + 1)
            if bracket is None:
                return None
            regex += bracket
        else:
            at += glob[at] == "\\"
            if at == len(glob):
                return None
            regex, at = regex + re.escape(glob[at]), at + 1
    return regex


def _translate_bracket(glob: str, at: int) -> tuple[str | None, int]:
    """The set of characters that begins after its `[`, and where it ends; None where it never does."""
    is_negated = glob[at : at + 1] in ("!", "^")
    first = at = at + is_negated
    items = ""
    while glob[at : at + 1] != "]" or at == first:
        item = _BRACKET_ITEM.match(glob, at)
        if item is None:
            return None, at
        at = item.end()
        if item["name"] is not None:
            items += _CLASSES.get(item["name"], "")
            continue
        low = item["low"][-1]
        high = item["high"][-1] if item["high"] else low
        items += f"{re.escape(low)}-{re.escape(max(low, high))}"  # an empty range still holds its first character
    if is_negated:
        return f"(?!/)[^{items}]" if items else "[^/]", at + 1
    return f"(?!/)[{items}]" if items else "(?!)", at + 1

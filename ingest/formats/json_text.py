"""One JSON document as readable Markdown: keys are headings and labels, lists of like objects are tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from core.errors import InputError
from ingest.formats.content import Content, one_line, table
from ingest.formats.described import described_by, flatten
from ingest.formats.text import decode

MAX_HEADING_LEVEL = 3  # deeper keys are labels: a path of more headings than that tells a reader nothing
MAX_LABEL_CHARS = 120
MAX_LABELLED_CHARS = 200  # behind a label; longer text is a paragraph under its heading
TITLE_KEYS = ("title", "name", "headline", "subject")


def read_json(data: bytes) -> Content:
    """The document as Markdown; its title is its `title`, `name`, `headline` or `subject`.

    Raises `InputError` for what isn't JSON, with the place of the fault.
    """
    try:
        tree = json.loads(decode(data))
    except RecursionError:
        raise InputError("is nested too deeply to be read.") from None
    except json.JSONDecodeError as error:
        raise InputError(f"isn't valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from None
    except ValueError:  # a number of thousands of digits
        raise InputError("isn't usable JSON: it holds a number with too many digits.") from None
    title, known = "", {}
    if isinstance(tree, dict):
        title = next((tree[key] for key in TITLE_KEYS if isinstance(tree.get(key), str)), "")
        known = described_by(flatten({key: value for key, value in tree.items() if _is_scalar(value)}))
    try:
        return Content("\n\n".join(_blocks(tree, 1)), "markdown", one_line(title), metadata=known)
    except RecursionError:
        raise InputError("is nested too deeply to be read.") from None


def _blocks(value: object, level: int) -> Iterator[str]:
    """Blocks of Markdown for a value whose keys would be headings of a level."""
    if isinstance(value, Mapping):
        labels = [f"- {one_line(key)}: {_scalar(inner)}" for key, inner in value.items() if _is_short(inner)]
        if labels:
            yield "\n".join(labels)
        for key, inner in value.items():
            if not _is_short(inner) and inner not in ("", [], {}, None):
                yield _label(key, level)
                yield from _blocks(inner, level + 1)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        if all(_is_short(item) for item in value):
            yield "\n".join(f"- {_scalar(item)}" for item in value)
        elif columns := _columns(value):
            yield table([columns, *([_scalar(item.get(key)) for key in columns] for item in value)])
        else:
            for number, item in enumerate(value, start=1):
                if not _is_scalar(item):
                    yield _label(_name(item) or f"{number}", level)
                yield from _blocks(item, level + 1)
    else:
        yield _scalar(value)


def _columns(items: Sequence[object]) -> list[str]:
    """The keys of a list of objects that share most of them and hold short values only; else nothing."""
    if len(items) < 2 or not all(isinstance(item, Mapping) and all(map(_is_short, item.values())) for item in items):
        return []
    keys = list(dict.fromkeys(key for item in items for key in item))
    n_values = sum(len(item) for item in items)
    return keys if n_values >= 0.5 * len(keys) * len(items) else []


def _label(key: str, level: int) -> str:
    key = one_line(key)[:MAX_LABEL_CHARS] or "(no name)"
    return f"{'#' * level} {key}" if level <= MAX_HEADING_LEVEL else f"{key}:"


def _name(item: object) -> str:
    """What an object in a list is called by its own title, name or id."""
    if not isinstance(item, Mapping):
        return ""
    return next((str(item[key]) for key in (*TITLE_KEYS, "id", "_id", "key") if _is_short(item.get(key))), "")


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int | float)


def _is_short(value: object) -> bool:
    """Whether a value fits behind its label; text of several lines or sentences is a paragraph."""
    if isinstance(value, str):
        return len(value) <= MAX_LABELLED_CHARS and "\n" not in value
    return _is_scalar(value) and value is not None


def _scalar(value: object) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)

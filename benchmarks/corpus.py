"""Real text that every CPython carries: the language reference topics of `pydoc_data.topics`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from core.tokens import EncoderTokenizer


def topics() -> dict[str, str]:
    """The topics by name, sorted."""
    from pydoc_data.topics import topics as texts

    return dict(sorted(texts.items()))


def passages(tokenizer: EncoderTokenizer, n_tokens: int) -> list[str]:
    """The topics cut into stretches of exactly `n_tokens` encoder tokens (special ones included), remainders left out.

    A cut that falls inside a word may change the count by one.
    """
    room = n_tokens - tokenizer.n_special_tokens
    cut = []
    for text in topics().values():
        offsets = tokenizer.offsets(text)
        for first in range(0, len(offsets) - room + 1, room):
            cut.append(text[offsets[first][0] : offsets[first + room - 1][1]])
    return cut


def write_files(folder: Path, names: Sequence[str] | None = None) -> Path:
    """The topics (those of `names`, if given) as one text file each; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in topics().items():
        if names is None or name in names:
            (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def questions() -> list[str]:
    """Questions about the topics, as people would ask them."""
    lines = (resources.files("api") / "demo_data" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines if line.strip()]

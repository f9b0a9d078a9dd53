"""A language model's answer on a page: its labels lead to the passages behind them."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_LABELS = re.compile(r"\[\d{1,6}(?:\s*[,;–-]\s*\d{1,6})*\]")  # [1], [1, 3], [1–3], as `api.chat.citing` reads them
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of an answer; `label` is the citation it stands for, None for anything else."""

    text: str
    label: int | None = None


def cited_pieces(answer: str, labels: Collection[int]) -> list[Piece]:
    """The answer cut around the labels that stand for a passage; the pieces together are the answer."""
    pieces, done = [], 0
    for brackets in _LABELS.finditer(answer):
        for number in _NUMBER.finditer(answer, brackets.start(), brackets.end()):
            if int(number[0]) in labels:
                pieces += [Piece(answer[done : number.start()]), Piece(number[0], int(number[0]))]
                done = number.end()
    return [piece for piece in [*pieces, Piece(answer[done:])] if piece.text]

"""Queries that several threads ask for at the same time, encoded together.

Nobody waits for company: whoever finds the encoder idle runs it at once, and what comes meanwhile is the next batch.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition

import numpy as np

MAX_TOGETHER = 16


class _Asked:
    """One query's tokens, and its vector or what went wrong once it is answered."""

    def __init__(self, ids: list[int]):
        self.ids = ids
        self.answer: np.ndarray | BaseException | None = None


class Together:
    """Batches by waiting alone. Safe to call from several threads.

    Only queries of the same number of tokens share a batch: without padding a vector is the same whoever its query
    was encoded with, and so are the hits.
    """

    def __init__(self, infer: Callable[[list[list[int]]], np.ndarray]):
        """`infer` makes vectors, float32, shape (n_queries, dimension), of token ids; one thread at a time calls it."""
        self._infer = infer
        self._freed = Condition()
        self._waiting: list[_Asked] = []
        self._is_busy = False

    def encode(self, ids: list[int]) -> np.ndarray:
        """The vector of one query's tokens, float32, shape (dimension,); raises what `infer` does."""
        mine = _Asked(ids)
        with self._freed:
            self._waiting.append(mine)
            self._freed.wait_for(lambda: mine.answer is not None or (not self._is_busy and self._waiting[0] is mine))
            if mine.answer is None:
                batch = [asked for asked in self._waiting if len(asked.ids) == len(ids)][:MAX_TOGETHER]
                self._waiting = [asked for asked in self._waiting if asked not in batch]
                self._is_busy = True
        if mine.answer is None:
            self._run(batch)
        if isinstance(mine.answer, BaseException):
            raise mine.answer
        return mine.answer

    def _run(self, batch: list[_Asked]) -> None:
        try:
            answers = list(self._infer([asked.ids for asked in batch]).copy())
        except BaseException as error:
            answers = [error] * len(batch)
        with self._freed:
            for asked, answer in zip(batch, answers, strict=True):
                asked.answer = answer
            self._is_busy = False
            self._freed.notify_all()

"""Taking turns at a collection: many read at once, one changes it alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Turns:
    """A lock with two kinds of holders. Whoever wants to change comes before those who want to read after that."""

    def __init__(self) -> None:
        self._freed = Condition()
        self._n_readers = 0
        self._n_changers = 0  # the one at work and those that wait
        self._is_changing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing changes until the block ends; not to be nested."""
        with self._freed:
            self._freed.wait_for(lambda: not self._n_changers)
            self._n_readers += 1
        try:
            yield
        finally:
            with self._freed:
                self._n_readers -= 1
                self._freed.notify_all()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Nobody reads until the block ends; not to be nested."""
        with self._freed:
            self._n_changers += 1
            try:
                self._freed.wait_for(lambda: not self._n_readers and not self._is_changing)
            except BaseException:
                self._n_changers -= 1
                self._freed.notify_all()
                raise
            self._is_changing = True
        try:
            yield
        finally:
            with self._freed:
                self._is_changing = False
                self._n_changers -= 1
                self._freed.notify_all()

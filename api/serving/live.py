"""An index that a server answers from; it moves to a new generation, or is closed, without dropping a request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from api.opening import open_query_log
from core.errors import DependencyError, LimpidError
from core.index import Index, open_generations, open_index
from core.settings import Settings
from search.rerank import Reranker
from search.retriever import Retriever
from search.stages import Watch, unwatched
from search.tuning import tune

Answer = TypeVar("Answer")
RETUNED_EVERY = 100  # logged queries
_logger = logging.getLogger("limpid.generations")


class _Serving:
    """An open generation and how many requests are using it."""

    def __init__(self, index: Index, retriever: Retriever):
        self.index = index
        self.retriever = retriever
        self.n_users = 0
        self.is_retired = False


class LiveIndex:
    """Answers questions to the current generation. Safe to use from several threads."""

    def __init__(
        self,
        index: Index | None,
        settings: Settings,
        reranker: Reranker | None = None,
        watch: Watch = unwatched,
        reopen: Callable[[], Index] | None = None,
    ):
        """`index` stays whose it is, but is closed once another generation has taken its place.

        Without one, `reopen` opens it for the first request, and anew for the first one after `rest`.
        """
        self._given = index
        self._settings = settings
        self._reranker = reranker
        self._watch = watch
        self._reopen = reopen
        self._log = open_query_log(settings)
        self._n_tuned_by = 0
        self._counting, self._moving = Lock(), Lock()
        self._told = ""
        self._remembered = (0, 0)  # by those that are closed
        self._serving = self._served(index) if index else None
        self.used = 0.0

    @property
    def settings(self) -> Settings:
        """What it was opened with."""
        return self._settings

    def answer(self, ask: Callable[[Index, Retriever], Answer]) -> Answer:
        """What `ask` makes of the index; asked anew where its generation was removed meanwhile."""
        asked = None
        try:
            with self._held() as serving:
                asked = serving
                return ask(serving.index, serving.retriever)
        except DependencyError:
            self.refresh()
            if self._serving in (asked, None):
                raise
        with self._held() as serving:
            return ask(serving.index, serving.retriever)

    def refresh(self) -> None:
        """Move to the current generation if it is another one, and tune it anew once the query log has grown.

        What goes wrong is logged and tried again next time.
        """
        with self._moving:
            if self._serving is None:
                return
            try:
                self._move(self._serving)
                self._retune()
                self._told = ""
            except LimpidError as error:
                if str(error) != self._told:
                    _logger.warning("Still serving generation %d: %s", self._serving.index.generation, error)
                self._told = str(error)

    def rest(self) -> bool:
        """Close the index unless somebody is using it or it was given; whether it is closed now. It never waits."""
        if not self._moving.acquire(blocking=False):
            return False
        try:
            with self._counting:
                serving = self._serving
                if serving is None:
                    return True
                if serving.n_users or serving.index is self._given:
                    return False
                self._remembered = self._remembered_with(serving)
                self._serving = None
            try:
                serving.index.close()  # before it can be opened again: one at a time may hold its files
            except LimpidError as error:
                _logger.warning("An index couldn't be closed: %s", error)
            return True
        finally:
            self._moving.release()

    @property
    def is_open(self) -> bool:
        """Whether the next request finds it open."""
        return self._serving is not None

    @property
    def remembered(self) -> tuple[int, int]:
        """Since the start: how many queries' vectors were remembered, and how many had to be encoded."""
        with self._counting:
            return self._remembered_with(self._serving)

    def close(self) -> None:
        """Close the generation that was opened here, if one was."""
        if self._serving and self._serving.index is not self._given:
            self._serving.index.close()

    def _served(self, index: Index) -> _Serving:
        candidates, weight = self._settings.candidates, self._settings.dense_weight
        how = {"reranker": self._reranker, "log": self._log, "watch": self._watch}
        retriever = Retriever(index, candidates, weight, **how)
        _ = retriever.ranker.unrelated  # measured before the first request, if no ingest has
        return _Serving(index, retriever)

    def _taken_over(self, index: Index) -> _Serving:
        """As `_served`, of an index that is to be closed where that fails."""
        try:
            index.embedder.encode_query("warm")  # compile the encoder before the first request, not during it
            return self._served(index)
        except BaseException:
            index.close()
            raise

    def _remembered_with(self, serving: _Serving | None) -> tuple[int, int]:
        known = serving.retriever.ranker.remembered if serving else (0, 0)
        return self._remembered[0] + known[0], self._remembered[1] + known[1]

    def _wake(self) -> None:
        """Open the index, unless another thread has meanwhile. Raises like `open_index`."""
        with self._moving:
            if self._serving is None:
                self._serving = self._taken_over(self._reopen())

    def _move(self, former: _Serving) -> None:
        with open_generations(self._settings) as generations:
            if generations.current() in (None, former.index.generation):
                return
        index = open_index(self._settings.without_index_choices(), notify=_logger.info, embedder=former.index.embedder)
        serving = self._taken_over(index)
        with self._counting:
            self._remembered = self._remembered_with(former)
            self._serving = serving
            former.is_retired = True
            is_idle = not former.n_users
        _logger.info("Serving generation %d now", index.generation)
        if is_idle:
            self._dispose(former)

    def _retune(self) -> None:
        """Only an index that was tuned is tuned again, and judgements count for more than any log."""
        if self._log is None or self._log.n_added - self._n_tuned_by < RETUNED_EVERY:
            return
        self._n_tuned_by = self._log.n_added
        with self._held() as serving:
            index = serving.index
            if index.meta.tuning and index.meta.tuning["basis"] != "judgements":
                index.meta.tuning = tune(self._log.rows(), "query log").to_json()
                index.save()
                _logger.info("Tuned by the query log: weight %.2f", index.meta.tuning["alpha"])

    @contextmanager
    def _held(self) -> Iterator[_Serving]:
        serving = self._entered()
        try:
            yield serving
        finally:
            with self._counting:
                serving.n_users -= 1
                is_last = serving.is_retired and not serving.n_users
            if is_last:
                self._dispose(serving)

    def _entered(self) -> _Serving:
        while True:
            with self._counting:
                serving = self._serving
                if serving is not None:
                    serving.n_users += 1
                    self.used = time.monotonic()
                    return serving
            self._wake()

    def _dispose(self, former: _Serving) -> None:
        """Close a generation that nobody uses any more, and remove what is left of it."""
        try:
            former.index.close()
            with open_generations(self._settings) as generations:
                generations.sweep()
        except LimpidError as error:
            _logger.warning("Generation %d couldn't be removed: %s", former.index.generation, error)

"""The index that a server answers from; it moves to a new generation without dropping a request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from api.opening import open_query_log, open_reranker
from core.errors import DependencyError, LimpidError
from core.index import Index, open_generations, open_index
from core.settings import Settings
from search.query_log import QueryLog
from search.rerank import Reranker
from search.retriever import Retriever
from search.tuning import tune

Answer = TypeVar("Answer")
RETUNED_EVERY = 100  # logged queries
_logger = logging.getLogger("limpid.generations")


class _Serving:
    """An open generation and how many requests are using it."""

    def __init__(self, index: Index, settings: Settings, reranker: Reranker | None, log: QueryLog | None):
        self.index = index
        self.retriever = Retriever(index, settings.candidates, settings.dense_weight, reranker=reranker, log=log)
        self.n_users = 0
        self.is_retired = False


class LiveIndex:
    """Answers questions to the current generation. Safe to use from several threads."""

    def __init__(self, index: Index, settings: Settings):
        """`index` stays whose it is, but is closed once another generation has taken its place."""
        self._given = index
        self._settings = settings
        self._reranker = open_reranker(settings, _logger.info)  # one for all generations: it knows nothing of an index
        self._log = open_query_log(settings)
        self._n_tuned_by = 0
        self._serving = _Serving(index, settings, self._reranker, self._log)
        _ = self._serving.retriever.ranker.unrelated  # measured here, in the main thread, if no ingest has
        self._counting, self._moving = Lock(), Lock()
        self._told = ""

    @property
    def settings(self) -> Settings:
        """What it was opened with."""
        return self._settings

    def answer(self, ask: Callable[[Index, Retriever], Answer]) -> Answer:
        """What `ask` makes of the index; asked anew where its generation was removed meanwhile."""
        asked = self._serving
        try:
            with self._held() as serving:
                asked = serving
                return ask(serving.index, serving.retriever)
        except DependencyError:
            self.refresh()
            if self._serving is asked:
                raise
        with self._held() as serving:
            return ask(serving.index, serving.retriever)

    def refresh(self) -> None:
        """Move to the current generation if it is another one, and tune it anew once the query log has grown.

        What goes wrong is logged and tried again next time.
        """
        with self._moving:
            try:
                self._move()
                self._retune()
                self._told = ""
            except LimpidError as error:
                if str(error) != self._told:
                    _logger.warning("Still serving generation %d: %s", self._serving.index.generation, error)
                self._told = str(error)

    def close(self) -> None:
        """Close the generation that was opened here, if one was."""
        if self._serving.index is not self._given:
            self._serving.index.close()

    def _move(self) -> None:
        with open_generations(self._settings) as generations:
            if generations.current() in (None, self._serving.index.generation):
                return
        index = open_index(self._settings.without_index_choices(), notify=_logger.info)
        index.embedder.encode_query("warm")  # compile the encoder before the first request, not during it
        serving = _Serving(index, self._settings, self._reranker, self._log)
        with self._counting:
            former, self._serving = self._serving, serving
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
        with self._counting:
            serving = self._serving
            serving.n_users += 1
        try:
            yield serving
        finally:
            with self._counting:
                serving.n_users -= 1
                is_last = serving.is_retired and not serving.n_users
            if is_last:
                self._dispose(serving)

    def _dispose(self, former: _Serving) -> None:
        """Close a generation that nobody uses any more, and remove what is left of it."""
        try:
            former.index.close()
            with open_generations(self._settings) as generations:
                generations.sweep()
        except LimpidError as error:
            _logger.warning("Generation %d couldn't be removed: %s", former.index.generation, error)

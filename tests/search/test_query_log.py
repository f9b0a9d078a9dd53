"""The log of queries' features."""

from __future__ import annotations

import numpy as np
import pytest

from core.errors import DependencyError
from core.index import Index
from search.features import NAMES
from search.query_log import KEPT, SLACK, QueryLog
from search.retriever import Retriever


def test_hybrid_searches_are_logged_without_their_text(index: Index, tmp_path):
    path = tmp_path / "log"
    retriever = Retriever(index, log=QueryLog(path))
    retriever.search("raise an exception")
    retriever.search("raise an exception", mode="dense")
    retriever.rank_documents("raise an exception")
    assert QueryLog(path).rows().shape == (1, len(NAMES))
    assert "exception" not in path.read_text()


def test_it_keeps_the_last_and_stays_small(tmp_path):
    log = QueryLog(tmp_path / "log")
    for number in range(SLACK * KEPT + 10):
        log.add(np.full(len(NAMES), float(number)))
    assert log.rows()[-1, 0] == SLACK * KEPT + 9
    assert len(log.rows()) == KEPT
    assert len(log.path.read_text().splitlines()) <= SLACK * KEPT
    np.testing.assert_array_equal(QueryLog(log.path).rows(), log.rows())


def test_a_damaged_line_is_left_out(tmp_path):
    path = tmp_path / "log"
    log = QueryLog(path)
    log.add(np.zeros(len(NAMES)))
    with open(path, "a") as file:
        file.write('[1, 2]\n{"a": 1}\n[1, "x"]\n[0.1, 0.')
    assert len(QueryLog(path).rows()) == 1


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DependencyError, match="query log"):
        QueryLog(tmp_path / "absent" / "log").add(np.zeros(len(NAMES)))

"""The load test: a real server over a synthetic index, what clients see of it, and rows that say what was missed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import load
from benchmarks.load import CONTEXT, SEARCH, Load, added, started_s, under_load
from benchmarks.load_clients import Traffic, Wanted, ask
from benchmarks.serving import Memory, Plain, Probes, Served, copied, write_index
from benchmarks.synthetic import SyntheticCorpus

CORPUS = SyntheticCorpus(300)
QUERIES = [query.text for query in CORPUS.queries(400)]
needs_locust = pytest.mark.skipif(find_spec("locust") is None, reason="locust is installed with the extra bench alone")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_index(CORPUS, tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="module")
def server(index: Path) -> Iterator[Served]:
    with copied(index) as own, Served(own) as served:
        yield served


def traffic(rows: list[tuple[float, float, int, bool]], seconds: float = 10.0) -> Traffic:
    """What clients saw, of (seconds since the warm-up, milliseconds, status, whether Retry-After was there)."""
    started, ms, status, has_retry_after = (np.array(column) for column in zip(*rows, strict=True))
    return Traffic(seconds, 0.0, 0.1, started, ms, status, has_retry_after, {})


class TestTraffic:
    def test_what_came_before_the_measuring_counts_only_where_it_ends_in_it(self):
        seen = traffic(
            [(-1.0, 500, 200, False), (-0.5, 900, 200, False), (9.9, 50, 200, False), (9.9, 200, 200, False)]
        )
        assert seen.rate == pytest.approx(2 / 10)
        assert seen.arrivals == pytest.approx(2 / 10)
        assert seen.taken_ms(200).tolist() == [50, 200]

    def test_refusals_are_no_answers(self):
        seen = traffic([(0.0, 5, 200, False), (1.0, 1, 503, True), (2.0, 2, 429, True), (3.0, 9, 0, False)])
        assert seen.rate == pytest.approx(1 / 10)
        assert seen.statuses == {0: 1, 200: 1, 429: 1, 503: 1}
        assert seen.taken_ms(*load.REFUSALS).tolist() == [1, 2]


class TestRows:
    def test_an_error_is_a_miss(self):
        good, bad = (traffic([(0.0, 5, 200, False), (1.0, 5, status, False)]) for status in (200, 500))
        assert load._level_figure(SEARCH, 8, good).met is True
        row = load._level_figure(SEARCH, 8, bad)
        assert (row.met, row.beside) == (False, "1 errors in 2")

    @pytest.mark.parametrize(
        ("refusal", "is_met"),
        [
            ((1.0, 3.0, 503, True), True),
            ((1.0, 900.0, 503, True), False),  # slowly
            ((1.0, 3.0, 503, False), False),  # without saying when to come again
            ((1.0, 3.0, 500, True), False),  # another error
        ],
    )
    def test_a_refusal_is_quick_and_says_when_to_come_again(self, refusal: tuple, is_met: bool):
        rows = [(0.0, 40.0, 200, False), (1.0, 3.0, 503, True), refusal]
        refused, meanwhile, afterwards = load._overload_figures(traffic(rows), 0.2, 0.4, [20.0])
        assert refused.met is is_met
        assert meanwhile.ratio == pytest.approx(0.5)
        assert afterwards.met is True

    def test_memory_that_grows_is_a_miss(self):
        seen = traffic([(0.0, 5, 200, False)], 600)
        flat = [(500.0 + second % 3, 300.0) for second in range(600)]
        growing = [(500.0 + second / 20, 300.0) for second in range(600)]
        assert load._memory_figure(seen, flat).met is True
        row = load._memory_figure(seen, growing)
        assert row.met is False
        assert row.value == pytest.approx(540 / 20)

    def test_who_is_never_answered_again_has_not_recovered(self):
        probes = Probes("http://127.0.0.1:1", "/v1/search", [{}])
        probes.rows = [(9.0, 2500.0, 200), (10.5, 100.0, 503), (11.0, 250.0, 200)]
        assert probes.answered_s(10.0) == pytest.approx(1.25)
        assert probes.answered_s(12.0) == float("inf")


def test_a_synthetic_index_is_served_with_the_real_encoder(index: Path, server: Served):
    client = Plain(server.url)
    with Memory(server.pid) as memory:
        status, found = client.post(SEARCH[0], {"query": QUERIES[0]} | SEARCH[1])
        asked, context = client.post(CONTEXT[0], {"query": QUERIES[0]} | CONTEXT[1])
    client.close()
    assert (status, len(found["hits"])) == (200, 10)
    assert any(hit["legs"]["sparse"]["score"] > 0 for hit in found["hits"])
    assert (asked, context["n_tokens"] > 1_000) == (200, True)
    resident, unbacked = memory.samples[0]
    assert resident > unbacked > 50 or not resident  # a system that doesn't tell
    assert server.n_logged_errors() == 0
    assert write_index(CORPUS, index.parent) == index  # found again


def test_the_library_answers_beside_the_server(index: Path, server: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load, "BLOCK", 10)
    with copied(index) as copy:
        taken = added(server.url, copy, QUERIES[:30])
    assert {name: len(values) for name, values in taken.items()} == {"library": 10, "http": 10}
    assert not copy.exists()
    row = load._added_figure({"library": [3.0], "http": [4.5]})
    assert (row.limpid, row.met) == ("1.50 ms", True)
    assert load._added_figure({"library": [3.0], "http": [5.5]}).met is False


def test_without_the_tool_a_row_says_so(server: Served, monkeypatch: pytest.MonkeyPatch):
    def missing(wanted: Wanted) -> Traffic:
        raise ModuleNotFoundError("No module named 'locust'", name="locust")

    monkeypatch.setattr(load, "ask", missing)
    [row] = under_load(Load(server, QUERIES, 1.0), 1.0)
    assert row.limpid == f"not installed (locust): {load.INSTALL}"


def test_a_start_is_timed_to_the_first_answer(index: Path):
    taken = started_s(index, QUERIES[0])
    assert 0.1 < taken < 60
    row = load._start_figure([1.0, taken + 60, 1.5])
    assert (row.value, row.met) == (1.5, True)
    assert load._start_figure([2.5]).met is False


@needs_locust
def test_clients_are_counted_and_refused_under_overload(server: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(load, "WARM_UP_S", 0.5)
    monkeypatch.setattr(load, "RECOVERY_S", 1.5)
    monkeypatch.setattr(load, "CLIENTS", (4,))
    under = Load(server, QUERIES, 1.0)
    [row] = under.levels(SEARCH)
    assert row.met
    assert row.value > 1
    assert under._queries[0] != QUERIES[0]  # the next phase asks something else
    refused, *_ = under.overload()
    found = under.details["overload"]
    assert found["statuses"].keys() == {200, 503}
    assert "0 other errors, 0 without Retry-After" in refused.beside
    assert found["recovered_s"] < 30
    assert server.n_logged_errors() == 0


@needs_locust
def test_a_server_that_is_gone_is_no_answer():
    seen = ask(Wanted("http://127.0.0.1:9", [SEARCH], QUERIES[:3], 2, 0.3, 0.1))
    assert set(seen.statuses) == {0}
    assert seen.rate == 0
    assert any("refused" in fault.lower() for fault in seen.faults)

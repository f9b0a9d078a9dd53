"""The stopwatch: every moment of a thread counts once, for the innermost stage."""

import threading
import time

import pytest

from benchmarks.stages import Stages

PAUSE_S = 0.05


def test_an_inner_stage_stops_the_outer_one():
    stages = Stages()
    started = time.perf_counter()
    with stages.at("outer"):
        time.sleep(PAUSE_S)
        with stages.at("inner"):
            time.sleep(2 * PAUSE_S)
    taken = time.perf_counter() - started
    assert stages.spent["inner"].wall_s >= 2 * PAUSE_S
    assert stages.spent["outer"].wall_s >= PAUSE_S
    assert sum(spent.wall_s for spent in stages.spent.values()) == pytest.approx(taken, abs=PAUSE_S / 2)
    assert stages.spent["inner"].cpu_s < PAUSE_S


def test_threads_are_at_stages_of_their_own():
    stages = Stages()

    def work():
        with stages.at("theirs"):
            time.sleep(PAUSE_S)

    with stages.at("ours"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert stages.spent["theirs"].wall_s >= PAUSE_S
    assert stages.spent["ours"].wall_s >= PAUSE_S


def test_an_iterator_is_watched_item_by_item():
    stages = Stages()

    def slow():
        for number in range(3):
            time.sleep(PAUSE_S)
            yield number

    class Source:
        def numbers(self):
            return slow()

    watched = stages.around(Source(), {"numbers": "making"})
    with stages.at("using"):
        for _ in watched.numbers():
            time.sleep(PAUSE_S)
    assert 3 * PAUSE_S <= stages.spent["making"].wall_s < 5 * PAUSE_S
    assert 3 * PAUSE_S <= stages.spent["using"].wall_s < 5 * PAUSE_S

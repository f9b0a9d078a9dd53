"""Readers share, a change is alone, and it doesn't wait behind readers that came later."""

from __future__ import annotations

import threading
import time

from core.store.turns import Turns


def test_readers_share() -> None:
    turns, both = Turns(), threading.Barrier(2, timeout=10)

    def read() -> None:
        with turns.reading():
            both.wait()  # breaks unless both are inside

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def test_a_change_is_alone() -> None:
    turns, held, seen = Turns(), [0, 0], set()
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            with turns.reading():
                seen.add(held[0] == held[1])

    def change() -> None:
        for _ in range(50):
            with turns.changing():
                held[0] += 1
                time.sleep(0.001)
                held[1] += 1

    readers = [threading.Thread(target=read) for _ in range(3)]
    changers = [threading.Thread(target=change) for _ in range(2)]
    for thread in (*readers, *changers):
        thread.start()
    for thread in changers:
        thread.join(timeout=30)  # readers that never pause don't keep them waiting
    is_over.set()
    for thread in readers:
        thread.join()
    assert held == [100, 100]
    assert seen == {True}


def test_what_fails_inside_gives_its_turn_back() -> None:
    turns = Turns()
    for turn in (turns.reading, turns.changing):
        try:
            with turn():
                raise ValueError
        except ValueError:
            pass
    with turns.changing():
        pass
    with turns.reading():
        pass

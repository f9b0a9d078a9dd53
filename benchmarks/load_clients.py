"""Clients that ask a running server all at once, by locust.

They run in a process of their own, `python -m benchmarks.load_clients`, because locust replaces sockets, threads and
clocks of the process that imports it; what they shall do comes as JSON on stdin, what they saw goes to stdout. Each
has one connection and asks as soon as it is answered; with a `rate` requests come at their own times instead, evenly,
whether earlier ones are answered or not.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

TOOL = "locust"
TIMEOUT_S = 60  # for one answer
BOUND_S = 120  # on top of the time that was asked for, after which the clients are ended


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the clients do. `asks` are addresses with bodies, taken in turn, each with the next of `queries`.

    `seconds` are counted from when `warm_up_s` have passed. `rate` is of all clients together, requests a second.
    """

    url: str
    asks: Sequence[tuple[str, dict[str, Any]]]
    queries: Sequence[str]
    n_clients: int
    seconds: float
    warm_up_s: float = 1.0
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the clients saw, request by request, in the order of answers; arrays of shape (n_requests,).

    `started` are seconds since the warm-up's end, those before it negative; `status` is 0 where there was no answer.
    `cpu` is the share of one core that the tool itself took. `faults` counts what went wrong without an answer.
    """

    seconds: float
    ended: float
    cpu: float
    started: np.ndarray
    ms: np.ndarray
    status: np.ndarray
    has_retry_after: np.ndarray
    faults: dict[str, int]

    def taken_ms(self, *statuses: int) -> np.ndarray:
        """Milliseconds of the answers with these statuses to requests after the warm-up."""
        return self.ms[self.counted & np.isin(self.status, statuses)]

    @property
    def counted(self) -> np.ndarray:
        """Which requests came after the warm-up."""
        return self.started >= 0

    @property
    def rate(self) -> float:
        """Answers 200 a second, by when they came."""
        came = self.started + self.ms / 1000
        return float(np.sum((self.status == 200) & (came >= 0) & (came < self.seconds)) / self.seconds)

    @property
    def arrivals(self) -> float:
        """Requests a second."""
        return float(np.sum(self.counted) / self.seconds)

    @property
    def statuses(self) -> dict[int, int]:
        """How many requests after the warm-up were answered with each status."""
        return dict(sorted(Counter(self.status[self.counted].tolist()).items()))


def ask(wanted: Wanted) -> Traffic:
    """Let the clients ask. Raises `ModuleNotFoundError` without locust, `RuntimeError` where it fails."""
    command = [sys.executable, "-m", "benchmarks.load_clients"]
    bound = wanted.warm_up_s + wanted.seconds + BOUND_S
    given, root = json.dumps(asdict(wanted)), Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, input=given, capture_output=True, text=True, check=False, timeout=bound)
    if done.returncode:
        if f"No module named '{TOOL}'" in done.stderr:
            raise ModuleNotFoundError(f"No module named {TOOL!r}", name=TOOL)
        raise RuntimeError(f"The clients failed:\n{done.stderr[-2000:]}")
    seen = json.loads(done.stdout)
    rows = np.array(seen["requests"], dtype=np.float64).reshape(-1, 4)
    return Traffic(
        wanted.seconds,
        seen["ended"],
        seen["cpu_s"] / seen["wall_s"],
        rows[:, 0] - seen["began"] - wanted.warm_up_s,
        rows[:, 1],
        rows[:, 2].astype(int),
        rows[:, 3] > 0,
        seen["faults"],
    )


def main() -> None:
    """Read the task, let the clients ask, write what they saw."""
    import gevent
    from locust import FastHttpUser, constant, task  # replaces sockets and threads, so it comes first
    from locust.env import Environment
    from locust.user.wait_time import constant_pacing

    told = Wanted(**json.load(sys.stdin))
    pause_s = told.n_clients / told.rate if told.rate else 0.0
    n_asked = count()

    class Client(FastHttpUser):
        host = told.url
        network_timeout = connection_timeout = TIMEOUT_S
        wait_time = constant_pacing(pause_s) if pause_s else constant(0)

        def on_start(self) -> None:
            gevent.sleep(random.uniform(0, pause_s))

        @task
        def ask(self) -> None:
            number = next(n_asked)
            path, body = told.asks[number % len(told.asks)]
            self.client.post(path, json=body | {"query": told.queries[number % len(told.queries)]})

    environment = Environment(user_classes=[Client], stop_timeout=TIMEOUT_S)
    seen = _Seen()
    environment.events.request.add_listener(seen.note)
    runner = environment.create_local_runner()
    began, cpu_s = time.time(), time.process_time()
    runner.start(told.n_clients, spawn_rate=told.n_clients)
    gevent.sleep(told.warm_up_s + told.seconds)
    ended = time.time()
    runner.quit()  # what is under way is answered first
    json.dump(
        {
            "began": began,
            "ended": ended,
            "wall_s": time.time() - began,
            "cpu_s": time.process_time() - cpu_s,
            "requests": seen.requests,
            "faults": seen.faults,
        },
        sys.stdout,
    )


class _Seen:
    """Notes each request, exactly: locust's own table rounds to two digits."""

    def __init__(self) -> None:
        self.requests: list[tuple[float, float, int, int]] = []
        self.faults: Counter[str] = Counter()

    def note(self, start_time: float, response_time: float, response: Any, exception: Any, **_: Any) -> None:
        """Called by locust after each request."""
        status = response.status_code or 0
        if not status:
            self.faults[repr(exception)[:200]] += 1
        has_retry_after = int("Retry-After" in (response.headers or {}))
        self.requests.append((start_time, response_time, status, has_retry_after))


if __name__ == "__main__":
    main()

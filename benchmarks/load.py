"""A real `limpid serve` under load: its start, what HTTP adds, answers a second, memory over minutes, overload.

The index is synthetic, the encoder real: every query is words of the corpus that the server hasn't read lately, and
asks for ten hits or for a context of 2,000 tokens. What HTTP adds is measured with one client beside the same call in
this process, on a copy of the index, block by block in turn. Load comes from locust over loopback, in a process that
shares the cores with the server: without it (`pip install -c constraints.txt -e '.[bench]'`) those rows say so.
Overload are search requests that come evenly, at four times the rate of answers at 32 clients, whether earlier ones are
answered or not. `--keep` keeps the index for the next run.
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.load_clients import TOOL, Traffic, Wanted, ask
from benchmarks.peers import INSTALL
from benchmarks.serving import Memory, Plain, Probes, Served, copied, write_index
from benchmarks.synthetic import SyntheticCorpus
from benchmarks.synthetic_index import kept_or_temporary
from benchmarks.timing import each_ms, median, percentiles

AIM_START_S, AIM_ADDED_MS, AIM_RECOVERED_S = 2.0, 2.0, 1.0
AIM_GROWTH = 0.02  # of the memory in the first minute: what counts as flat
AIM_REFUSED_P95_MS = 250.0
Ask = tuple[str, dict[str, Any]]
SEARCH: Ask = ("/v1/search", {"k": 10})
CONTEXT: Ask = ("/v1/context", {"max_tokens": 2_000})
CLIENTS, STEADY_CLIENTS, TIMES = (1, 8, 32), 8, 4
N_QUERIES = 8_000  # several times what the server remembers the vectors of
REFUSALS = (429, 503)
BLOCK, N_SETTLING, WARM_UP_S = 50, 5, 2.0
RECOVERY_S = 3.0  # for which it is looked on after an overload
QUICK = {"n": 2_000, "seconds": 2.0, "minutes": 0.2, "starts": 2, "queries": 100}


def main() -> None:
    """Write or find the index, measure, print, write."""
    parser = arguments("load", __doc__)
    parser.add_argument("--n", type=int, default=100_000, help="chunks [100000]")
    parser.add_argument("--queries", type=int, default=1_000, help="queries for what HTTP adds [1000]")
    parser.add_argument("--starts", type=int, default=5, help="starts, after one to warm up [5]")
    parser.add_argument("--seconds", type=float, default=15.0, help="seconds at each number of clients [15]")
    parser.add_argument("--minutes", type=float, default=10.0, help="minutes of the long run [10]")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--keep", type=Path, help="folder to keep the index in, or to find it in")
    args = parser.parse_args()
    for name, value in QUICK.items() if args.quick else ():
        setattr(args, name, value)
    corpus = SyntheticCorpus(args.n)
    with kept_or_temporary(args.keep) as keep:
        print("Index …", flush=True)
        index = write_index(corpus, keep)
        figures, notes, details = measure(index, [query.text for query in corpus.queries(N_QUERIES)], args)
    publish(Report("load", command_line(parser, args), figures, notes, [TOOL, "uvicorn", "fastapi"], details), args.out)


def measure(index: Path, queries: Sequence[str], args: argparse.Namespace) -> tuple[list[Figure], list[str], dict]:
    """Rows, notes and further numbers of everything."""
    starts = [started_s(index, query) for query in queries[: args.starts + 1]][1:]
    figures = [_start_figure(starts)]
    details: dict[str, Any] = {"start_s": starts}
    with copied(index) as copy, Served(index) as server:
        taken = added(server.url, copy, queries[: args.queries])
    figures.append(_added_figure(taken))
    details["one_client_ms"] = {name: percentiles(values) for name, values in taken.items()}
    with Served(index) as server:
        load = Load(server, queries[args.queries :], args.seconds)
        figures += under_load(load, 60 * args.minutes)
        details |= load.details | {"errors_logged": server.n_logged_errors()}
    return figures, _notes(args, details), details


def started_s(index: Path, query: str) -> float:
    """Seconds from the start of the process to its first answer."""
    began = time.perf_counter()
    with Served(index) as server:
        client = Plain(server.url)
        status, _ = client.post(SEARCH[0], {"query": query} | SEARCH[1])
        taken = time.perf_counter() - began
        client.close()
    if status != 200:
        raise RuntimeError(f"The first query was answered with {status}.")
    return taken


def added(url: str, copy: Path, queries: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of each query as a call in this process and over HTTP, its JSON read, in turn block by block."""
    from core.index import open_index
    from core.settings import Settings
    from search.retriever import Retriever

    with open_index(Settings(index=str(copy), offline=True)) as index:
        retriever, client = Retriever(index), Plain(url)

        def http(query: str) -> None:
            status, _ = client.post(SEARCH[0], {"query": query} | SEARCH[1])
            if status != 200:
                raise RuntimeError(f"A query was answered with {status}.")

        contenders = {"library": lambda query: retriever.search(query, **SEARCH[1]), "http": http}
        taken: dict[str, list[float]] = {name: [] for name in contenders}
        for first in range(0, len(queries), BLOCK):
            for name, call in contenders.items():
                client.close()  # it was idle while the other had its turn
                block_ms = each_ms(call, queries[first : first + BLOCK])
                taken[name] += block_ms[N_SETTLING:] if first or len(queries) <= BLOCK else []
        client.close()
    return taken


class Load:
    """Phases of load on one server, each with queries that the phases before it haven't asked."""

    def __init__(self, server: Served, queries: Sequence[str], seconds: float):
        """`seconds` at each number of clients. What was measured gathers in `details`."""
        self._server = server
        self._queries = deque(queries)
        self._seconds = seconds
        self.details: dict[str, Any] = {}

    def levels(self, path: Ask) -> list[Figure]:
        """Rows of answers a second at each number of clients. Raises like `ask`, as all methods do."""
        return [_level_figure(path, n, self._ask(f"{_name(path)}, {n}", [path], n, self._seconds)) for n in CLIENTS]

    def overload(self) -> list[Figure]:
        """Rows of searches that come at several times the rate of answers under full load. To be called after it."""
        from api.app import N_THREADS
        from core.settings import Settings

        capacity = self.details[f"{_name(SEARCH)}, {CLIENTS[-1]}"]["rate"]
        # An admitted request waits for limit / capacity at most, and each of these clients asks less often than that.
        n_clients = 6 * (N_THREADS + Settings.model_fields["max_waiting"].default)
        bodies = [{"query": f"{query} besides"} | SEARCH[1] for query in self._queries]
        with Probes(self._server.url, SEARCH[0], bodies) as probes:
            seen = self._ask("overload", [SEARCH], n_clients, self._seconds, TIMES * capacity)
            time.sleep(max(0.0, seen.ended + RECOVERY_S - time.time()))
        recovered_s = probes.answered_s(seen.ended)
        after = [ms for began, ms, status in probes.rows if began > seen.ended + AIM_RECOVERED_S and status == 200]
        self.details["overload"] |= {
            "capacity": capacity,
            "refused_ms": percentiles(refused) if len(refused := seen.taken_ms(*REFUSALS)) else None,
            "recovered_s": recovered_s,
            "afterwards_ms": percentiles(after) if after else None,
        }
        return _overload_figures(seen, capacity, recovered_s, after)

    def steady(self, seconds: float) -> Figure:
        """The row of the server's memory while clients search and ask for contexts in turn."""
        with Memory(self._server.pid) as memory:
            seen = self._ask("steady", [SEARCH, CONTEXT], STEADY_CLIENTS, seconds)
        self.details["steady"]["memory_mb"] = memory.samples[:: max(1, len(memory.samples) // 600)]
        return _memory_figure(seen, memory.samples)

    def _ask(
        self, name: str, asks: Sequence[Ask], n_clients: int, seconds: float, rate: float | None = None
    ) -> Traffic:
        print(f"{name} …", flush=True)
        seen = ask(Wanted(self._server.url, asks, list(self._queries), n_clients, seconds, WARM_UP_S, rate))
        self._queries.rotate(-len(seen.ms))
        answered = seen.taken_ms(200)
        self.details[name] = {
            "rate": seen.rate,
            "arrivals": seen.arrivals,
            "ms": percentiles(answered) if len(answered) else None,
            "statuses": seen.statuses,
            "faults": seen.faults,
            "tool_cores": seen.cpu,
        }
        return seen


def under_load(load: Load, steady_s: float) -> list[Figure]:
    """All rows under load, or one that says what is missing."""
    try:
        levels = [row for path in (SEARCH, CONTEXT) for row in load.levels(path)]
        return [*levels, *load.overload(), load.steady(steady_s)]
    except ModuleNotFoundError as error:
        return [Figure("under load", f"not installed ({error.name}): {INSTALL}")]


def _name(path: Ask) -> str:
    return path[0].rpartition("/")[2]


def _start_figure(starts: Sequence[float]) -> Figure:
    middle, n_starts = median(starts), len(starts)
    return Figure(
        f"`limpid serve`, process start to the first answer, median of {n_starts}",
        f"{middle:.2f} s",
        f"slowest {max(starts):.2f} s",
        aim=f"≤ {AIM_START_S:g} s",
        met=middle <= AIM_START_S,
        value=middle,
    )


def _added_figure(taken: dict[str, list[float]]) -> Figure:
    library, http = median(taken["library"]), median(taken["http"])
    return Figure(
        "what HTTP adds to a search, one client, p50",
        f"{http - library:.2f} ms",
        f"library {library:.2f} ms, HTTP {http:.2f} ms",
        library / http,
        f"≤ {AIM_ADDED_MS:g} ms",
        http - library <= AIM_ADDED_MS,
        http - library,
    )


def _level_figure(path: Ask, n_clients: int, seen: Traffic) -> Figure:
    n_errors = sum(count for status, count in seen.statuses.items() if status != 200)
    return Figure(
        f"{_name(path)}, {n_clients} client{'s' * (n_clients > 1)}: answers a second; p50 / p95 / p99",
        f"{seen.rate:,.1f}; {_ms(seen.taken_ms(200))}",
        f"{n_errors:,} errors in {int(seen.counted.sum()):,}",
        aim="no error",
        met=not n_errors,
        value=seen.rate,
    )


def _overload_figures(seen: Traffic, capacity: float, recovered_s: float, after: Sequence[float]) -> list[Figure]:
    refused, n_seen = seen.taken_ms(*REFUSALS), max(1, int(seen.counted.sum()))
    p95 = percentiles(refused)["p95"] if len(refused) else float("inf")
    n_others = sum(count for status, count in seen.statuses.items() if status not in (200, *REFUSALS))
    n_silent = int(np.sum(np.isin(seen.status, REFUSALS) & ~seen.has_retry_after))
    return [
        Figure(
            f"{TIMES} × as many searches as can be answered: refused; p50 / p95 / p99 of that",
            f"{len(refused) / n_seen:.0%}; {_ms(refused)}",
            f"{n_others:,} other errors, {n_silent:,} without Retry-After, of {n_seen:,}",
            aim=f"p95 ≤ {AIM_REFUSED_P95_MS:g} ms, none else",
            met=p95 <= AIM_REFUSED_P95_MS and not n_others + n_silent,
            value=p95,
        ),
        Figure(
            "meanwhile: answers a second; p50 / p95 / p99",
            f"{seen.rate:,.1f}; {_ms(seen.taken_ms(200))}",
            f"without overload {capacity:,.1f}, {seen.arrivals:,.0f} came",
            seen.rate / capacity,
            value=seen.rate,
        ),
        Figure(
            "afterwards: first answer to a new request",
            f"{recovered_s:.2f} s",
            f"from {AIM_RECOVERED_S:g} s on p50 {median(after):.1f} ms" if after else "none came",
            aim=f"≤ {AIM_RECOVERED_S:g} s",
            met=recovered_s <= AIM_RECOVERED_S,
            value=recovered_s,
        ),
    ]


def _memory_figure(seen: Traffic, samples: Sequence[tuple[float, float]]) -> Figure:
    minute = min(60, len(samples) // 3)
    first, last = (np.median(part, axis=0) for part in (samples[:minute], samples[-minute:]))
    growth, unbacked = last - first
    n_errors = sum(count for status, count in seen.statuses.items() if status != 200)
    return Figure(
        f"memory, first to last minute of {seen.seconds / 60:,.1f}, {STEADY_CLIENTS} clients",
        f"{first[0]:,.0f} MB, {growth:+.1f} MB ({unbacked:+.1f} MB not of files)",
        f"{n_errors:,} errors in {int(seen.counted.sum()):,} requests",
        aim=f"≤ {AIM_GROWTH:.0%} more, no error",
        met=bool(growth <= AIM_GROWTH * first[0]) and not n_errors,
        value=float(growth),
    )


def _ms(taken: np.ndarray) -> str:
    return " / ".join(f"{ms:,.1f}" for ms in percentiles(taken).values()) + " ms" if len(taken) else "–"


def _notes(args: argparse.Namespace, details: dict[str, Any]) -> list[str]:
    shares = [found["tool_cores"] for found in details.values() if isinstance(found, dict) and "tool_cores" in found]
    notes = [
        f"{args.n:,} chunks; queries of 2 to 6 made-up words ({args.queries:,} for what HTTP adds), none asked twice "
        f"within what the server remembers; {SEARCH[1]['k']} hits, contexts of {CONTEXT[1]['max_tokens']:,} tokens."
    ]
    if shares:
        notes.append(
            f"The load tool ran on the server's cores and took {min(shares):.2f} to {max(shares):.2f} of one itself."
        )
    return notes


if __name__ == "__main__":
    main()

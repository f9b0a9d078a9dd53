"""What the server counts and times, in the form of Prometheus.

No label tells of a tenant or of what was asked for: an address counts under the template of its route.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from api.chat.upstream import UpstreamFailed
from api.jobs.queue import OUTCOMES, Jobs
from api.serving.tenants import Tenants
from search.stages import STAGES

# Seconds. A stage of a search takes fractions of a millisecond, a context some, an answer of a language model many.
STAGE_BUCKETS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The counters of one application. Safe to use from several threads."""

    def __init__(self) -> None:
        disable_created_metrics()  # when a counter was made: as many lines again, and nobody asks
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "limpid_requests", "Requests that were answered.", ["method", "route", "status"], registry=self.registry
        )
        self._request_s = Histogram(
            "limpid_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route"],
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("limpid_requests_in_flight", "Requests being answered now.", registry=self.registry)
        self.waiting = Gauge(
            "limpid_requests_waiting", "Of these, those that wait for a thread to work in.", registry=self.registry
        )
        stage_s = Histogram(
            "limpid_stage_seconds",
            "Time in a stage of a search.",
            ["stage"],
            buckets=STAGE_BUCKETS,
            registry=self.registry,
        )
        self._stages = {stage: stage_s.labels(stage) for stage in STAGES}
        self._upstream_s = Histogram(
            "limpid_upstream_seconds",
            "Time that the language model's server took for an answer, by its outcome.",
            ["outcome"],
            buckets=REQUEST_BUCKETS,
            registry=self.registry,
        )
        documents = Counter(
            "limpid_ingested_documents", "Documents of ingests, by outcome.", ["outcome"], registry=self.registry
        )
        self._documents = {outcome: documents.labels(outcome) for outcome in OUTCOMES}

    def watch(self, tenants: Tenants, jobs: Jobs) -> None:
        """Tell of the indexes and jobs too, as they are when Prometheus asks."""
        self.registry.register(_State(tenants, jobs))

    def answered(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count an answer; `route` is the template of its address."""
        self._requests.labels(method if method in METHODS else "other", route, status).inc()
        self._request_s.labels(route).observe(took_s)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what takes place in the block as a stage of `search.stages`."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name].observe(time.perf_counter() - started)

    @contextmanager
    def upstream(self) -> Iterator[None]:
        """Time a call to the language model's server.

        The outcome is `answered`, the status of the failure, or `cancelled`, where the client went away.
        """
        started, outcome = time.perf_counter(), "cancelled"
        try:
            yield
            outcome = "answered"
        except UpstreamFailed as error:
            outcome = str(error.status)
            raise
        finally:
            self._upstream_s.labels(outcome).observe(time.perf_counter() - started)

    def ingested(self, outcome: str, n_documents: int) -> None:
        """Count documents of an ingest by one of `OUTCOMES`."""
        self._documents[outcome].inc(n_documents)

    def text(self) -> bytes:
        """All of it in Prometheus' text form."""
        return generate_latest(self.registry)


class _State:
    """Asks indexes and jobs when Prometheus does."""

    def __init__(self, tenants: Tenants, jobs: Jobs):
        self._tenants = tenants
        self._jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        indexes = self._tenants.all()
        counted = [live.remembered for live in indexes]
        queries = CounterMetricFamily(
            "limpid_query_vectors", "Queries by whether their vector was remembered.", labels=["cache"]
        )
        queries.add_metric(["hit"], sum(hits for hits, _ in counted))
        queries.add_metric(["miss"], sum(misses for _, misses in counted))
        yield queries
        n_open = sum(live.is_open for live in indexes)
        yield GaugeMetricFamily("limpid_open_indexes", "Indexes that are open, the server's own included.", n_open)
        yield GaugeMetricFamily("limpid_jobs_waiting", "Uploads and reports that haven't begun.", self._jobs.n_waiting)

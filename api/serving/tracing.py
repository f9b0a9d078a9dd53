"""Traces by OpenTelemetry, where it is installed (the extra `otel`); nothing at all where it isn't.

Only its API is called: who collects the spans, and how they are sent, is set up from outside, such as by
`opentelemetry-instrument limpid serve`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

NAME = "limpid"


class Tracer:
    """Makes spans."""

    def __init__(self) -> None:
        """Looks for OpenTelemetry once; its API alone, which other packages bring along, collects nothing."""
        self._trace = None
        if not _is_installed():
            return
        from opentelemetry import propagate, trace

        self._trace, self._propagate = trace, propagate
        self._tracer = trace.get_tracer(NAME)

    def stage(self, name: str) -> AbstractContextManager[Any]:
        """A span of a stage of a search, inside the span of its request."""
        return self._tracer.start_as_current_span(name, record_exception=False) if self._trace else nullcontext()

    @contextmanager
    def call(self, name: str) -> Iterator[None]:
        """A span of a call to another server, inside the span of its request.

        It isn't made the current one: a stream may end in another task than it began in.
        """
        if not self._trace:
            yield
            return
        span = self._tracer.start_span(name, kind=self._trace.SpanKind.CLIENT)
        try:
            yield
        except Exception:
            span.set_status(self._trace.StatusCode.ERROR)
            raise
        finally:
            span.end()

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str], request_id: str) -> Iterator[Any]:
        """The span of a request, part of the client's trace where its headers name one; None without OpenTelemetry."""
        if not self._trace:
            yield None
            return
        context = self._propagate.extract(headers)
        attributes = {"http.request.method": method, "limpid.request_id": request_id}
        kind = self._trace.SpanKind.SERVER
        how = {"kind": kind, "attributes": attributes, "record_exception": False}  # its message may quote a document
        with self._tracer.start_as_current_span(method, context, **how) as span:
            yield span

    def finish(self, span: Any, method: str, route: str, status: int) -> None:
        """Say how the request of a span ended; `route` is its template, which holds nothing of what was asked."""
        if span is None:
            return
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(self._trace.StatusCode.ERROR)


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False

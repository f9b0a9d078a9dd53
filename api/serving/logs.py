"""The server's log: one line for each event on stderr, as text or as JSON, with the request that it belongs to.

What is searched for, and what documents hold, stays out of it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import traceback
import uuid
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

REQUEST_ID = "X-Request-ID"  # the header
request_id: ContextVar[str] = ContextVar("request_id", default="")
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # nothing that could forge a line of the log
_OWN = set(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
}  # all others were given as `extra`


def take_request_id(given: str) -> str:
    """The id of a request: the one that the client gives, where it is a plain word of at most 64, else a new one."""
    return given if _SANE.fullmatch(given) else uuid.uuid4().hex


def install(log_format: str, *, quiet: bool = False) -> None:
    """Write what Limpid and its server say to stderr, in `log_format` text or json; `quiet` leaves out remarks."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("limpid").setLevel(logging.WARNING if quiet else logging.INFO)


class _Discreet(logging.Formatter):
    """Of an exception, where it was raised and its kind; its message may quote a query or a document."""

    def formatException(self, ei: Any) -> str:
        """The traceback, with messages where LIMPID_DEBUG is set."""
        if os.environ.get("LIMPID_DEBUG"):
            return super().formatException(ei)
        error, raised = ei[1], []
        while error is not None:
            raised.append("".join([*traceback.format_tb(error.__traceback__), type(error).__name__]))
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n".join(reversed(raised))


class TextLines(_Discreet):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line, with the request's id at its end where there is one."""
        known = request_id.get()
        line = super().formatMessage(record).replace("\n", "\\n").replace("\r", "\\r")
        return f"{line} [{known}]" if known else line


class JsonLines(_Discreet):
    """One JSON object a line: `time` (UTC), `level`, `logger`, `message`, `request_id`, and what else was given."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if known := request_id.get():
            told["request_id"] = known
        told |= {name: value for name, value in vars(record).items() if name not in _OWN and name not in told}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)

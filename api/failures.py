"""The one place where Limpid's errors become exit codes and HTTP statuses."""

from __future__ import annotations

from core.errors import (
    ConfigError,
    DependencyError,
    Forbidden,
    IndexLocked,
    IndexMismatch,
    InputError,
    LimpidError,
    NotFound,
    Overloaded,
    StorageFull,
)

DONE, DONE_WITH_FAILURES = 0, 1
INTERRUPTED = 130  # the shell's convention for Ctrl-C

# Most specific first: the first class that an error is an instance of decides.
_TABLE: tuple[tuple[type[LimpidError], int, int, str], ...] = (
    (ConfigError, 2, 500, "Wrong setting"),
    (InputError, 2, 422, "Unusable input"),
    (NotFound, 3, 404, "Not found"),
    (Forbidden, 2, 403, "Forbidden"),
    (IndexMismatch, 4, 409, "Index mismatch"),
    (IndexLocked, 4, 423, "Index locked"),
    (StorageFull, 5, 507, "Disk full"),
    (Overloaded, 5, 503, "Overloaded"),
    (DependencyError, 5, 503, "Dependency unavailable"),
)


def exit_code(error: LimpidError) -> int:
    """The command line's exit code for an error."""
    return next((code for kind, code, _, _ in _TABLE if isinstance(error, kind)), DONE_WITH_FAILURES)


def http_status(error: LimpidError) -> tuple[int, str]:
    """The HTTP status for an error, and the title of its problem document."""
    return next(((status, title) for kind, _, status, title in _TABLE if isinstance(error, kind)), (500, "Failed"))


def error_class(status: int) -> type[LimpidError]:
    """The error that a client is to raise for an HTTP status that isn't success."""
    # A wrong setting of the server's, as any fault of its own, isn't one of the client's.
    special = {401: Forbidden, 429: DependencyError, 500: LimpidError}
    table = {of_kind: kind for kind, _, of_kind, _ in _TABLE} | special
    return table.get(status, DependencyError if status >= 500 else InputError)

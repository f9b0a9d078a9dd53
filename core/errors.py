"""Every error that Limpid raises on purpose.

    LimpidError
    ├── ConfigError        a setting is wrong, or two settings contradict each other
    ├── InputError         what the caller passed can't be used
    ├── NotFound           a path, document or index isn't there
    ├── Forbidden          the caller's key may not do it
    ├── IndexMismatch      the index was made with something incompatible
    ├── IndexLocked        another process holds the index
    └── DependencyError    something Limpid needs is unavailable (model, server, disk)
        ├── StorageFull    the disk has too little room to write safely
        └── Overloaded     more is waiting than is taken on

A message gives the value, the limit and the next step. The command line turns each into an exit code and the
HTTP layer into a status; both tables live in `api.failures`, and nowhere else.
"""

from __future__ import annotations


class LimpidError(Exception):
    """Base of all expected errors: `str(error)` is fit to be read by a user."""


class ConfigError(LimpidError):
    """A setting has an unusable value."""


class InputError(LimpidError):
    """An argument, a file or a request can't be used as given."""


class NotFound(LimpidError):
    """What was asked for doesn't exist."""


class Forbidden(LimpidError):
    """The caller is known and may not do this."""


class IndexMismatch(LimpidError):
    """The index and the current settings would mix incompatible spaces."""


class IndexLocked(LimpidError):
    """Another process has the embedded index open."""


class DependencyError(LimpidError):
    """A model, server or other outside resource is unavailable."""


class StorageFull(DependencyError):
    """Too little disk space is left to write without risking the index."""


class Overloaded(DependencyError):
    """As much is waiting as may; the same request will do later."""

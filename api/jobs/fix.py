"""Doing in a server what its last report advises, as far as that needs no decision, and taking it back."""

from __future__ import annotations

from typing import Any

from api.jobs.report import kept_report
from api.mending import DOABLE, mend, take_back
from core.errors import InputError
from core.index import Index
from core.settings import Settings
from ingest.fixing import OnProgress


def fix(index: Index, settings: Settings, asked: dict[str, Any], show: OnProgress) -> None:
    """Do what is asked: a `kind` of finding, `undo` or not, and when the report was `made` that was looked at.

    Raises `InputError` where that is no longer the last report, or the documents have changed since.
    """
    kind = asked.get("kind")
    if kind not in DOABLE:
        raise InputError(f"{kind!r} can't be fixed here; {', '.join(DOABLE)} can.")
    if asked.get("undo"):
        take_back(index, settings, show, [kind])
        return
    kept = kept_report(settings)
    if kept is None or kept.made != asked.get("made"):
        raise InputError("Another report has been made since. Look at that one first.")
    if not kept.is_of(index):
        raise InputError("Documents have changed since the report was made. Make a new one and look at it first.")
    plan = kept.parts()["plan"]
    mend(index, settings, show, kind, plan["splits"], plan["texts"])

"""Looking at everything that Limpid needs, and saying what to mend."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from api.console import CollectionOption, Console, IndexOption, JsonOption, ModelOption, QuietOption, settings_from
from api.failures import DONE, DONE_WITH_FAILURES
from core.errors import ConfigError

if TYPE_CHECKING:
    from api.checks import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


def doctor(
    index: IndexOption = None,
    collection: CollectionOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check installation, settings, keys, model, index, servers and disk, and say what to do about each fault.

    Nothing is changed. Ends with code 0 unless there is a fault.
    """
    console = Console(as_json, quiet)
    found = _found(index=index, collection=collection, model=model)
    if as_json:
        console.result({"faults": _count(found, "fault"), "warnings": _count(found, "warning"),
                        "findings": [asdict(finding) for finding in found]})  # fmt: skip
    for finding in found:
        if quiet and finding.state == "ok":
            continue
        console.say(f"{finding.state:<8} {finding.area}: {finding.found}", fg=_COLOURS[finding.state])
        if finding.advice:
            console.say(f"         → {finding.advice}")
    console.say(f"{_count(found, 'fault')} faults, {_count(found, 'warning')} warnings")
    raise typer.Exit(_code(found))


def _found(**flags: str | None) -> list[Finding]:
    from api import checks, checks_network

    found = [*checks.installation(), *checks.unknown_variables(dict(os.environ))]
    try:
        settings = settings_from(**flags)
    except ConfigError as error:
        return [*found, checks.fault("settings", error)]  # nothing else can be looked for without them
    found += [*checks.settings_fit(settings), *checks.keys(settings)]
    found += [*checks_network.address(settings), *checks_network.qdrant(settings), *checks_network.chat(settings)]
    of_index, stored = checks.index(settings)
    return [*found, *of_index, *checks.tenants(settings), *checks.model(settings, stored), *checks.disk(settings)]


def _count(found: list[Finding], state: str) -> int:
    return sum(finding.state == state for finding in found)


def _code(found: list[Finding]) -> int:
    """The exit code of the faults where all have the same, 1 where they differ."""
    codes = {finding.code for finding in found if finding.state == "fault"}
    if not codes:
        return DONE
    return codes.pop() if len(codes) == 1 else DONE_WITH_FAILURES

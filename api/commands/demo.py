"""The demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.console import Console, JsonOption, QuietOption, settings_from
from core.errors import InputError

DEMO_FOLDER = "./.limpid-demo"


def demo(
    out: Annotated[Path, typer.Option("--out", help="Where the quality report is written.")] = Path("report.html"),
    index: Annotated[str, typer.Option("--index", metavar="DIR", help="Folder for corpus and index.")] = DEMO_FOLDER,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Try everything on a real corpus: the language reference that every CPython carries."""
    from api.demo import run_demo

    settings = settings_from(index=index)
    if settings.is_server:
        raise InputError(f"The demo makes its index in a folder, not on {index}. Give a folder, or no --index at all.")
    run_demo(settings, Console(as_json, quiet), out)

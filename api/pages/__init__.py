"""Web pages, rendered on the server: they work without a script, and everything in them is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from api.serving.keys import ANYONE, Key

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"
# What a report's page draws its map with; served, so that there is one script for both. Nothing of `eval` is imported.
MAP_SCRIPT = FOLDER.parent.parent / "eval" / "page" / "map.js"


def render(
    name: str, caller: Key, status: int = 200, headers: Mapping[str, str] | None = None, **shown: Any
) -> HTMLResponse:
    """The page of a template, as this caller may see it; `shown` is what the template asks for."""
    values = {"may_write": caller.may("write"), "tenant": caller.tenant, **shown}
    html = _environment().get_template(f"{name}.html.j2").render(values)
    return HTMLResponse(html, status, {"Cache-Control": "no-store", **(headers or {})})


def locked_page(challenge: str) -> HTMLResponse:
    """The page for a visitor without a key; `challenge` is the WWW-Authenticate header."""
    return render("locked", ANYONE, 401, {"WWW-Authenticate": challenge})


def _count(n: int, one: str, many: str = "") -> str:
    """Such as "1 passage" or "1,204 passages"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def _moment(stamp: str | None) -> str:
    """A time of ISO 8601 for readers, to the minute."""
    return f"{datetime.fromisoformat(stamp):%Y-%m-%d %H:%M} UTC" if stamp else ""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "moment": _moment, "pair": lambda value, name: (name, value)}
    return environment

"""What the commands share: settings from flags, output for people and for programs, errors as exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from api.failures import DONE_WITH_FAILURES, INTERRUPTED, exit_code
from core.errors import InputError, LimpidError

if TYPE_CHECKING:
    from core.settings import Settings

IndexOption = Annotated[
    str | None, typer.Option("--index", metavar="DIR|URL", help="Index folder, or a Qdrant server. [./.limpid]")
]
CollectionOption = Annotated[
    str | None, typer.Option("--collection", metavar="NAME", help="Collection on a Qdrant server. [limpid]")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME|DIR", help="Any sentence-transformers model.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout, nothing else there.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no remarks.")]


@dataclass(frozen=True, slots=True)
class Console:
    """Where output goes: results to stdout, everything else to stderr."""

    json: bool = False
    quiet: bool = False

    def result(self, value: Any) -> None:
        """Print the one JSON document of a command run with --json."""
        typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))

    def say(self, text: str = "", **style: Any) -> None:
        """Print a line of the result for people; nothing with --json."""
        if not self.json:
            typer.secho(text, **style)

    def note(self, text: str) -> None:
        """Print a remark to stderr, unless quiet."""
        if not self.quiet:
            typer.secho(text, err=True, dim=True)

    @contextmanager
    def progress(self, label: str, total: float | None = None) -> Iterator[Any]:
        """A progress bar on stderr; yields `advance(done, total=None, label=None, detail="")`."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda done, total=None, label=None, detail="": None
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%  {task.fields[detail]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=RichConsole(stderr=True), transient=True) as bars:
            task = bars.add_task(label, total=total, detail="")

            def advance(done: float, total: float | None = None, label: str | None = None, detail: str = "") -> None:
                bars.update(task, completed=done, total=total, description=label, detail=detail)

            yield advance


def settings_from(**flags: Any) -> Settings:
    """The settings with a command's flags on top. Raises `ConfigError`."""
    from core.settings import read_settings

    return read_settings(**flags)


def run(app: typer.Typer, arguments: list[str]) -> NoReturn:
    """Run the command line and exit: expected errors in one line with their exit code, never a stack trace."""
    wants_json = "--json" in arguments
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except typer.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        typer.secho("Interrupted.", err=True)
        sys.exit(INTERRUPTED)
    except SystemExit:  # the reader of a pipe has gone: the command line's library ends so, and only then
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except LimpidError as error:
        _fail(error, wants_json)
    except Exception as error:
        _exit_usage(error, wants_json)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(error: LimpidError, wants_json: bool) -> NoReturn:
    if wants_json:
        typer.echo(json.dumps({"error": {"kind": type(error).__name__, "message": str(error)}}))
    typer.secho(f"Error: {error}", err=True, fg="red")
    sys.exit(exit_code(error))


def _exit_usage(error: Exception, wants_json: bool) -> NoReturn:
    """A wrong command line is shown by the command line's own library; anything else is a fault of ours."""
    if hasattr(error, "format_message") and hasattr(error, "show"):  # click's UsageError, however it is vendored
        if wants_json:
            _fail(InputError(error.format_message()), wants_json)
        error.show()
        sys.exit(2)
    if os.environ.get("LIMPID_DEBUG"):
        raise error
    name = type(error).__name__
    typer.secho(
        f"Error: Limpid failed unexpectedly ({name}: {error}). Set LIMPID_DEBUG=1 to see where, and please report it.",
        err=True,
        fg="red",
    )
    sys.exit(DONE_WITH_FAILURES)

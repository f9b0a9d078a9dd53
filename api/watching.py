"""Following files and folders: an ingest after every change, with the index open only meanwhile."""

from __future__ import annotations

import glob
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from api.console import Console
from core.errors import DependencyError, InputError, LimpidError

if TYPE_CHECKING:
    from core.settings import Settings
    from ingest.pipeline import Summary

QUIET_MS = 300  # changes are followed once nothing has moved for so long,
LONGEST_MS = 3000  # or once the first of them is so old
POLL_MS = 200  # how soon after its start the watch stands, and the first ingest begins
RETRY_S = 2.0  # after an ingest that failed as a whole, such as while another process holds the index


@dataclass(frozen=True, slots=True)
class Watched:
    """What named paths ask to be watched: whole folders, and single files by way of their folders."""

    folders: tuple[Path, ...]
    files: tuple[Path, ...]

    @classmethod
    def of(cls, names: Sequence[str]) -> Watched:
        """A glob is watched by its fixed folder."""
        folders, files = [], []
        for path in map(Path, map(os.path.abspath, names)):
            if path.is_dir():
                folders.append(path)
            elif not path.exists() and glob.has_magic(str(path)):
                first = next(place for place, part in enumerate(path.parts) if glob.has_magic(part))
                folders.append(Path(*path.parts[:first]))
            else:
                files.append(path)
        return cls(tuple(folders), tuple(files))

    @property
    def roots(self) -> list[Path]:
        """The folders that the system is asked to watch; a file's, since editors replace files instead of writing."""
        return list(dict.fromkeys([*self.folders, *(path.parent for path in self.files)]))

    def concerns(self, changed: Path) -> bool:
        """Whether a change may matter to an ingest: hidden files don't, ignore rules and sidecars do."""
        if any(changed.name.startswith(path.name) and changed.parent == path.parent for path in self.files):
            return True
        for folder in self.folders:
            if changed.is_relative_to(folder):
                parts = changed.relative_to(folder).parts
                is_hidden = any(part.startswith(".") for part in parts)
                return not is_hidden or parts[-1] == ".limpidignore"
        return False


def follow(
    names: Sequence[str],
    settings: Settings,
    console: Console,
    ingest: Callable[[], Summary],
    show: Callable[[Console, Summary], None],
) -> None:
    """Call `ingest` at once and after every change under the named paths, until Ctrl-C or SIGTERM.

    What the first ingest raises is raised; later errors are told once and retried. `show` prints a summary where
    something has changed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    watched = Watched.of(names)
    index = Path(os.path.abspath(settings.index))
    shown, told = None, ""

    def matters(_: object, path: str) -> bool:
        changed = Path(path)
        return watched.concerns(changed) and (settings.is_server or not changed.is_relative_to(index))

    while True:
        try:
            for is_due in _changes(watched, matters):
                if is_due:
                    summary = ingest()
                    if shown is None:
                        console.note(f"Watching {', '.join(names)}  (stop with Ctrl-C)")
                    if shown is None or _is_news(summary, shown):
                        show(console, summary)
                    shown, told = summary, ""
        except KeyboardInterrupt:
            return
        except LimpidError as error:
            if shown is None:
                raise
            if str(error) != told:
                typer.secho(f"Error: {error} Trying again.", err=True, fg="red")
            told = str(error)
        try:
            time.sleep(RETRY_S)
        except KeyboardInterrupt:
            return


def _changes(watched: Watched, matters: Callable[[object, str], bool]):
    """True once the watch stands and after every change, False in between.

    Raises `InputError` where a folder isn't there, `DependencyError` where the system can't watch.
    """
    from watchfiles import watch

    is_standing = False
    try:
        for changes in watch(
            *watched.roots,
            watch_filter=matters,
            step=QUIET_MS,
            debounce=LONGEST_MS,
            rust_timeout=POLL_MS,
            yield_on_timeout=True,
            recursive=bool(watched.folders),
        ):
            yield bool(changes) or not is_standing
            is_standing = True
    except FileNotFoundError as error:
        raise InputError(f"Can't watch what isn't there: {error}.") from None
    except (OSError, RuntimeError) as error:
        raise DependencyError(f"The system can't watch these paths: {error}.") from None


def _is_news(summary: Summary, before: Summary) -> bool:
    changed = summary.new + summary.updated + summary.removed + summary.renamed
    return bool(changed) or summary.failures != before.failures

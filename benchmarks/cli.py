"""Wall time of the command line, from process start to output: `limpid search` on a warm index and `limpid --help`.

Beside them, in turn, the bare interpreter doing nothing. The index holds a part of Python's language reference and is
made by `limpid ingest` first; a search opens it, loads the encoder, answers and closes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import corpus
from benchmarks.figures import Figure, Report, arguments, command_line, publish
from benchmarks.timing import alternate, median

AIM_SEARCH_S, AIM_HELP_S = 1.2, 0.3


def main() -> None:
    """Measure, print, write."""
    parser = arguments("cli", __doc__)
    parser.add_argument("--runs", type=int, default=9, help="runs of each command, after one to warm up [9]")
    parser.add_argument("--topics", type=int, default=20, help="topics in the index [20]")
    parser.add_argument("--index", type=Path, help="an index made before; nothing is ingested then")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        index = args.index or _ingest(Path(folder), args.topics)
        commands = {
            "search": [*limpid(), "search", corpus.questions()[0], "--index", str(index)],
            "search --json": [*limpid(), "search", corpus.questions()[0], "--index", str(index), "--json"],
            "--help": [*limpid(), "--help"],
            "bare": [sys.executable, "-c", "pass"],
        }
        calls = {name: lambda command=command: run(command) for name, command in commands.items()}
        alternate(calls, 1)
        taken = alternate(calls, args.runs)
    times = {name: median(values) for name, values in taken.items()}
    aims = {"search": AIM_SEARCH_S, "search --json": AIM_SEARCH_S, "--help": AIM_HELP_S}
    figures = [_figure(name, times, aim) for name, aim in aims.items()]
    publish(Report("cli", command_line(parser, args), figures, details={"seconds": taken}), args.out)


def _figure(name: str, times: dict[str, float], aim: float) -> Figure:
    ours, bare = times[name], times["bare"]
    beside = f"bare interpreter {bare:.3f} s"
    return Figure(
        f"`limpid {name}`, process start to output",
        f"{ours:.2f} s",
        beside,
        bare / ours,
        f"≤ {aim} s",
        ours <= aim,
        ours,
    )


def limpid() -> list[str]:
    """The installed command beside this interpreter, else the same entry point through the interpreter."""
    command = shutil.which("limpid", path=str(Path(sys.executable).parent))
    return [command] if command else [sys.executable, "-m", "api.cli"]


def _ingest(folder: Path, n_topics: int) -> Path:
    topics = corpus.write_files(folder / "topics", list(corpus.topics())[:n_topics])
    run([*limpid(), "ingest", str(topics), "--index", str(folder / "index"), "--quiet"])
    return folder / "index"


def run(command: list[str]) -> str:
    """What a command prints; ends this process where it fails."""
    # As installed: with byte code kept, even where the machine's settings forbid Python to write it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()

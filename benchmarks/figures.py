"""Figures as a small Markdown table and as JSON: what was measured, beside what, against which aim."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.machine import describe, shape

RESULTS = Path(__file__).parent / "results"
HEADER = ("Measured", "Limpid", "Beside", "Ratio", "Aim", "Met")


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `ratio` compares Limpid with `beside` so that more is better; `met` is None where there is no aim.

    `value` is Limpid's number as measured, unrounded, for whoever reads the JSON.
    """

    measured: str
    limpid: str
    beside: str = "–"
    ratio: float | None = None
    aim: str = "–"
    met: bool | None = None
    value: float | None = None

    def cells(self) -> list[str]:
        """The row as text, in the order of `HEADER`."""
        ratio = "–" if self.ratio is None else f"{self.ratio:,.3g} ×"
        met = {None: "–", True: "yes", False: "**no**"}[self.met]
        return [self.measured, self.limpid, self.beside, ratio, self.aim, met]


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of one benchmark; `notes` are sentences, `details` any further numbers for the JSON."""

    name: str
    command: str
    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    libraries: Sequence[str] = ()
    details: dict = field(default_factory=dict)


def publish(report: Report, out: Path) -> None:
    """Print the report with the machine's shape and write it to `out`/NAME.json."""
    machine = shape(report.libraries)
    print(f"\n`{report.command}`\n")
    print(table(HEADER, [figure.cells() for figure in report.figures]))
    for note in report.notes:
        print(f"\n{note}")
    print(f"\n{describe(machine)}")
    written = {
        "name": report.name,
        "command": report.command,
        "figures": [asdict(figure) for figure in report.figures],
        "notes": list(report.notes),
        "details": report.details,
        "machine": machine,
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{report.name}.json").write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m benchmarks.NAME` that knows `--out` already."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=(description or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for NAME.json [benchmarks/results]")
    return parser


def command_line(parser: argparse.ArgumentParser, args: argparse.Namespace) -> str:
    """The command that gives these figures: numbers that differ from their defaults, no paths of this machine."""
    given = [
        f" --{name.replace('_', '-')} {value}"
        for name, value in vars(args).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and value != parser.get_default(name)
    ]
    return parser.prog + "".join(given)

"""Run every benchmark, one process each, and write the table that the README quotes: benchmarks/results/README.md."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import HEADER, Figure, arguments, table
from benchmarks.machine import describe

TITLES = {
    "encoder": "Encoder",
    "ingest": "Ingest",
    "memory": "Ingest of many documents",
    "bm25": "BM25",
    "hybrid": "Hybrid search",
    "peers": "Peers",
    "cli": "Command line",
    "load": "Serving under load",
    "quality": "Judged quality",
    "fusion": "Fusions, self-tuned weight and confidence",
    "chunking": "Passages",
    "compression": "Compression",
    "context": "Contexts",
    "report": "Time and memory of the quality report",
    "validate": "Is the quality report right?",
    "cure": "The cure of muddy chunks",
}
QUICK = {
    "encoder": ["--passages", "32", "--queries", "30", "--rounds", "1"],
    "ingest": ["--documents", "24", "--rounds", "1"],
    "memory": ["--n", "1000", "2000", "--files", "200", "--runs", "1"],
    "bm25": ["--n", "2000"],
    "hybrid": ["--n", "2000", "--queries", "200", "--recall-queries", "50"],
    "peers": ["--n", "2000", "--queries", "100", "--recall-queries", "50"],
    "cli": ["--runs", "3", "--topics", "5"],
    "load": ["--quick"],
    "quality": [],
    "fusion": ["--only", "api_docs", "--only", "med"],
    "chunking": ["--chunkers", "structure", "--passages", "chunk", "sentences", "--thresholds", "0.6"],
    "compression": ["--names", "cranfield", "--methods", "pca:128", "binary", "--applied", "binary"],
    "context": ["chunking_evaluation", "--questions", "20", "--kinds", "sentences"],
    "report": ["--n", "1000"],
    "validate": ["--only", "stackfaq", "--only", "xquad_en"],
    "cure": ["--shares", "0.5"],
}
KEEPERS = (
    "bm25", "hybrid", "peers", "load", "quality", "fusion", "chunking", "compression", "context", "report", "validate",
)  # fmt: skip


def main() -> None:
    """Run, then gather; ends with 1 where a benchmark failed."""
    parser = arguments("run_all", __doc__)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES), help="run these alone")
    parser.add_argument("--keep", type=Path, help="folder for indexes; kept, they save minutes next time")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    args = parser.parse_args()
    if args.keep:
        failed = _run(args, args.keep)
    else:
        with tempfile.TemporaryDirectory() as folder:
            failed = _run(args, Path(folder))
    write_readme(args.out)
    if failed:
        raise SystemExit(f"Failed: {', '.join(failed)}")


def write_readme(out: Path) -> None:
    """One section for each benchmark that has results in `out`, its command above its rows."""
    parts = ["# Measured", "", "Every ratio compares two things measured in turn in one run; more is better."]
    for name, title in TITLES.items():
        path = out / f"{name}.json"
        if path.is_file():
            parts += ["", *_section(title, json.loads(path.read_text(encoding="utf-8")))]
    (out / "README.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    print(f"\nWritten: {out / 'README.md'}")


def _section(title: str, result: dict) -> list[str]:
    command = f"`{result['command']}`"
    rows = [[*Figure(**figure).cells(), command] for figure in result["figures"]]
    notes = [line for note in result["notes"] for line in (note, "")]
    return [
        f"## {title}",
        "",
        table((*HEADER, "Command"), rows),
        "",
        *notes,
        f"Machine: {describe(result['machine'])}.",
    ]


def _run(args: argparse.Namespace, keep: Path) -> list[str]:
    """Run the benchmarks one after another; the names of those that failed."""
    failed = []
    for name in args.only:
        print(f"\n# {TITLES[name]}", flush=True)
        if subprocess.run(_command(name, args, keep), check=False).returncode:
            failed.append(name)
    return failed


def _command(name: str, args: argparse.Namespace, keep: Path) -> Sequence[str]:
    command = [sys.executable, "-m", f"benchmarks.{name}", "--out", str(args.out)]
    if name in KEEPERS:
        command += ["--keep", str(keep)]
    return command + (QUICK[name] if args.quick else [])


if __name__ == "__main__":
    main()

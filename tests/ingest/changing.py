"""Changes a folder and ingests it, again and again, until killed: `python -m tests.ingest.changing FOLDER INDEX SEED`.

A line on stdout says what is being done, so that the one who kills knows what was interrupted.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import ingest.writer
from core.index import open_index
from core.settings import Settings
from ingest.pipeline import ingest as bring_in_step
from ingest.sources import discover

FOOTER = "This page belongs to the handbook of the harbour office; ask at the counter before you copy it."
KINDS = ("add", "update", "prune", "rename")


def text(rng: random.Random) -> str:
    """A page of a few sections, most of them with a footer that other pages have as well."""
    parts = [f"# Berth {rng.randrange(1000)}"]
    for number in range(rng.randrange(1, 4)):
        boat, fee = rng.choice(("ferry", "tug", "barge", "yacht")), rng.randrange(50)
        parts += [f"## Part {number}", f"The {boat} pays {fee} crowns. It leaves at {rng.randrange(24)} o'clock."]
    return "\n\n".join([*parts, FOOTER] if rng.random() < 0.7 else parts)


def change(folder: Path, kind: str, rng: random.Random) -> None:
    """Change some files of the folder in one way."""
    pages = sorted(folder.iterdir())
    some = rng.sample(pages, min(len(pages), 3))
    if kind == "add":
        for _ in range(4):
            (folder / f"page-{rng.randrange(10_000):04}.md").write_text(text(rng))
    elif kind == "update":
        for page in some:
            page.write_text(text(rng))
    elif kind == "prune" and len(pages) > 6:
        for page in some:
            page.unlink()
    elif kind == "rename":
        for page in some:
            page.rename(folder / f"page-{rng.randrange(10_000):04}.md")


def main(folder: Path, index: str, seed: int) -> None:
    """Change and ingest for ever."""
    ingest.writer.BATCH_CHARS = 800  # several batches to an ingest
    rng = random.Random(seed)
    settings = Settings(index=index, offline=True)
    with open_index(settings, create=True) as opened:
        print("ready", flush=True)
        while True:
            kind = rng.choice(KINDS)
            change(folder, kind, rng)
            print(kind, flush=True)
            failures = bring_in_step(opened, discover([str(folder)]), settings, prune=True).failures
            print(f"failed: {failures}" if failures else "done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

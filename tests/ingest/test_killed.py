"""Killed at any instant, the next ingest makes the same index as an undisturbed one."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from core.index import Index, open_index
from core.settings import Settings
from ingest.pipeline import ingest
from ingest.sources import discover
from tests.ingest.changing import KINDS, text
from tests.ingest.snapshot import assert_same, documents

N_KILLS = 50
COMPARED_EVERY = 10
QUERIES = ("which boat pays a fee", "barge o'clock", "handbook of the harbour office")
ROOT = Path(__file__).parents[2]


def killed(folder: Path, index: Path, seed: int, after_s: float) -> str:
    """Let the folder change and be ingested for a while; returns what was going on when the process was killed."""
    command = [sys.executable, "-m", "tests.ingest.changing", str(folder), str(index), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(after_s)
        process.kill()
        said = process.stdout.read().splitlines()
    assert not any(line.startswith("failed") for line in said)
    return said[-1] if said else "opening"


def brought_in_step(folder: Path, index: Path) -> Index:
    settings = Settings(index=str(index), offline=True)
    opened = open_index(settings, create=True)
    assert not ingest(opened, discover([str(folder)]), settings, prune=True).failures
    return opened


@pytest.mark.slow
def test_fifty_kills_leave_no_trace(tmp_path: Path):
    rng = random.Random(5)
    folder, index = tmp_path / "pages", tmp_path / "index"
    folder.mkdir()
    for number in range(8):
        (folder / f"page-{number:04}.md").write_text(text(rng))
    interrupted: Counter[str] = Counter()
    for kill in range(1, N_KILLS + 1):
        interrupted[killed(folder, index, seed=kill, after_s=rng.uniform(0.0, 1.2))] += 1
        if kill % COMPARED_EVERY == 0:
            with brought_in_step(folder, index) as survivor, brought_in_step(folder, tmp_path / f"{kill}") as fresh:
                assert {Path(key).name for key in documents(survivor)} == {page.name for page in folder.iterdir()}
                assert_same(fresh, survivor, QUERIES)
    assert set(KINDS) <= set(interrupted), interrupted
    assert sum(interrupted[kind] for kind in KINDS) > N_KILLS / 2, interrupted

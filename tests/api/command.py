"""Running the command line inside the test's process, as a shell would see it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from api.cli import app
from api.console import run


@dataclass(frozen=True)
class Ran:
    """What a command left: its exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as the one JSON document that --json promises."""
        return json.loads(self.out)


class Command:
    """Calls `limpid` with arguments."""

    def __init__(self, capture: pytest.CaptureFixture[str]):
        self._capture = capture

    def __call__(self, *arguments: object) -> Ran:
        self._capture.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(app, [str(argument) for argument in arguments])
        out, err = self._capture.readouterr()
        return Ran(int(ended.value.code or 0), out, err)


def answers(limpid: Command) -> bool:
    """Whether the index still finds what was there before."""
    found = limpid("search", "why does bread rise", "--json")
    return found.code == 0 and "bread.txt" in found.json["hits"][0]["uri"]


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """`limpid` in a process of its own, in a folder; whoever starts it waits for it or ends it."""
    command = [sys.executable, "-m", "api.cli", *arguments]
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LIMPID_OFFLINE": "true",
        "LIMPID_VECTOR_CACHE_MB": "0",  # so that an ingest takes as long as it does at first
    }
    return subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )

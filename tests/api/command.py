"""Running the command line inside the test's process, as a shell would see it."""

from __future__ import annotations

import json
from dataclasses import dataclass
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

"""The Python examples of docs/chat.md, run against a served app."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from tests.api.chat.upstream import Upstream

PAGE = (Path(__file__).parents[3] / "docs" / "chat.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("\n", 1)[0])
def test_examples_run(
    example: str, url: str, upstream: Upstream, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "false")
    for package in re.findall(r"^from (langchain_openai|llama_index\.llms|haystack)\b", example, re.MULTILINE):
        pytest.importorskip(package, reason=f"{package} isn't installed")
    for name, package in (("langchain", "langchain_core"), ("llamaindex", "llama_index.core")):
        if f"api.integrations.{name}" in example:
            pytest.importorskip(package, reason=f"the extra {name} isn't installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the frameworks deprecate among themselves
        exec(compile(example.replace("http://127.0.0.1:8000", url), "documentation", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out


def test_examples_were_found():
    assert len(EXAMPLES) == 8

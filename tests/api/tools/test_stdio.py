"""`limpid mcp` as an agent starts it: a process of its own, stdout for the protocol alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from api.holder import announced
from core.embed import Embedder
from core.index import open_index
from core.settings import Settings
from tests.api.tools.client import talk
from tests.api.tools.test_http import INITIALIZE, running

ROOT = Path(__file__).parents[3]
# The command, but whatever opens an index writes to stdout in every way there is, as a library or a child might, and
# nobody waits long for an index that is held.
NOISY = """
import os, subprocess, sys, warnings
from api import opening
from api.tools import sources

opening.PATIENCE_S = 0.1
quiet = sources.open_index

def noisy(*arguments, **options):
    print("noise")
    sys.stdout.flush()
    os.write(1, b"noise\\n")
    subprocess.run(["echo", "noise"])
    warnings.warn("noise")
    return quiet(*arguments, **options)

sources.open_index = noisy
from api.cli import main
main()
"""


@pytest.fixture
def folder(shelf_folder: Path, tmp_path: Path) -> Path:
    """An index of the test's own."""
    return Path(shutil.copytree(shelf_folder, tmp_path / "index"))


def parameters(folder: Path) -> StdioServerParameters:
    """How an agent starts it."""
    environment = {"PYTHONPATH": str(ROOT), "LIMPID_OFFLINE": "true", "PYTHONWARNINGS": "always"}
    return StdioServerParameters(
        command=sys.executable,
        args=["-c", NOISY, "mcp", "--index", str(folder)],
        env={**os.environ, **environment},
        cwd=folder.parent,
    )


def message(number: int, method: str, **params: object) -> str:
    """A request on a line."""
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n"


def start(folder: Path) -> subprocess.Popen[str]:
    """The process, with pipes."""
    how = parameters(folder)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([how.command, *how.args], env=how.env, cwd=how.cwd, text=True, **pipes)


def test_it_can_be_interrupted_while_it_waits(folder: Path):
    process = start(folder)
    process.stdin.write(json.dumps(INITIALIZE) + "\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["id"] == 1
    process.send_signal(signal.SIGINT)
    rest, told = process.communicate(timeout=30)
    assert (process.returncode, rest, told) == (-signal.SIGINT, "", "")


def test_stdout_carries_the_protocol_and_nothing_else(folder: Path):
    sent = [
        json.dumps(INITIALIZE) + "\n",
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}\n',
        message(2, "tools/list"),
        message(3, "tools/call", name="search", arguments={"query": "honey jars", "k": 2}),
        message(4, "tools/call", name="read_document", arguments={"document_id": "nothing"}),
        message(5, "nonsense"),
        "this is no message\n",
        message(6, "resources/list"),
        message(7, "ping"),
    ]
    process = start(folder)
    process.stdin.write("".join(sent))
    process.stdin.flush()
    lines, answered = [], {}
    while set(answered) < {1, 2, 3, 4, 5, 6, 7}:
        lines.append(process.stdout.readline())
        answer = json.loads(lines[-1])
        assert answer["jsonrpc"] == "2.0"
        assert {"result", "error"} & set(answer)
        answered[answer["id"]] = answer
    rest, told = process.communicate(timeout=30)
    assert rest == ""
    assert process.returncode == 0
    assert answered[1]["result"]["serverInfo"]["name"] == "limpid"
    assert len(answered[2]["result"]["tools"]) == 6
    assert answered[3]["result"]["structuredContent"]["hits"][0]["document_id"].startswith("bee-")
    assert answered[4]["result"]["isError"] is True
    assert "error" in answered[5]
    assert told.count("\nnoise\n") >= 2
    assert "UserWarning: noise" in told
    assert "Traceback" not in told


def test_the_index_is_free_between_calls_and_asked_through_the_server_that_holds_it(folder: Path, embedder: Embedder):
    settings = Settings(index=str(folder), offline=True)
    query = {"query": "how many brass screws hold board 7?", "k": 3}

    async def use(client: Client) -> None:
        async def ask() -> dict:
            result = await client.call_tool("search", query)
            assert not result.is_error, result.content[0].text
            return {name: result.structured_content[name] for name in ("notice", "hits", "next_offset")}

        own = await ask()
        with open_index(settings, embedder=embedder) as index:
            refused = await client.call_tool("search", query)
            assert refused.is_error
            assert "is open in another process" in refused.content[0].text
            with running(index, settings, "the holder's key") as url, announced(str(folder), url, "the holder's key"):
                assert await ask() == own
                for tool, arguments in (
                    ("context", {"query": query["query"]}),
                    ("similar", {"like": ["bee-03"]}),
                    ("read_document", {"document_id": "file:///shelf.md", "chunk": 2}),
                    ("list_documents", {"limit": 2}),
                ):
                    result = await client.call_tool(tool, arguments)
                    assert not result.is_error, result.content[0].text
                for tool, arguments, told in (
                    ("report", {}, "No report was made"),
                    ("search", {"query": "x", "filter": "yeer = 1"}, "Did you mean 'year'?"),
                ):
                    result = await client.call_tool(tool, arguments)
                    assert result.is_error
                    assert told in result.content[0].text
                listed = await client.list_tools()
                assert "topic (keyword)" in listed.model_dump_json()
        assert await ask() == own

    talk(parameters(folder), use)

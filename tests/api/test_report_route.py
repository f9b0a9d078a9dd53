"""The quality report over HTTP, made by a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import pytest

from api.app import create_app
from api.jobs.queue import Stopped
from api.jobs.report import ReportProcess, kept_report
from api.routes.report import ReportAnswer
from core.errors import DependencyError
from core.index import Index, open_index
from core.settings import Settings
from eval.report import read_schema
from tests.api.conftest import DOCUMENTS, Client
from tests.api.test_http import assert_answers, assert_problem
from tests.api.test_uploads import ended


@pytest.fixture(scope="module")
def opened(index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Settings]]:
    """The index over `DOCUMENTS`, for this module alone."""
    folder = tmp_path_factory.mktemp("report") / "notes"
    shutil.copytree(index_folder, folder)
    settings = Settings(index=str(folder), offline=True, vector_cache_mb=0, api_keys="main,acme:one")
    with open_index(settings) as index:
        yield index, settings


@pytest.fixture(scope="module")
def server(opened: tuple[Index, Settings]) -> Client:
    """A client of an app with keys."""
    return Client(create_app(*opened))


MAIN, ACME = ({"headers": {"authorization": f"Bearer {key}"}} for key in ("main", "one"))


def made(process: ReportProcess, index: Index, check: Callable[[], None]) -> None:
    """Have a process make its report."""
    with process:
        process.send(index)
        process.finish(check)


def test_is_made_kept_and_told_to_be_old(server: Client, opened):
    problem = assert_problem(server.get("/v1/report", **MAIN), 404)
    assert "POST /v1/report" in problem["detail"]
    answer = server.request("POST", "/v1/report", **MAIN)
    assert answer.status_code == 202
    job = ended(server, answer.json()["id"], **MAIN)
    assert (job["state"], job["kind"], job["error"]) == ("done", "report", None)

    made = assert_answers(server.get("/v1/report", **MAIN), ReportAnswer)
    assert made["is_current"] is True
    assert made["generation"] == 1
    jsonschema.validate(made["report"], read_schema())
    assert made["report"]["corpus"]["name"] == "notes"
    assert made["report"]["corpus"]["n_documents"] == len(DOCUMENTS)
    assert str(Path(opened[1].index).parent) not in json.dumps(made)

    page = server.get("/v1/report", headers={**MAIN["headers"], "accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "<title>" in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]

    assert server.request("DELETE", "/v1/documents/bicycle", **MAIN).status_code == 200
    assert server.get("/v1/report", **MAIN).json()["is_current"] is False
    again = ended(server, server.request("POST", "/v1/report", **MAIN).json()["id"], **MAIN)
    assert again["state"] == "done"
    newer = server.get("/v1/report", **MAIN).json()
    assert newer["is_current"] is True
    assert newer["made"] > made["made"]
    assert newer["report"]["corpus"]["n_documents"] == len(DOCUMENTS) - 1
    kept = [path.name for path in (Path(opened[1].index) / "report").iterdir()]
    assert len(kept) == 2  # the folder of the last one, and which that is


def test_an_empty_index_has_none_and_no_other_tenant_s(server: Client):
    job = ended(server, server.request("POST", "/v1/report", **ACME).json()["id"], **ACME)
    assert job["state"] == "failed"
    assert "empty" in job["error"]
    assert_problem(server.get("/v1/report", **ACME), 404)


def test_the_process_ends_with_what_it_is_made_for(opened, monkeypatch: pytest.MonkeyPatch):
    def stop() -> None:
        raise Stopped

    before = set((Path(opened[1].index) / "report").glob("*"))
    process = ReportProcess(opened[1], lambda stage: None)
    with pytest.raises(Stopped):
        made(process, opened[0], stop)
    assert process._process.returncode
    assert set((Path(opened[1].index) / "report").glob("*")) == before


def test_a_process_that_fails_says_why_to_the_log_alone(opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("api.jobs.report._START", "import sys; sys.exit('no such thing') # {path}")
    with pytest.raises(DependencyError, match="no such thing"):
        made(ReportProcess(opened[1], lambda stage: None), opened[0], lambda: None)


def test_the_process_ends_with_the_server(opened, tmp_path: Path):
    """A server that is killed tells nobody: the pipe does."""
    with ReportProcess(opened[1], lambda stage: None) as process:
        process.send(opened[0])
        process._process.stdin.close()
        deadline = time.monotonic() + 30
        while process._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process._process.returncode == 1
    assert isinstance(process._process, subprocess.Popen)
    assert os.path.isdir(opened[1].index)
    assert kept_report(opened[1]) is None or kept_report(opened[1]).folder != process._folder

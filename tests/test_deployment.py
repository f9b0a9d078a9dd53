"""The Dockerfile and the Compose file, checked without Docker: structure, names that exist, commands that work."""

from __future__ import annotations

import ast
import http.server
import inspect
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.jobs.queue import STOPPED_WITHIN_S
from api.server import FINISHED_WITHIN_S
from core.settings import Settings
from tests.api.command import Command

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+\.\d+[\w.-]*$")


def _instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, comments left out and continued lines joined as Docker joins them."""
    lines = [line for line in DOCKERFILE.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def _values(instruction: str) -> list[str]:
    return [rest for name, rest in _instructions() if name == instruction]


def _environment(service: str) -> dict[str, str]:
    return SERVICES[service]["environment"]


def test_compose_has_qdrant_and_limpid() -> None:
    assert set(SERVICES) == {"qdrant", "limpid"}
    assert SERVICES["limpid"]["build"] == "."


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_pinned_checked_and_restarted(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.match(service["image"])
    assert service["restart"] == "unless-stopped"
    assert {"test", "interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])
    assert "no-new-privileges:true" in service["security_opt"]


def test_limpid_waits_until_qdrant_is_healthy() -> None:
    assert SERVICES["limpid"]["depends_on"] == {"qdrant": {"condition": "service_healthy"}}


def test_the_server_is_of_the_clients_minor_version() -> None:
    server = SERVICES["qdrant"]["image"].rpartition(":v")[2]
    assert server.split(".")[:2] == CONSTRAINTS["qdrant-client"].split(".")[:2]


def test_the_image_has_the_projects_version() -> None:
    assert SERVICES["limpid"]["image"] == f"limpid:{PROJECT['project']['version']}"


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:8000:8000"]


def test_keys_cannot_be_forgotten() -> None:
    required = {
        ("qdrant", "QDRANT__SERVICE__API_KEY"): "LIMPID_QDRANT_API_KEY",
        ("limpid", "LIMPID_QDRANT_API_KEY"): "LIMPID_QDRANT_API_KEY",
        ("limpid", "LIMPID_API_KEYS"): "LIMPID_API_KEYS",
    }
    for (service, variable), source in required.items():
        assert _environment(service)[variable].startswith(f"${{{source}:?")


def test_every_volume_is_declared_and_used() -> None:
    named = {
        volume.partition(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "/"))
    }
    assert named == set(COMPOSE["volumes"])


def test_limpid_runs_without_privileges() -> None:
    service = SERVICES["limpid"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    uid = re.search(r"useradd --uid (\d+)", DOCKERFILE)[1]
    assert service["user"] == f"{uid}:{uid}"
    assert _values("USER") == ["limpid"]


def test_what_can_t_be_made_anew_is_on_a_volume_of_its_own() -> None:
    service, given = SERVICES["limpid"], _environment("limpid")
    assert "limpid-data:/data" in service["volumes"]
    for name in ("LIMPID_JOBS_DIR", "LIMPID_KEYS_FILE"):
        assert given[name].startswith("/data/")
    assert "install -d -o limpid -g limpid /data" in DOCKERFILE  # a new volume is given the owner of what it covers


def test_a_stop_waits_for_what_is_running() -> None:
    grace_s = int(SERVICES["limpid"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > FINISHED_WITHIN_S + STOPPED_WITHIN_S
    assert f"--stop-timeout {grace_s}" in (ROOT / "docs/deployment.md").read_text(encoding="utf-8")


def test_every_variable_is_a_setting() -> None:
    named = set(re.findall(r"\bLIMPID_[A-Z_]+", DOCKERFILE + (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert named <= {f"LIMPID_{name.upper()}" for name in Settings.model_fields}


def test_the_settings_accept_the_composed_values(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _environment("limpid").items():
        given = re.sub(r"\$\{\w+:\?[^}]*\}", "a-key", re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
        monkeypatch.setenv(name, given)
    settings = Settings()
    assert settings.is_server
    assert (settings.host, settings.port, settings.collection) == ("0.0.0.0", 8000, "limpid")


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_qdrants_health_check_reads_the_status(status: int, code: int) -> None:
    """The command of the Compose file, sent to a stand-in for the server; the image has bash."""
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    command = SERVICES["qdrant"]["healthcheck"]["test"]
    assert command[:3] == ["CMD", "bash", "-c"]
    with _answering(status) as (port, paths):
        script = command[3].replace("$$", "$").replace("/6333", f"/{port}")
        assert subprocess.run(["bash", "-c", script], timeout=10, check=False).returncode == code
    assert paths == ["/readyz"]


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
def test_limpids_health_check_reads_the_status(status: int, is_healthy: bool) -> None:
    command = SERVICES["limpid"]["healthcheck"]["test"]
    in_image = _values("HEALTHCHECK")[0].partition("CMD ")[2]
    assert command == ["CMD", *ast.literal_eval(in_image)]
    assert command[1:3] == ["python", "-c"]
    with _answering(status) as (port, paths):
        script = command[3].replace(":8000", f":{port}")
        done = subprocess.run([sys.executable, "-c", script], timeout=10, check=False, capture_output=True)
    assert (done.returncode == 0) is is_healthy
    assert paths == ["/readyz"]


@contextmanager
def _answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A web server on a free port that answers every GET with this status; yields port and the paths asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], paths
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_is_down_ends_serve_with_the_code_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What Compose restarts on: no stack trace, no hanging, exit code 5."""
    ran = Command(capsys)("serve", "--index", "http://127.0.0.1:9", "--port", 0)
    assert ran.code == 5
    assert "can't be reached" in ran.err


def test_the_base_image_is_pinned_and_new_enough() -> None:
    image = next(value.partition("=")[2] for value in _values("ARG") if value.startswith("PYTHON_IMAGE="))
    assert PINNED.match(image)
    version = re.search(r":(\d+)\.(\d+)", image)
    wanted = re.search(r"(\d+)\.(\d+)", PROJECT["project"]["requires-python"])
    assert (int(version[1]), int(version[2])) >= (int(wanted[1]), int(wanted[2]))
    assert {value.partition(" ")[0] for value in _values("FROM")} == {"${PYTHON_IMAGE}"}


def test_torch_is_the_pinned_cpu_build() -> None:
    assert CONSTRAINTS["torch"] == "2.13.0"
    install = next(value for value in _values("RUN") if "pip install" in value)
    assert "-c constraints.txt" in install
    assert '--extra-index-url "${TORCH_INDEX_URL}"' in install
    assert any(re.fullmatch(r"TORCH_INDEX_URL=https://\S+/whl/cpu", value) for value in _values("ARG"))


def test_the_entry_point_is_the_projects_command() -> None:
    entry, command = (ast.literal_eval(_values(name)[0]) for name in ("ENTRYPOINT", "CMD"))
    assert entry[0] in PROJECT["project"]["scripts"]
    assert command == ["serve"]


def test_everything_copied_exists_and_reaches_the_builder() -> None:
    copied = [name for value in _values("COPY") if not value.startswith("--from") for name in value.split()[:-1]]
    assert set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) <= set(copied)
    assert PROJECT["project"]["readme"] in copied
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored, name


def test_the_export_names_what_exists() -> None:
    """The one-liner that prepares the encoder: its imports resolve and its calls fit their signatures."""
    run = next(value for value in _values("RUN") if "open_embedder" in value)
    source = re.search(r'-c "(.*?)"', run)[1]
    tree = ast.parse(source)
    cache = re.search(r"LIMPID_CACHE_DIR=(\S+)", DOCKERFILE)[1]
    assert f"Path('{cache}')" in source
    assert set(re.findall(r"LIMPID_CACHE_DIR=(\S+)", DOCKERFILE)) == {cache}
    assert f"limpid-cache:{cache}" in SERVICES["limpid"]["volumes"]
    called: dict[str, tuple[int, set[str]]] = {}

    def recorder(name: str) -> Callable[..., Any]:
        def record(*given: object, **named: object) -> Any:
            called[name] = len(given), set(named)
            return type("Encoder", (), {"runtime": "openvino"})

        return record

    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    namespace: dict[str, Any] = {}
    exec(compile(ast.Module(imports, []), "Dockerfile", "exec"), namespace)
    real = {name: namespace[name] for name in ("open_embedder", "LlmTokenizer")}
    namespace |= {name: recorder(name) for name in real}
    rest = [node for node in tree.body if not isinstance(node, ast.ImportFrom)]
    exec(compile(ast.Module(rest, []), "Dockerfile", "exec"), namespace)
    for name, (n_given, named) in called.items():
        inspect.signature(real[name]).bind(*range(n_given), **dict.fromkeys(named))
    assert set(called) == set(real)


def test_compose_itself_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose isn't installed")
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "LIMPID_QDRANT_API_KEY": "a", "LIMPID_API_KEYS": "b"}
    command = [docker, "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    del environment["LIMPID_API_KEYS"]
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode != 0

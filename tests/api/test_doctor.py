"""`limpid doctor` finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from api import checks, checks_network
from api.holder import announced
from core.embed import graph, weights
from core.embed.weights import DEFAULT_MODEL
from core.errors import IndexMismatch
from core.index import open_index
from core.settings import Settings
from tests.api.command import Command


@pytest.fixture
def index(index_folder: Path, tmp_path: Path) -> Path:
    """A closed index of its own, one of whose documents is unsettled."""
    shutil.copytree(index_folder, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the default model, which takes a second to check."""
    check = checks.model

    def default_is_well(settings: Settings, stored: str | None) -> list[checks.Finding]:
        is_default = settings.model == DEFAULT_MODEL
        return [checks.ok("model", "left out")] if is_default else list(check(settings, stored))

    monkeypatch.setattr(checks, "model", default_is_well)


def states(found: list[checks.Finding], area: str) -> list[str]:
    """The states of an area's findings."""
    return [finding.state for finding in found if finding.area == area]


class TestCommand:
    def test_a_sound_index(self, limpid: Command, index: Path):
        before = sorted(index.iterdir())
        done = limpid("doctor", "--index", index, "--json")
        assert done.code == 0
        assert done.json["faults"] == 0
        areas = {finding["area"] for finding in done.json["findings"]}
        assert {"installation", "settings", "index", "model", "disk"} <= areas
        told = [finding["found"] for finding in done.json["findings"]]
        assert any("graph is made and encodes, 384 dimensions" in line for line in told)
        assert any("13 documents" in line for line in told)
        assert "an ingest was interrupted, documents half written: 1" in told  # the sample's unfinished one
        assert sorted(index.iterdir()) == before

    @pytest.mark.usefixtures("no_model")
    def test_lines_for_people(self, limpid: Command, index: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("LIMPID_PROT", "1")
        done = limpid("doctor", "--index", index)
        assert "warning  settings: LIMPID_PROT is no setting" in done.out
        assert "→ Did you mean LIMPID_PORT?" in done.out
        assert done.out.splitlines()[-1].startswith("0 faults, ")
        assert "ok " not in limpid("doctor", "--index", index, "--quiet").out

    @pytest.mark.usefixtures("no_model")
    @pytest.mark.parametrize(
        ("variable", "value", "code"),
        [("LIMPID_PORT", "many", 2), ("LIMPID_API_KEYS", ",", 2), ("LIMPID_CHUNK_TOKENS", "64", 4),
         ("LIMPID_MIN_FREE_MB", "1e12", 5), ("LIMPID_MODEL", "nobody/nothing", 1), ("LIMPID_HOST", "0.0.0.0", 1)],
    )  # fmt: skip
    def test_exit_codes(self, limpid: Command, index: Path, monkeypatch: pytest.MonkeyPatch, variable, value, code):
        monkeypatch.setenv(variable, value)
        done = limpid("doctor", "--index", index, "--json")
        assert done.code == code, done.out
        faults = [finding for finding in done.json["findings"] if finding["state"] == "fault"]
        assert faults
        assert all(finding["advice"] or finding["found"] for finding in faults)


class TestKeys:
    @pytest.mark.parametrize(
        ("mode", "expected"), [(0o600, ["ok"]), (0o644, ["warning", "ok"]), (0o622, ["fault", "ok"])]
    )
    def test_modes(self, tmp_path: Path, mode: int, expected: list[str]):
        path = tmp_path / "keys.json"
        path.write_text("[]")
        path.chmod(mode)
        found = list(checks.keys(Settings(keys_file=path)))
        assert states(found, "keys") == expected
        assert mode == 0o600 or "chmod 600" in found[0].advice

    def test_broken_or_absent(self, tmp_path: Path):
        path = tmp_path / "keys.json"
        assert list(checks.keys(Settings(keys_file=path))) == []
        path.write_text("[{")
        path.chmod(0o600)
        (finding,) = checks.keys(Settings(keys_file=path))
        assert (finding.state, finding.code) == ("fault", 2)


class TestModel:
    def test_damaged_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        settings = Settings(offline=True)
        monkeypatch.setattr(weights, "KNOWN_SHA256", {settings.model: "0" * 64})
        (finding,) = checks.model(settings, None)
        assert (finding.state, finding.code) == ("fault", 5)
        assert "expected 000" in finding.found

    def test_a_graph_that_is_missing_or_damaged(self, tmp_path: Path):
        settings = Settings(offline=True, cache_dir=tmp_path)
        assert states(list(checks.model(settings, None)), "model") == ["ok", "warning"]
        known = weights.find_weights(settings.model, tmp_path, offline=True)
        graph.graph_folder(known, tmp_path).mkdir(parents=True)
        *_, finding = checks.model(settings, None)
        assert finding.state == "fault"
        assert "Remove" in finding.advice


class TestIndex:
    def test_absent_and_broken(self, index: Path, tmp_path: Path):
        assert states(checks.index(Settings(index=str(tmp_path / "none")))[0], "index") == ["warning"]
        (index / "CURRENT").write_text("9")
        assert states(checks.index(Settings(index=str(index)))[0], "index") == ["warning"]
        (index / "CURRENT").write_text("x")
        ((finding,), _) = checks.index(Settings(index=str(index)))
        assert (finding.state, finding.code) == ("fault", 5)

    def test_one_that_another_process_holds(self, index: Path):
        settings = Settings(index=str(index), offline=True)
        with open_index(settings):
            ((finding,), _) = checks.index(settings)
        assert finding.state == "warning"
        assert "open in another process" in finding.found

    def test_a_mismatch(self, index: Path):
        found, model = checks.index(Settings(index=str(index), language="german"))
        assert model == DEFAULT_MODEL
        (finding,) = [finding for finding in found if finding.state == "fault"]
        assert finding.found == "language is set to german, the index was made with english"
        assert finding.code == checks.fault("", IndexMismatch("")).code

    def test_tenants(self, index: Path, index_folder: Path):
        shutil.copytree(index_folder, index / "tenants" / "acme")
        (index / "tenants" / "broken").mkdir()
        (index / "tenants" / "broken" / "CURRENT").write_text("x")
        found = list(checks.tenants(Settings(index=str(index), api_keys="beta:two")))
        assert states(found, "tenant acme") == ["ok", "warning"]
        assert states(found, "tenant broken") == ["fault"]
        assert states(found, "tenant beta") == ["ok"]

    def test_a_server_that_is_not_there(self):
        (finding,) = checks_network.qdrant(Settings(index="http://127.0.0.1:9"))
        assert (finding.state, finding.code) == ("fault", 5)


class TestAddress:
    def test_one_that_is_taken(self, tmp_path: Path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            settings = Settings(index=str(tmp_path), port=port)
            (finding,) = checks_network.address(settings)
            assert finding.state == "warning"
            assert f"127.0.0.1:{port} (Address already in use). Choose another --port." in finding.found
            with announced(str(tmp_path), f"http://127.0.0.1:{port}", "secret"):
                assert list(checks_network.address(settings)) == []
        assert list(checks_network.address(settings)) == []


class TestChat:
    """The server of the language model, as far as it can be looked at without asking the model."""

    @pytest.fixture
    def answering(self) -> Iterator[dict]:
        """What a server answers: `status` and `body`; its address is `url`."""
        given: dict = {"status": 200, "body": b"{}"}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given["asked"] = (self.path, self.headers["authorization"])
                self.send_response(given["status"])
                self.end_headers()
                self.wfile.write(given["body"])

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            yield given | {"url": f"http://127.0.0.1:{server.server_port}/v1/", "given": given}
            server.shutdown()
            thread.join()

    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (200, b'{"data": [{"id": "other"}, {"id": "little"}]}', "answers, for the model little"),
            (404, b"", "answers, for the model little"),
            (200, b'{"data": [{"id": "other"}]}', "lists other, not little"),
            (401, b"", "refuses the key"),
        ],
    )
    def test_what_it_answers(self, answering: dict, status: int, body: bytes, expected: str):
        answering["given"] |= {"status": status, "body": body}
        settings = Settings(chat_url=answering["url"], chat_model="little", chat_api_key="secret")
        (finding,) = checks_network.chat(settings)
        assert expected in finding.found
        assert finding.state == ("ok" if "answers" in expected else "warning")
        assert "secret" not in finding.found + finding.advice
        assert answering["given"]["asked"] == ("/v1/models", "Bearer secret")

    def test_half_configured_or_not_there(self):
        assert list(checks_network.chat(Settings())) == []
        (finding,) = checks_network.chat(Settings(chat_url="http://127.0.0.1:9/v1"))
        assert (finding.state, finding.advice) == ("warning", "Set LIMPID_CHAT_MODEL too.")
        (finding,) = checks_network.chat(Settings(chat_url="http://127.0.0.1:9/v1", chat_model="little"))
        assert "can't be asked: ConnectError" in finding.found


class TestInstallation:
    def test_versions_and_extras(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        folder = tmp_path / "limpid-0.0.1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: limpid\nVersion: 0.0.1\nRequires-Dist: numpy<1\nRequires-Dist: fastapi\n"
            "Requires-Dist: no-such-package\nProvides-Extra: dev\nProvides-Extra: odd\n"
            'Requires-Dist: pytest; extra == "dev"\nRequires-Dist: no-such-extra; extra == "odd"\n'
        )
        monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
        found = list(checks.installation())
        assert "Limpid 0.0.1" in found[0].found
        faults = [finding.found for finding in found if finding.state == "fault"]
        assert faults[0].startswith("numpy is ")
        assert faults[1:] == ["no-such-package isn't installed"]
        assert found[-1].found == "extras: dev, of dev, odd"

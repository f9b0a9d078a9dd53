"""Keys: what opens a server, what each may do, and what never opens it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from api.app import create_app
from api.holder import announced
from api.serving.access import FAILURES_PER_MINUTE
from api.serving.keys import Key, KeyFile, KeyRing, digest_of, keys_file, parse_keys, tenant_settings
from api.serving.rates import Rates, address_of
from core.errors import ConfigError, InputError, NotFound
from core.index import Index, describe, open_index
from core.settings import Settings
from tests.api.command import Command
from tests.api.conftest import Client
from tests.api.test_http import assert_problem


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    """A file of keys that doesn't exist yet."""
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def open_app(index: Index, file: KeyFile) -> Callable[..., Client]:
    """Makes an app that reads the file of keys."""
    return lambda secret="", **settings: Client(
        create_app(index, Settings(offline=True, keys_file=file.path, **settings), secret)
    )


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


class TestSetting:
    def test_a_secret_alone_opens_everything_and_one_with_a_tenant_its_documents(self):
        own, acme = parse_keys(SecretStr(" one, acme:two ,"))
        assert (own.tenant, own.role, own.digest) == ("", "admin", digest_of("one"))
        assert (acme.tenant, acme.role, acme.digest) == ("acme", "write", digest_of("two"))

    @pytest.mark.parametrize("setting", [None, SecretStr("")])
    def test_nothing_locks_nothing(self, setting: SecretStr | None):
        assert parse_keys(setting) == ()

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            (" , ", "holds no key"),
            ("acme:", "no secret"),
            ("../x:two", "can't name a tenant"),
            ("Acme:two", "can't name a tenant"),
            ("a:one,b:one", "secret of an earlier one"),
        ],
    )
    def test_what_can_not_be_meant_is_refused(self, text: str, told: str):
        with pytest.raises(ConfigError, match=told):
            parse_keys(SecretStr(text))


class TestFile:
    def test_holds_hashes_for_its_owner_alone(self, file: KeyFile):
        old = os.umask(0)
        try:
            secret = file.add("ci", "acme", "write", 5)
        finally:
            os.umask(old)
        (key,) = file.read()
        assert key == Key("ci", digest_of(secret), "acme", "write", 5, key.created)
        assert secret not in file.path.read_text()
        for path in file.path.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path

    def test_what_a_killed_process_left_doesn_t_set_the_mode(self, file: KeyFile):
        left = file.path.with_name("keys.json.new")
        left.write_text("half")
        left.chmod(0o666)
        file.add("ci", "", "read", None)
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert not left.exists()

    def test_many_at_once_lose_nothing(self, file: KeyFile):
        threads = [threading.Thread(target=file.add, args=(f"key {n}", "", "read", None)) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {key.name for key in file.read()} == {f"key {n}" for n in range(12)}

    @pytest.mark.parametrize(
        "given", [("", "", None), (" ", "", None), ("a\nb", "", None), ("x" * 101, "", None), ("a", "..", None),
                  ("a", "", 0), ("taken", "", None), ("this machine", "", None)],
    )  # fmt: skip
    def test_what_can_not_be_a_key_changes_nothing(self, file: KeyFile, given: tuple):
        file.add("taken", "", "read", None)
        before = file.path.read_bytes()
        name, tenant, rate = given
        with pytest.raises(InputError):
            file.add(name, tenant, "read", rate)
        assert file.path.read_bytes() == before

    def test_an_unknown_name_can_not_be_revoked(self, file: KeyFile):
        with pytest.raises(NotFound, match="no key named 'x'"):
            file.revoke("x")

    @pytest.mark.parametrize("content", ["", "{}", '[{"name": "a"}]', '[{"name":"a","digest":"b","role":"god"}]',
                                         '[{"name":"a","digest":"b","tenant":"../../etc"}]'])  # fmt: skip
    def test_a_broken_file_is_refused(self, file: KeyFile, content: str):
        file.path.write_text(content)
        with pytest.raises(ConfigError, match="can't be read"):
            file.read()
        with pytest.raises(ConfigError, match="can't be read"):
            file.add("b", "", "read", None)
        assert file.path.read_text() == content

    def test_it_lies_with_the_index_and_beside_a_server(self, tmp_path: Path):
        assert keys_file(Settings(index=str(tmp_path))) == tmp_path / "keys.json"
        assert keys_file(Settings(index="http://qdrant.test:6333")) == Path("limpid-keys.json")
        assert keys_file(Settings(keys_file=tmp_path / "k")) == tmp_path / "k"


class TestServer:
    def test_a_key_opens_until_it_is_revoked(self, file: KeyFile, open_app: Callable[..., Client]):
        client = open_app()
        assert client.get("/v1/status").status_code == 200
        secret = file.add("ci", "", "read", None)
        assert_problem(client.get("/v1/status"), 401)
        assert client.get("/v1/status", headers=bearer(secret)).status_code == 200
        file.revoke("ci")
        assert_problem(client.get("/v1/status", headers=bearer(secret)), 401)

    @pytest.mark.parametrize("break_it", [Path.unlink, lambda path: path.write_text("[{")], ids=["vanished", "broken"])
    def test_a_file_that_breaks_opens_nothing(self, file: KeyFile, open_app: Callable[..., Client], break_it: Callable):
        secret = file.add("ci", "", "read", None)
        client = open_app(api_keys="other", secret="mine")
        break_it(file.path)
        assert_problem(client.get("/v1/status"), 401)
        assert_problem(client.get("/v1/status", headers=bearer(secret)), 401)
        assert client.get("/v1/status", headers=bearer("other")).status_code == 200
        assert client.get("/v1/status", headers=bearer("mine")).status_code == 200

    def test_a_broken_file_starts_no_server(self, file: KeyFile, open_app: Callable[..., Client]):
        file.path.write_text("[{")
        with pytest.raises(ConfigError):
            open_app()

    def test_an_empty_list_locks(self, file: KeyFile, open_app: Callable[..., Client]):
        file.path.write_text("[]")
        assert_problem(open_app().get("/v1/status"), 401)

    def test_roles(self, file: KeyFile, open_app: Callable[..., Client]):
        may = {role: bearer(file.add(role, "", role, None)) for role in ("read", "write", "admin")}
        foreign = bearer(file.add("tenant's", "acme", "admin", None))
        client = open_app()
        assert client.get("/v1/status", headers=may["read"]).status_code == 200
        told = assert_problem(client.request("DELETE", "/v1/documents/none", headers=may["read"]), 403)["detail"]
        assert "role write; yours has the role read" in told
        assert_problem(client.request("DELETE", "/v1/documents/none", headers=may["write"]), 404)
        assert_problem(client.get("/metrics", headers=may["write"]), 403)
        assert client.get("/metrics", headers=may["admin"]).status_code == 200
        assert "belongs to no tenant" in assert_problem(client.get("/metrics", headers=foreign), 403)["detail"]
        assert_problem(client.get("/metrics"), 401)

    def test_the_secret_of_this_machine_locks_nothing_and_opens_all(self, open_app: Callable[..., Client]):
        assert open_app(secret="mine").get("/v1/status").status_code == 200
        locked = open_app(secret="mine", api_keys="one", rate_per_minute=1)
        for _ in range(3):
            assert locked.get("/metrics", headers=bearer("mine")).status_code == 200

    def test_a_key_ring_follows_a_file_edited_in_place(self, file: KeyFile):
        file.add("a", "", "read", None)
        ring = KeyRing(Settings(keys_file=file.path))
        assert ring.find("hand-made") is None
        listed = [{"name": "b", "digest": digest_of("hand-made"), "tenant": "", "role": "read"}]
        file.path.write_text(json.dumps(listed))
        assert ring.find("hand-made").name == "b"


def test_the_description_asks_for_a_key_once_the_server_does(open_app: Callable[..., Client], file: KeyFile):
    client = open_app()
    assert "security" not in client.get("/openapi.json").json()
    file.add("first", "", "read", None)
    assert client.get("/openapi.json").json()["security"] == [{"key": []}]


class TestHosts:
    @pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "[::1]:8000", "localhost", "LOCALHOST:1",
                                      "192.168.1.7:8000", "search.test"])  # fmt: skip
    def test_an_unlocked_server_answers_to_its_own_names(self, open_app: Callable[..., Client], host: str):
        client = open_app(allowed_hosts="search.test")
        assert client.get("/v1/status", headers={"host": host}).status_code == 200

    @pytest.mark.parametrize("host", ["evil.test", "evil.test:8000", "127.0.0.1.evil.test", "localhost.evil.test",
                                      "[::1", "", "search.test"])  # fmt: skip
    def test_and_to_no_other(self, open_app: Callable[..., Client], host: str):
        for url in ("/v1/status", "/", "/openapi.json"):
            assert_problem(open_app().get(url, headers={"host": host}), 421)

    def test_a_locked_one_asks_for_the_key_instead(self, open_app: Callable[..., Client]):
        client = open_app(api_keys="one")
        assert client.get("/v1/status", headers={"host": "any.test", **bearer("one")}).status_code == 200
        assert_problem(client.get("/v1/status", headers={"host": "any.test"}), 401)


class TestForeignPages:
    @pytest.mark.parametrize("headers", [{"origin": "https://evil.test"}, {"origin": "null"}, {"origin": "http://[::1"},
                                         {"origin": "http://127.0.0.1:9"}, {"sec-fetch-site": "cross-site"},
                                         {"sec-fetch-site": "same-site"}])  # fmt: skip
    @pytest.mark.parametrize("keys", [{}, {"api_keys": "one"}])
    def test_can_send_nothing(self, open_app: Callable[..., Client], headers: dict, keys: dict):
        client = open_app(**keys)
        told = {**headers, **bearer("one")}
        assert_problem(client.request("POST", "/v1/search", json={"query": "tea"}, headers=told), 403)

    @pytest.mark.parametrize("headers", [{"origin": "http://127.0.0.1"}, {"sec-fetch-site": "same-origin"},
                                         {"sec-fetch-site": "none"}, {}])  # fmt: skip
    def test_its_own_and_other_clients_can(self, open_app: Callable[..., Client], headers: dict):
        assert open_app().request("POST", "/v1/search", json={"query": "tea"}, headers=headers).status_code == 200


class TestRates:
    def test_the_setting_holds_for_every_key_apart_and_a_key_s_own_rate_wins(
        self, file: KeyFile, open_app: Callable[..., Client]
    ):
        one, two, fast = (
            bearer(file.add(name, "", "read", rate)) for name, rate in (("a", None), ("b", None), ("c", 5))
        )
        client = open_app(rate_per_minute=2)
        answers = [client.get("/v1/status", headers=one) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"minute";q=2;w=60'
        assert answers[0].headers["ratelimit"] == '"minute";r=1;t=60'
        assert "2 requests may come in a minute" in assert_problem(answers[2], 429)["detail"]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 60
        assert client.get("/v1/status", headers=two).status_code == 200
        assert [client.get("/v1/status", headers=fast).status_code for _ in range(6)] == [200] * 5 + [429]
        assert client.get("/healthz", headers=one).status_code == 200

    def test_without_a_setting_there_is_none(self, open_app: Callable[..., Client]):
        assert "ratelimit" not in open_app(api_keys="one").get("/v1/status", headers=bearer("one")).headers

    def test_without_keys_addresses_are_counted(self, open_app: Callable[..., Client]):
        client = open_app(rate_per_minute=1)
        assert [client.get("/v1/status").status_code for _ in range(2)] == [200, 429]

    def test_wrong_keys_are_limited_and_keep_no_right_one_out(self, open_app: Callable[..., Client]):
        client = open_app(api_keys="one")
        answers = [client.get("/v1/status", headers=bearer(f"guess {n}")) for n in range(FAILURES_PER_MINUTE + 1)]
        assert [answer.status_code for answer in answers] == [401] * FAILURES_PER_MINUTE + [429]
        assert client.get("/v1/status", headers=bearer("one")).status_code == 200

    def test_a_window_moves(self):
        now = 0.0
        rates = Rates(lambda: now)
        for moment, is_exceeded in ((0, False), (30, False), (59.9, True), (60.1, False), (60.2, True), (90.1, False)):
            now = moment
            assert rates.take("a", 2).is_exceeded is is_exceeded, moment
        assert not rates.take("b", 2).is_exceeded

    def test_a_network_of_one_client_counts_as_one(self):
        assert address_of("2001:db8::1") == address_of("2001:db8::ffff:2") != address_of("2001:db8:0:1::1")
        assert address_of("10.0.0.1") != address_of("10.0.0.2")


class TestTenants:
    def test_an_index_of_its_own_made_like_the_server_s(self, index_folder: Path, tmp_path: Path):
        folder = tmp_path / "index"
        shutil.copytree(index_folder, folder)
        settings = Settings(index=str(folder), offline=True, api_keys="one,acme:two", chunk_tokens=200)
        with open_index(settings) as index:
            index.meta.fingerprint = type(index.meta.fingerprint)(
                **{name: getattr(index.meta.fingerprint, name) for name in index.meta.fingerprint.__slots__}
                | {"chunk_tokens": 64}
            )
            client = Client(create_app(index, settings))
            acme = client.get("/v1/status", headers=bearer("two")).json()
            assert (acme["documents"], acme["fingerprint"]["chunk_tokens"]) == (0, 64)
            assert (folder / "tenants" / "acme" / "CURRENT").is_file()
            client.app.state.tenants.close()

    def test_the_limit_closes_those_silent_longest_and_drops_no_request(self, index_folder: Path, tmp_path: Path):
        folder = tmp_path / "index"
        shutil.copytree(index_folder, folder)
        names = ("a", "b", "c")
        keys = ",".join(f"{name}:secret-{name}" for name in names)
        settings = Settings(index=str(folder), offline=True, api_keys=keys, max_open_tenants=1)
        with open_index(settings) as index:
            client = Client(create_app(index, settings))
            tenants = client.app.state.tenants
            answers: list[int] = []

            def ask(name: str) -> None:
                for _ in range(3):
                    answers.append(client.get("/v1/status", headers=bearer(f"secret-{name}")).status_code)

            threads = [threading.Thread(target=ask, args=(name,)) for name in names]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert answers == [200] * 9
            tenants.refresh()
            assert sum(tenants.live(name).is_open for name in names) == 1
            held = tenants.live("a").answer(lambda index, _: (tenants.live("b").answer(lambda index, _: 1), index)[1])
            assert held.store.count_chunks() == 0  # it wasn't closed while it was in use
            tenants.close()

    def test_one_that_can_not_be_opened_fails_alone_and_tells_nothing(
        self, index_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        folder = tmp_path / "index"
        shutil.copytree(index_folder, folder)
        (folder / "tenants" / "acme").mkdir(parents=True)
        (folder / "tenants" / "acme" / "CURRENT").write_text("7\n")
        settings = Settings(index=str(folder), offline=True, api_keys="one,acme:two")
        with open_index(settings) as index:
            client = Client(create_app(index, settings))
            answer = client.get("/v1/status", headers=bearer("two"))
            assert str(folder) not in json.dumps(assert_problem(answer, 503))
            assert str(folder) in caplog.text
            assert client.get("/v1/status", headers=bearer("one")).status_code == 200

    def test_the_size_of_the_server_s_index_is_its_own(self, index_folder: Path, tmp_path: Path):
        folder = tmp_path / "index"
        shutil.copytree(index_folder, folder)
        size = describe(Settings(index=str(folder)))["size_bytes"]
        (folder / "tenants" / "acme").mkdir(parents=True)
        (folder / "tenants" / "acme" / "large").write_bytes(b"x" * 50_000_000)
        assert describe(Settings(index=str(folder)))["size_bytes"] == pytest.approx(size, abs=40_000_000)

    def test_a_tenant_shares_neither_cache_nor_query_log(self, tmp_path: Path):
        settings = Settings(index=str(tmp_path), query_log=tmp_path / "log", model="other")
        own = tenant_settings(settings, "acme")
        assert (own.vector_cache_mb, own.query_log) == (0, None)
        assert own.index == str(tmp_path / "tenants" / "acme")
        assert "model" not in own.model_fields_set
        server = Settings(index="http://qdrant.test:6333", collection="corpus")
        assert tenant_settings(server, "acme").collection == "corpus--acme"
        assert tenant_settings(settings, "") is settings


class TestCommands:
    def test_add_list_revoke(self, limpid: Command, tmp_path: Path):
        made = limpid("keys", "add", "ci", "--tenant", "acme", "--role", "write", "--rate", 5)
        assert made.code == 0
        (secret,) = made.out.split()
        assert "only time" in made.err
        assert limpid("keys", "add", "two", "--quiet").err == ""
        listed = limpid("keys", "list", "--json").json
        assert [key["name"] for key in listed["keys"]] == ["ci", "two"]
        ci = listed["keys"][0]
        assert (ci["tenant"], ci["role"], ci["rate"]) == ("acme", "write", 5)
        shown = limpid("keys", "list").out
        assert "acme" in shown
        assert secret not in shown + json.dumps(listed)
        assert digest_of(secret) not in shown + json.dumps(listed)
        assert limpid("keys", "revoke", "ci", "--json").json == {"revoked": "ci"}
        assert limpid("keys", "revoke", "ci").code == 3
        assert limpid("keys", "add", "two").code == 2
        assert limpid("keys", "add", "x", "--role", "god").code == 2
        assert limpid("keys", "add", "x", "--json").json["secret"].startswith("limpid_")

    def test_a_public_address_needs_keys_or_force(self, limpid: Command, index_folder: Path, tmp_path: Path):
        folder = tmp_path / "index"
        shutil.copytree(index_folder, folder)
        serve = ("serve", "--index", folder, "--host", "0.0.0.0", "--port", 99999)
        assert limpid(*serve).code == 2  # the port
        refused = limpid(*serve[:-1], 0)
        assert refused.code == 2
        assert "would open the index to everyone" in refused.err
        assert "limpid keys add" in refused.err

    def test_force_and_keys_let_it_listen(
        self, limpid: Command, index_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        import uvicorn

        folder = tmp_path / "index"
        shutil.copytree(index_folder, folder)
        started: list[int] = []
        monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: started.append(1))
        monkeypatch.setattr("api.server.logs.install", lambda *_, **__: None)
        monkeypatch.setattr("api.server.signal.signal", lambda *_: None)
        serve = ("serve", "--index", folder, "--host", "0.0.0.0", "--port", 0)
        assert limpid(*serve, "--force").code == 0
        assert limpid("keys", "add", "ci", "--index", folder).code == 0
        assert limpid(*serve).code == 0
        assert len(started) == 2

    def test_a_command_on_this_machine_goes_through_a_locked_server(
        self, limpid: Command, index_folder: Path, tmp_path: Path
    ):
        import uvicorn

        folder = tmp_path / "index"
        shutil.copytree(index_folder, folder)
        settings = Settings(index=str(folder), offline=True, api_keys="one", port=0)
        with open_index(settings) as index:
            config = uvicorn.Config(create_app(index, settings, "mine"), port=0, log_config=None)
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run)
            thread.start()
            try:
                while not server.started:
                    threading.Event().wait(0.02)
                url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
                with announced(str(folder), url, "mine"):
                    found = limpid("search", "brewing tea", "-k", 1, "--json", "--index", folder)
                    assert found.json["hits"][0]["title"] == "Brewing tea"
                    checked = limpid("doctor", "--index", folder)
                    assert "holds the index and is ready" in checked.out
                with announced(str(folder), url, "another"):
                    refused = limpid("search", "brewing tea", "--index", folder)
                    assert refused.code == 4
                    assert "refuses this command" in refused.err
            finally:
                server.should_exit = True
                thread.join()

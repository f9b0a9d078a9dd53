"""Uploading and deleting over HTTP: jobs on a real index, in process."""

from __future__ import annotations

import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from api.app import create_app
from api.jobs import uploads
from api.jobs.queue import MAX_TRIES, Jobs
from api.jobs.spool import RECORD, Spool, new_job
from api.jobs.writing import alone
from api.routes.jobs import JobAnswer
from api.serving.tenants import Tenants
from core.errors import IndexLocked
from core.index import Index, open_index
from core.settings import Settings
from tests.api.conftest import NOTES, Client
from tests.api.test_http import assert_problem

PATIENCE_S = 60
BREAD = "Sourdough bread rises slowly because wild yeast works at its own pace."


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Settings]]:
    """An empty index of this module's own."""
    folder = tmp_path_factory.mktemp("uploads") / "index"
    settings = Settings(index=str(folder), offline=True, vector_cache_mb=0, max_upload_mb=1)
    with open_index(settings, create=True, notify=lambda line: None) as index:
        yield index, settings


@pytest.fixture(scope="module")
def server(opened: tuple[Index, Settings]) -> Client:
    """A client of an app that may be written to."""
    return Client(create_app(*opened))


def ended(client: Client, job_id: str, **options: object) -> dict:
    """The job once it is over."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = client.get(f"/v1/jobs/{job_id}", **options)
        assert answer.status_code == 200, answer.text
        job = JobAnswer.model_validate(answer.json()).model_dump(mode="json")
        assert job == answer.json()
        if job["state"] in ("done", "failed"):
            return job
        time.sleep(0.02)
    raise AssertionError("the job never ended")


def upload(client: Client, *files: tuple[str, bytes | str], **options: object) -> dict:
    """The job of an upload once it is over."""
    answer = client.request("POST", "/v1/documents", files=[("file", file) for file in files], **options)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    return ended(client, answer.json()["id"])


def give(client: Client, texts: object) -> dict:
    """The job of texts once it is over."""
    answer = client.request("POST", "/v1/documents", json=texts)
    assert answer.status_code == 202, answer.text
    return ended(client, answer.json()["id"])


def text_of(client: Client, document_id: str) -> str:
    return client.get(f"/v1/documents/{quote(document_id, safe='')}").json()["text"]


def spooled(settings: Settings) -> set[str]:
    """All files below the folder of jobs but the records of jobs."""
    folder = Path(settings.index) / "jobs"
    return {path.name for path in folder.rglob("*") if path.is_file()} - {RECORD}


class TestFiles:
    def test_are_found_under_their_names(self, server: Client, opened):
        job = upload(server, ("boats.md", NOTES), ("dir/bread.txt", BREAD), data={"metadata": '{"year": 2024}'})
        assert job["state"] == "done"
        assert job["outcome"]["summary"] == "Indexed: 2 new, 0 updated, 0 unchanged, 0 removed, 0 failed"
        assert job["sources"] == ["upload:boats.md", "upload:dir/bread.txt"]
        assert job["n_sources"] == 2
        hit = server.search(query="why does bread rise", filter="year = 2024").json()["hits"][0]
        assert hit["document_id"] == hit["uri"] == "upload:dir/bread.txt"
        assert hit["metadata"] == {"format": "text", "source": "bread.txt", "year": 2024}
        assert spooled(opened[1]) == set()

    def test_the_same_name_is_a_new_version(self, server: Client):
        upload(server, ("version.txt", "The first version is about herons."))
        other = upload(server, ("version.txt", "The second version is about storks."))
        assert other["outcome"]["updated"] == 1
        assert text_of(server, "upload:version.txt") == "The second version is about storks."
        assert "heron" not in json.dumps(server.search(query="herons", mode="sparse").json()["hits"])

    def test_what_can_t_be_read_fails_alone_and_leaves_the_former_version(self, server: Client):
        upload(server, ("fragile.txt", "Porcelain breaks easily."))
        files = ("fragile.txt", b"\x00\x01\x02\xff" * 50), ("empty.md", ""), ("x.pdf", b"no pdf"), ("ok.txt", "Fine.")
        job = upload(server, *files)
        assert job["state"] == "done"
        assert (job["outcome"]["new"], job["outcome"]["failed"]) == (1, 3)
        reasons = {failure["uri"]: failure["reason"] for failure in job["outcome"]["failures"]}
        assert set(reasons) == {"upload:fragile.txt", "upload:empty.md", "upload:x.pdf"}
        assert reasons["upload:empty.md"] == "empty file"
        assert text_of(server, "upload:fragile.txt") == "Porcelain breaks easily."

    def test_an_archive_s_members_come_and_go(self, server: Client):
        def packed(**members: str) -> bytes:
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                for name, text in members.items():
                    archive.writestr(f"{name}.txt", text)
            return file.getvalue()

        upload(server, ("all.zip", packed(owl="Owls hunt at night.", bat="Bats hear their way.")))
        assert text_of(server, "upload:all.zip#bat.txt") == "Bats hear their way."
        job = upload(server, ("all.zip", packed(owl="Owls hunt at night.")))
        assert (job["outcome"]["unchanged"], job["outcome"]["removed"]) == (1, 1)
        assert_problem(server.get("/v1/documents/upload%3Aall.zip%23bat.txt"), 404)

    def test_a_name_is_never_a_path(self, server: Client, opened):
        addresses = {
            "../../../../etc/cron.d/x.txt": "upload:../../../../etc/cron.d/x.txt",
            "/etc/absolute.txt": "upload:/etc/absolute.txt",
            "job.json": "upload:job.json",
            "0.file": "upload:0.file",
            "naïve #1 & 100%?.txt": "upload:na%C3%AFve%20%231%20&%20100%25?.txt",
            "<script>.txt": "upload:%3Cscript%3E.txt",
        }
        before = set(Path(opened[1].index).rglob("*"))
        said = {name: json.dumps({"about": f"Kestrels, {number}."}) for number, name in enumerate(addresses)}
        job = upload(server, *said.items())
        assert job["sources"] == list(addresses.values())
        assert job["outcome"]["new"] == len(addresses)
        for number, address in enumerate(addresses.values()):
            assert f"Kestrels, {number}." in text_of(server, address)
        new = {path for path in set(Path(opened[1].index).rglob("*")) - before if "generations" not in path.parts}
        assert {path.name for path in new} <= {job["id"], RECORD, "jobs", "writing.lock"}

    def test_a_name_that_isn_t_utf_8(self, server: Client):
        body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="\xff\r.txt"\r\n\r\nGulls.\r\n--x--\r\n'
        body = body.replace(b"\xff\r.", b"\xff.")
        headers = {"content-type": "multipart/form-data; boundary=x"}
        answer = server.request("POST", "/v1/documents", content=body, headers=headers)
        assert ended(server, answer.json()["id"])["sources"] == ["upload:%FF.txt"]
        assert text_of(server, "upload:%FF.txt") == "Gulls."

    def test_what_is_received_is_forgotten_with_the_request_that_fails(self, server: Client, opened):
        big = b"x" * 2_000_000
        problem = assert_problem(server.request("POST", "/v1/documents", files=[("file", ("a.txt", big))]), 413)
        assert "1,048,576 bytes" in problem["detail"]

        async def unannounced():
            head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            for part in (head, *[b"y" * 65536] * 20):
                yield part

        headers = {"content-type": "multipart/form-data; boundary=x"}
        assert_problem(server.request("POST", "/v1/documents", content=unannounced(), headers=headers), 413)
        assert spooled(opened[1]) == set()
        assert not list((Path(opened[1].index) / "jobs").glob("receiving-*"))

    def test_a_client_that_stops_in_the_middle(self, server: Client, opened, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(uploads, "IDLE_S", 0.05)

        async def stalled():
            import asyncio

            yield b"--x\r\n"
            await asyncio.sleep(5)

        headers = {"content-type": "multipart/form-data; boundary=x"}
        assert_problem(server.request("POST", "/v1/documents", content=stalled(), headers=headers), 408)
        assert spooled(opened[1]) == set()

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            (b"--x\r\n", "ends in the middle"),
            (b"nothing of the kind", "can't be read"),
            (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\na\r\n--x--\r\n', "'file'"),
            (b'--x\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\na\r\n--x--\r\n', "0 characters"),
            (b'--x\r\nContent-Disposition: form-data; name="other"\r\n\r\na\r\n--x--\r\n', "'other'"),
            (b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{}\r\n--x--\r\n', "no file"),
            (b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n[1]\r\n--x--\r\n', "JSON object"),
            (b'--x\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{"uri": 1}\r\n--x--\r\n', "'uri'"),
            (b"--x--\r\n", "no file"),
        ],
    )
    def test_forms_that_can_t_be_used(self, server: Client, opened, body: bytes, told: str):
        headers = {"content-type": "multipart/form-data; boundary=x"}
        problem = assert_problem(server.request("POST", "/v1/documents", content=body, headers=headers), 422)
        assert told in problem["detail"]
        assert spooled(opened[1]) == set()

    def test_two_files_of_one_name(self, server: Client):
        files = [("file", ("a.txt", "one")), ("file", ("a.txt", "two"))]
        assert "'a.txt'" in assert_problem(server.request("POST", "/v1/documents", files=files), 422)["detail"]

    @pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded"])
    def test_other_kinds_of_bodies(self, server: Client, kind: str):
        headers = {"content-type": kind} if kind else {}
        problem = assert_problem(server.request("POST", "/v1/documents", content=b"tea", headers=headers), 415)
        assert "multipart/form-data" in problem["detail"]


class TestTexts:
    def test_are_found_by_what_they_are_called(self, server: Client):
        job = give(
            server,
            [
                {"id": "swifts", "title": "Swifts", "text": "Swifts sleep in flight.", "metadata": {"legs": 2}},
                {"uri": "https://example.org/terns", "text": "Terns fly from pole to pole."},
                {"text": "Penguins can't fly at all."},
            ],
        )
        assert job["outcome"]["new"] == job["n_sources"] == 3
        hit = server.search(query="sleeping while flying", filter="legs = 2").json()["hits"][0]
        assert (hit["document_id"], hit["uri"], hit["title"]) == ("swifts", "inline:swifts", "Swifts")
        assert text_of(server, "https://example.org/terns") == "Terns fly from pole to pole."
        hit = server.search(query="penguins", mode="sparse").json()["hits"][0]
        assert hit["document_id"] == hit["uri"]
        assert hit["uri"].startswith("inline:")

    def test_one_by_itself_and_its_new_version(self, server: Client):
        assert give(server, {"id": "one", "text": "Larks sing."})["outcome"]["new"] == 1
        assert give(server, {"id": "one", "text": "Larks rise."})["outcome"]["updated"] == 1
        assert text_of(server, "one") == "Larks rise."

    def test_an_id_that_belongs_to_another_address_is_told_of(self, server: Client):
        give(server, {"id": "owned", "uri": "https://example.org/a", "text": "Rooks."})
        job = give(server, {"id": "owned", "uri": "https://example.org/b", "text": "Crows."})
        assert "belongs to https://example.org/a" in job["outcome"]["failures"][0]["reason"]
        assert text_of(server, "owned") == "Rooks."

    def test_an_id_given_twice(self, server: Client):
        job = give(server, [{"id": "twin", "text": "Doves."}, {"id": "twin", "text": "Pigeons."}])
        assert (job["outcome"]["new"], job["outcome"]["failed"]) == (1, 1)

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "text"),
            ({"text": " \n"}, "text"),
            ({"text": 5}, "text"),
            ({"text": "a", "txet": "b"}, "txet"),
            ({"text": "a", "uri": "FILE:///etc/passwd"}, "uri"),
            ([{"text": "a"}, {"text": ""}], "1.text"),
            ([], "body"),
        ],
    )
    def test_a_wrong_field_is_named(self, server: Client, body: object, field: str):
        problem = assert_problem(server.request("POST", "/v1/documents", json=body), 422)
        assert problem["errors"][0]["field"] == field

    @pytest.mark.parametrize(
        ("content", "told"),
        [(b"{", "isn't JSON"), (b"\xff", "isn't JSON"), (b"", "isn't JSON"), (b'{"text": "\\ud800"}', "isn't JSON"),
         (b'{"text": "a", "metadata": {"a b": 1}}', "'a b'"), (b'{"text": "a", "metadata": {"a": {}}}', "metadata.a"),
         (b'{"text": "a", "metadata": {"title": "b"}}', "title")],
    )  # fmt: skip
    def test_bodies_that_can_t_be_used(self, server: Client, content: bytes, told: str):
        headers = {"content-type": "application/json"}
        problem = assert_problem(server.request("POST", "/v1/documents", content=content, headers=headers), 422)
        assert told in problem["detail"]

    def test_any_name_of_a_corpus_field(self, server: Client):
        line = {"_id": "odd", "text": "Ospreys fish.", "metadata": {"a b": 1, "x<y>": "z", "$": "w", "plain": "yes"}}
        job = upload(server, ("corpus.jsonl", json.dumps(line)))
        assert (job["state"], job["outcome"]["new"]) == ("done", 1)
        filters = ('plain = "yes"', '"a b" = 1 and "x<y>" = z', "$ = w")
        (hit,) = {json.dumps(server.search(query="ospreys", filter=each).json()["hits"][0]) for each in filters}
        hit = json.loads(hit)
        assert hit["metadata"].items() >= line["metadata"].items()


class TestDelete:
    def test_is_gone_with_all_that_it_shared(self, server: Client):
        shared = "This paragraph of more than forty characters stands in all three of them, word for word.\n\n"
        give(server, [{"id": f"share-{n}", "text": f"{shared}Only number {n} says this."} for n in range(3)])
        assert server.search(query="paragraph stands in all three", mode="sparse").json()["hits"][0]["also_in"]
        answer = server.request("DELETE", "/v1/documents/share-0")
        assert (answer.status_code, answer.json()) == (200, {"deleted": ["share-0"]})
        assert_problem(server.get("/v1/documents/share-0"), 404)
        hits = server.search(query="paragraph stands in all three", mode="sparse").json()["hits"]
        assert {hit["document_id"] for hit in hits[:2]} == {"share-1", "share-2"}
        assert all(hit["also_in"] == [] for hit in hits[:2])

    def test_what_isn_t_there(self, server: Client):
        problem = assert_problem(server.request("DELETE", "/v1/documents/nothing"), 404)
        assert "'nothing'" in problem["detail"]

    def test_waits_for_nobody_long(self, server: Client, opened, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("api.routes.documents.DELETE_PATIENCE_S", 0.2)
        give(server, {"id": "kept", "text": "Wrens build several nests."})
        with alone(Path(opened[1].index)):
            answer = server.request("DELETE", "/v1/documents/kept")
            assert_problem(answer, 503)
            assert answer.headers["retry-after"] == "5"
        assert text_of(server, "kept")


class TestJobs:
    def test_are_listed_last_first(self, server: Client):
        last = give(server, {"id": "listed", "text": "Text."})["id"]
        listed = server.get("/v1/jobs").json()["jobs"]
        assert listed[0]["id"] == last
        assert [job["created"] for job in listed] == sorted((job["created"] for job in listed), reverse=True)

    def test_unknown(self, server: Client):
        assert_problem(server.get("/v1/jobs/nothing"), 404)
        assert_problem(server.get("/v1/jobs/nothing/events"), 404)
        assert_problem(server.get("/v1/jobs/..%2Fjobs"), 404)

    def test_tell_of_their_progress_as_events(self, server: Client, opened):
        with alone(Path(opened[1].index)):
            job_id = server.request("POST", "/v1/documents", json={"id": "events", "text": "Jays."}).json()["id"]
            heard: list[str] = []
            listening = threading.Thread(target=lambda: heard.append(server.get(f"/v1/jobs/{job_id}/events").text))
            listening.start()
            deadline = time.monotonic() + PATIENCE_S
            while server.get(f"/v1/jobs/{job_id}").json()["progress"] is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert server.get(f"/v1/jobs/{job_id}").json()["progress"]["stage"] == "waiting: index in use"
            time.sleep(0.5)
        listening.join(PATIENCE_S)
        events = [event.split("\n", 1) for event in heard[0].strip().split("\n\n")]
        assert events[-1][0] == "event: done"
        assert "event: running" in [name for name, _ in events]
        assert json.loads(events[-1][1].removeprefix("data: "))["outcome"]["new"] == 1

    def test_reads_go_on_meanwhile(self, server: Client):
        texts = [{"id": f"many-{n}", "text": f"Document {n} about sandpipers. " * 40} for n in range(40)]
        job_id = server.request("POST", "/v1/documents", json=texts).json()["id"]
        n_answered = 0
        while server.get(f"/v1/jobs/{job_id}").json()["state"] != "done":
            assert server.search(query="wild yeast").status_code == 200
            n_answered += 1
        assert n_answered
        assert server.get("/v1/documents/many-39").status_code == 200

    def test_what_fails_as_a_whole_says_so_without_a_path(self, server: Client, opened, monkeypatch, caplog):
        def fail(*arguments, **options):
            raise RuntimeError("/secret hunter2")

        monkeypatch.setattr("ingest.pipeline.ingest", fail)
        job = give(server, {"text": "Nothing comes of this."})
        assert job["state"] == "failed"
        assert job["outcome"] is None
        assert "hunter2" not in json.dumps(job)
        assert "hunter2" in caplog.text
        assert spooled(opened[1]) == set()


class TestRoom:
    """What can't be kept is refused at once, and nothing of it stays."""

    @pytest.fixture
    def stopped(self, opened: tuple[Index, Settings]) -> Client:
        """A client of an app that begins no job."""
        app = create_app(*opened)
        app.state.jobs.stop()
        return Client(app)

    def test_a_disk_with_too_little_room(self, opened, stopped: Client, monkeypatch: pytest.MonkeyPatch):
        usage = type("Usage", (), {"free": 255 * 2**20})
        monkeypatch.setattr("api.jobs.spool.shutil.disk_usage", lambda folder: usage)
        before = spooled(opened[1])
        for given in ({"json": {"text": BREAD}}, {"files": [("file", ("a.txt", BREAD))]}):
            assert_problem(stopped.request("POST", "/v1/documents", **given), 507)
        assert_problem(stopped.request("POST", "/v1/report"), 507)
        assert spooled(opened[1]) == before

    @pytest.mark.parametrize("length", [100, 300_000])
    def test_a_disk_that_fills_while_a_file_comes(
        self, opened, stopped: Client, monkeypatch: pytest.MonkeyPatch, length: int
    ):
        full = Path("/dev/full")
        if not full.is_char_device():
            pytest.skip("no /dev/full")
        monkeypatch.setattr("api.jobs.uploads.file_path", lambda folder, number: _Opened(full))
        problem = stopped.request("POST", "/v1/documents", files=[("file", ("a.txt", "a" * length))])
        assert_problem(problem, 507)

    def test_more_jobs_than_may_wait(self, opened, stopped: Client, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("api.jobs.queue.MAX_WAITING", 1)
        queue = stopped.app.state.jobs.of("")
        before = len(queue.all())
        stopped.request("POST", "/v1/documents", json={"text": BREAD})
        refused = stopped.request("POST", "/v1/documents", json={"text": BREAD})
        assert "1 jobs wait already" in assert_problem(refused, 503)["detail"]
        assert refused.headers["retry-after"] == "5"
        assert len(queue.all()) == before + 1
        for job in queue.all():
            if job.state == "waiting":
                queue.spool.remove(job)


class _Opened:
    """A path that is opened as if it were new."""

    def __init__(self, path: Path):
        self._path = path

    def open(self, mode: str):
        return self._path.open("wb")


class TestRestarts:
    @pytest.fixture
    def closed(self, tmp_path: Path) -> Settings:
        settings = Settings(index=str(tmp_path / "index"), offline=True, vector_cache_mb=0)
        with open_index(settings, create=True, notify=lambda line: None):
            pass
        return settings

    def test_unfinished_jobs_are_done(self, closed: Settings, tmp_path: Path):
        """As a kill leaves them: one begun, one waiting, one half received, of two tenants."""
        for tenant in ("", "acme"):
            folder = Path(closed.index, *(("tenants", tenant) if tenant else ()))
            spool = Spool(folder / "jobs")
            with spool.receiving() as received:
                (received / "0.file").write_text(f"Avocets of {tenant or 'all'}.")
                job = new_job("ingest", names=("avocets.txt",))
                spool.add(job, received)
            (folder / "jobs" / "receiving-x").mkdir()
        record = next(Path(closed.index).glob(f"jobs/*/{RECORD}"))
        record.write_text(json.dumps(json.loads(record.read_text()) | {"state": "running", "n_tries": 1}))
        with open_index(closed) as index:
            tenants = Tenants(index, closed)
            jobs = Jobs(tenants, closed)
            jobs.resume()
            for tenant, told in (("", "Avocets of all."), ("acme", "Avocets of acme.")):
                queue = jobs.of(tenant)
                queue.join(PATIENCE_S)
                assert [job.state for job in queue.all()] == ["done"]
                found = tenants.live(tenant).answer(lambda index, _: index.store.record("upload:avocets.txt"))
                assert found.text == told
            assert not list(Path(closed.index).rglob("receiving-*"))
            tenants.close()

    def test_a_job_stops_at_a_safe_point_and_goes_on(self, closed: Settings):
        many = [{"id": f"n{n}", "text": f"Curlews number {n} wade. " * 30} for n in range(60)]
        with open_index(closed) as index:
            app = create_app(index, closed)
            client = Client(app)
            job_id = client.request("POST", "/v1/documents", json=many).json()["id"]
            deadline = time.monotonic() + PATIENCE_S
            while not (client.get(f"/v1/jobs/{job_id}").json()["progress"] or {}).get("total_bytes"):
                assert time.monotonic() < deadline
            app.state.jobs.close()
            job = client.get(f"/v1/jobs/{job_id}").json()
            assert job["state"] == "waiting"
            assert client.get("/v1/documents").json()["total"] < 60
        with open_index(closed) as index:
            app = create_app(index, closed)
            app.state.jobs.resume()
            job = ended(Client(app), job_id)
            assert job["outcome"]["failed"] == 0
            assert Client(app).get("/v1/documents").json()["total"] == 60

    def test_a_job_that_ends_the_server_each_time_is_given_up(self, closed: Settings):
        spool = Spool(Path(closed.index) / "jobs")
        with spool.receiving() as received:
            (received / "0.file").write_text("Poison.")
            spool.add(new_job("ingest", names=("a.txt",), n_tries=MAX_TRIES), received)
        with open_index(closed) as index:
            jobs = Jobs(Tenants(index, closed), closed)
            jobs.resume()
            jobs.of("").join(PATIENCE_S)
            assert "given up" in jobs.of("").all()[0].error
            assert index.store.count_documents() == 0

    def test_the_oldest_are_forgotten(self, closed: Settings, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("api.jobs.queue.KEPT", 1)
        with open_index(closed) as index:
            client = Client(create_app(index, closed))
            ids = [give(client, {"id": "a", "text": f"Text {n}."})["id"] for n in range(2)]
            deadline = time.monotonic() + PATIENCE_S
            while len(client.get("/v1/jobs").json()["jobs"]) > 1 and time.monotonic() < deadline:
                time.sleep(0.02)
            assert {path.name for path in (Path(closed.index) / "jobs").iterdir()} == set(ids[-1:])


class TestKeys:
    def test_a_tenant_s_jobs_are_its_own(self, opened, tmp_path: Path):
        settings = opened[1].model_copy(update={"api_keys": "main,acme:one,globex:two"})
        settings = Settings(index=opened[1].index, offline=True, vector_cache_mb=0, api_keys="main,acme:one,globex:two")
        client = Client(create_app(opened[0], settings))
        as_acme, as_globex = ({"headers": {"authorization": f"Bearer {key}"}} for key in ("one", "two"))
        answer = client.request("POST", "/v1/documents", json={"id": "secret", "text": "Acme's gannets."}, **as_acme)
        job = ended(client, answer.json()["id"], **as_acme)
        assert job["outcome"]["new"] == 1
        assert client.get("/v1/documents/secret", **as_acme).status_code == 200
        for key in ("two", "main"):
            options = {"headers": {"authorization": f"Bearer {key}"}}
            assert_problem(client.get("/v1/documents/secret", **options), 404)
            assert_problem(client.get(f"/v1/jobs/{job['id']}", **options), 404)
            assert job["id"] not in client.get("/v1/jobs", **options).text
            assert_problem(client.request("DELETE", "/v1/documents/secret", **options), 404)
        assert client.get("/v1/jobs", **as_globex).json() == {"jobs": []}

    def test_reading_is_not_writing(self, opened, tmp_path: Path):
        from api.serving.keys import KeyFile

        path = tmp_path / "keys.json"
        secret = KeyFile(path).add("reader", "", "read", None)
        settings = Settings(index=opened[1].index, offline=True, keys_file=path)
        client = Client(create_app(opened[0], settings))
        headers = {"authorization": f"Bearer {secret}"}
        for method, url in (("POST", "/v1/documents"), ("POST", "/v1/report"), ("DELETE", "/v1/documents/a")):
            assert_problem(client.request(method, url, headers=headers, json={"text": "a"}), 403)
        assert client.get("/v1/jobs", headers=headers).status_code == 200


def test_one_writes_at_a_time(tmp_path: Path):
    with alone(tmp_path), pytest.raises(IndexLocked), alone(tmp_path, 0.15):
        pass
    with alone(tmp_path):
        assert os.listdir(tmp_path) == ["writing.lock"]

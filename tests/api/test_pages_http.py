"""The pages over HTTP: who sees and does what, what a browser may be made to do, and that everything is escaped."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import pytest

from api.app import create_app
from api.pages.answers import Piece, cited_pieces
from api.pages.atlas import bands, place_query
from api.pages.facets import condition, facets, joined
from api.pages.reading import PART_CHARACTERS, part_of, segments
from api.routes.pages import ask, documents, maps, report, search
from api.serving import access
from api.serving.keys import KeyFile, keys_file
from core.index import open_index
from core.settings import Settings
from core.types import Chunk, Hit, Span
from tests.api.conftest import HOSTILE, STRANGE_IDS, Client

GETS = ("/", "/?q=tea", "/similar?like=loops", "/document?id=loops", "/documents", "/jobs", "/report", "/map", "/ask")
OWN = {"origin": "http://127.0.0.1"}
UNESCAPED = re.compile(r"<script>document|<img src=x")


@pytest.fixture(scope="module")
def locked(index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, dict[str, str]]]:
    """A client of a server with keys, and the keys by role; `acme` is a tenant's."""
    folder = tmp_path_factory.mktemp("locked") / "index"
    shutil.copytree(index_folder, folder)
    settings = Settings(index=str(folder), offline=True)
    filed = KeyFile(keys_file(settings))
    keys = {"read": filed.add("r", "", "read", None), "write": filed.add("w", "", "write", None)}
    keys["acme"] = filed.add("a", "acme", "write", None)
    with open_index(settings) as index:
        yield Client(create_app(index, settings)), keys


def tags_of(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """Every tag of a page with its attributes, as a browser reads them."""
    found: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, given: found.append((tag, dict(given)))
    parser.feed(html)
    return found


def basic(key: str) -> dict[str, str]:
    """The header that a browser sends once it was told the password."""
    return {"authorization": f"Basic {base64.b64encode(f'me:{key}'.encode()).decode()}"}


def test_every_page_is_known_to_access():
    paths = {route.path for part in (ask, documents, maps, report, search) for route in part.router.routes}
    assert paths - {"/static/map.js"} == set(access.PAGES)


@pytest.mark.parametrize("path", GETS)
def test_pages_allow_scripts_of_files_alone(client: Client, path: str):
    answer = client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    for tag, given in tags_of(answer.text):
        assert not any(name.startswith("on") or name == "style" for name in given), (tag, given)
        assert tag != "script" or "src" in given or given.get("type") == "application/json"
        assert tag not in ("style", "iframe", "object")
        for name in ("src", "href", "action"):
            address = urlsplit(given.get(name) or "")
            assert not address.netloc or (tag == "a" and address.scheme in ("http", "https")), (tag, given)
            assert address.scheme in ("", "http", "https"), (tag, given)


@pytest.mark.parametrize(
    "path",
    [
        "/?" + urlencode({"q": f"volcanoes {HOSTILE}", "filter": f"title = {json.dumps(HOSTILE)}"}),
        "/?" + urlencode({"q": "volcanoes", "only": HOSTILE, "mode": HOSTILE, "weight": HOSTILE}),
        "/?q=volcanoes",
        "/similar?" + urlencode({"like": f"text:{HOSTILE}", "unlike": f"hostile {HOSTILE}"}),
        "/document?" + urlencode({"id": f"hostile {HOSTILE}", "q": HOSTILE, "chunk": HOSTILE}),
        "/document?" + urlencode({"id": HOSTILE}),
        "/documents?" + urlencode({"after": HOSTILE}),
        "/documents",
        "/jobs?" + urlencode({"kind": HOSTILE}),
        "/map?" + urlencode({"q": HOSTILE, "toward": HOSTILE, "away": HOSTILE, "finding": HOSTILE}),
    ],
)
def test_everything_is_escaped(client: Client, path: str):
    answer = client.get(path)
    assert answer.status_code in (200, 404, 422)
    assert not UNESCAPED.search(answer.text)
    assert 'href="javascript' not in answer.text


@pytest.mark.parametrize("document_id", STRANGE_IDS)
def test_every_document_can_be_opened(client: Client, document_id: str):
    answer = client.get(f"/document?id={quote(document_id, safe='')}")
    assert answer.status_code == 200
    assert "is about bees and honey" in answer.text


def test_failures_are_pages(client: Client):
    for path, status in (
        ("/document?id=nope", 404),
        ("/document", 422),
        ("/similar?like=nope", 404),
        ("/map.json", 404),
    ):
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.headers["content-type"].startswith("text/html")
        assert 'id="failure"' in answer.text
    answer = client.request("POST", "/ask", data={"question": " "})
    assert answer.status_code == 422
    assert "The question is empty" in answer.text
    answer = client.request("POST", "/ask", data={"question": "why?"})
    assert answer.status_code == 404
    assert "LIMPID_CHAT_URL" in answer.text


def test_without_a_language_model_it_says_what_to_set(client: Client):
    assert "LIMPID_CHAT_URL and LIMPID_CHAT_MODEL" in client.get("/ask").text


@pytest.mark.parametrize("path", sorted(access.PAGES))
def test_without_a_key_no_page(locked, path: str):
    client, _ = locked
    for method in ("GET", "POST"):
        answer = client.request(method, path, headers=OWN)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic ")
        assert "A key is needed" in answer.text


def test_a_reader_sees_nothing_that_changes(locked):
    client, keys = locked
    for path in ("/documents", "/report", "/map"):
        assert 'method="post"' in client.get(path, headers=basic(keys["write"])).text
        assert 'method="post"' not in client.get(path, headers=basic(keys["read"])).text
    for path in ("/delete?id=loops", "/report", "/fix?kind=duplicate", "/documents"):
        answer = client.request("POST", path, headers=basic(keys["read"]) | OWN)
        assert answer.status_code == 403
        assert "role write" in answer.text
    assert client.get("/document?id=loops", headers=basic(keys["read"])).status_code == 200


def test_a_tenant_sees_its_own(locked):
    client, keys = locked
    acme = basic(keys["acme"])
    assert "0 documents" in client.get("/documents", headers=acme).text
    assert client.get("/document?id=loops", headers=acme).status_code == 404
    assert "Loops in Python" not in client.get("/?q=loops", headers=acme).text
    assert "No report was made yet" in client.get("/report", headers=acme).text
    assert "acme" in client.get("/", headers=acme).text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),  # a browser always says where a form comes from
        ({"origin": "null"}, 401),
        ({"origin": "http://evil.example"}, 401),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-origin"}, 401),
        ({"sec-fetch-site": "cross-site"}, 401),
        ({"sec-fetch-site": "same-site"}, 401),
        ({"sec-fetch-site": "same-origin"}, 404),
        (OWN, 404),
    ],
)
def test_a_password_changes_things_from_own_pages_alone(locked, headers: dict, status: int):
    """404: it got as far as looking for the document."""
    client, keys = locked
    answer = client.request("POST", "/delete?id=nothing", headers=basic(keys["write"]) | headers)
    assert answer.status_code == status
    answer = client.request("DELETE", "/v1/documents/nothing", headers=basic(keys["write"]) | headers)
    assert answer.status_code == status


def test_the_api_takes_a_password_from_own_pages_alone(locked):
    client, keys = locked
    password = basic(keys["read"])
    answer = client.get("/v1/status", headers=password)
    assert answer.status_code == 401
    assert "Basic" not in answer.headers["www-authenticate"]
    assert client.get("/v1/status", headers=password | {"sec-fetch-site": "same-origin"}).status_code == 200
    assert client.get("/v1/status", headers=password | {"sec-fetch-site": "cross-site"}).status_code == 401
    answer = client.get("/v1/status", headers={"sec-fetch-site": "same-origin"})
    assert answer.headers["www-authenticate"].startswith("Basic ")  # so that the browser tries what it knows
    assert client.get("/v1/status", headers={"authorization": f"Bearer {keys['read']}"}).status_code == 200


def test_forms_say_where_they_come_from(client: Client):
    """Under no-referrer a browser sends a form with the origin null, which is refused."""
    assert client.get("/").headers["referrer-policy"] == "same-origin"


def test_the_map_s_script_is_the_report_s(client: Client):
    served = client.get("/static/map.js")
    assert served.headers["content-type"].startswith("text/javascript")
    assert served.text == (Path(__file__).parents[2] / "eval/page/map.js").read_text(encoding="utf-8")


def test_weights_and_choices_have_limits(client: Client):
    for query in ("weight=2", "weight=nan", "weight=much", "&".join(["only=year+%3D+1"] * 11), "filter=" + "x" * 2001):
        answer = client.get(f"/?q=tea&{query}")
        assert answer.status_code == 422, query
        assert "can’t be searched" in answer.text


def test_facets_count_what_repeats():
    def chunk(number: int, **metadata: object) -> Chunk:
        return Chunk(str(number), "d", number, 0, 1, "x", metadata=metadata)

    chunks = [chunk(n, topic="ab"[n % 2], tags=["x", "y"], id=str(n), bad="a\nb", old=n > 3) for n in range(6)]
    fields = dict.fromkeys(("topic", "tags", "id", "bad", "old", "no name"), "keyword")
    found = {facet.field: [(v.label, v.n, v.condition) for v in facet.values] for facet in facets(chunks, fields)}
    assert found == {
        "old": [("no", 4, "old = false"), ("yes", 2, "old = true")],
        "tags": [("x", 6, 'tags = "x"'), ("y", 6, 'tags = "y"')],
        "topic": [("a", 3, 'topic = "a"'), ("b", 3, 'topic = "b"')],
    }
    assert joined(["", 'a = "b" or c = 1', condition("d", 'q"')]) == '(a = "b" or c = 1) and (d = "q\\"")'
    assert joined(["a = 1", " "]) == "a = 1"
    assert joined([]) == ""


def test_a_long_document_is_read_in_parts():
    text = "".join(f"line {n}\n" for n in range(12_000))
    passage = Span(60_000, 60_100)
    part = part_of(text, passage)
    assert part.start <= passage.start < passage.end <= part.end
    assert part.end - part.start <= PART_CHARACTERS + 500
    assert text[part.start - 1] == "\n"
    seen, start = "", 0
    while start is not None:
        here = part_of(text, None, start)
        seen += text[max(here.start, len(seen)) : here.end]
        start = here.after
    assert seen == text
    document = {"text": text, "page_starts": [0, 60_050], "page_names": []}
    shown = segments(document, part, passage, lambda word: word == "line")
    assert "".join(piece for segment in shown for piece, _ in segment.pieces) == text[part.start : part.end]
    assert [segment.page for segment in shown if segment.is_passage] == ["", "page 2"]


def test_labels_of_an_answer():
    assert cited_pieces("Yes [1, 3–7]. [x] [9]", {1, 7}) == [
        Piece("Yes ["), Piece("1", 1), Piece(", 3–"), Piece("7", 7), Piece("]. [x] [9]"),
    ]  # fmt: skip
    assert cited_pieces("", {1}) == []


def test_a_query_stands_among_its_nearest_hits():
    hits = [Hit(n, score, Chunk(str(n), "d", 0, 0, 1, "x"), {}) for n, score in ((1, 0.9), (2, 0.3), (3, 0.5))]
    places = {"id": ["2", "1"], "x": [0.0, 1.0], "y": [0.5, 0.1]}
    placed = place_query("q", hits, places)
    assert (placed.x, placed.y) == (pytest.approx(0.75), pytest.approx((0.9 * 0.1 + 0.3 * 0.5) / 1.2, abs=1e-4))
    assert placed.nearest == placed.hits == (1, 0)
    assert place_query("q", hits[2:], places) is None


def test_bands_hold_equally_many():
    labels, of = bands(np.array([*np.linspace(-1, 1, 70), np.nan]))
    assert len(labels) == 8
    assert [of.count(band) for band in range(7)] == [10] * 7
    assert of[-1] == 7
    assert labels[-1] == "removed since"
    assert bands(np.array([0.5, 0.5])) == (["+0.50 to +0.50"], [0, 0])


def test_an_index_of_nothing(tmp_path: Path, embedder):
    settings = Settings(index=str(tmp_path / "index"), offline=True)
    with open_index(settings, create=True, embedder=embedder) as index:
        client = Client(create_app(index, settings))
        for path in ("/", "/?q=tea", "/documents", "/map", "/report", "/similar?like=text:tea"):
            assert client.get(path).status_code == 200, path
        assert "Upload documents" in client.get("/").text

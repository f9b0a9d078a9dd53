"""The pages that work on an index in a real browser: documents, report, map and questions."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from core.embed import Embedder
from core.index import open_index
from core.settings import Settings
from tests.api.chat.upstream import MODEL, Upstream, running_upstream, serving
from tests.api.conftest import HOSTILE

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from tests.api.test_pages import TIMEOUT_S, chromium, emulated, follow, texts  # noqa: E402, F401

pytestmark = pytest.mark.browser

JOB_S = 90
SAME = "Return a borrowed ladder before sunset, and lean it against the north wall with its feet on the stone slab."
SUBJECTS = {
    "tea": (
        "Green tea turns bitter in boiling water.",
        "Black tea steeps for four minutes.",
        "White tea is picked early.",
    ),
    "ice": ("A glacier is a river of ice.", "Meltwater lets ice slide faster.", "Crevasses open where ice stretches."),
    "bees": ("Bees dance to tell of flowers.", "Honey is kept in wax cells.", "A swarm follows its queen."),
    "loops": (
        "A loop ends early with break.",
        "Continue skips to the next item.",
        "While repeats as long as it is true.",
    ),
}
BODIES = [
    *(
        {"id": f"{subject}-{number}", "title": f"{subject} {number}", "text": text, "metadata": {"subject": subject}}
        for subject, said in SUBJECTS.items()
        for number, text in enumerate(said)
    ),
    *({"id": f"rules-{n}", "title": f"Rules {n}", "text": SAME} for n in (1, 2)),
    {
        "id": f"hostile {HOSTILE}",
        "title": f"Title {HOSTILE}",
        "text": f"Volcanoes try to be markup: {HOSTILE} & &amp; </script>. Lava is molten rock.",
        "uri": "javascript:document.title='owned'",
        "metadata": {"note": HOSTILE, "subject": HOSTILE},
    },
]


ON_SCREEN = """
    const box = document.getElementById('map').getBoundingClientRect(), i = arguments[0];
    const { x, y } = JSON.parse(document.getElementById('map-data').textContent);
    const [left, right, top, bottom] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
    const [w, h] = [Math.max(1e-6, right - left), Math.max(1e-6, bottom - top)];
    const fit = Math.min((box.width - 36) / w, (box.height - 36) / h);
    return [(x[i] - (left + right) / 2) * fit, (y[i] - (top + bottom) / 2) * fit].map(Math.round)"""


@dataclass(frozen=True)
class Served:
    """A server with documents, a report and a language model."""

    address: str
    upstream: Upstream

    def wait(self, answer: httpx.Response) -> dict:
        """The job that an answer tells of, once it has ended."""
        assert answer.status_code == 202, answer.text
        return self.ended(answer.json()["id"])

    def ended(self, job_id: str) -> dict:
        """A job, once it has ended."""
        deadline = time.monotonic() + JOB_S
        while True:
            job = httpx.get(f"{self.address}v1/jobs/{job_id}").json()
            if job["state"] in ("done", "failed"):
                return job
            assert time.monotonic() < deadline, job
            time.sleep(0.1)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Iterator[Served]:
    """The server; made once."""
    with running_upstream() as upstream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        folder = tmp_path_factory.mktemp("work") / "index"
        settings = Settings(index=str(folder), offline=True, vector_cache_mb=0, chat_url=upstream.url, chat_model=MODEL)
        with (
            open_index(settings, create=True, embedder=embedder) as index,
            serving(create_app(index, settings)) as url,
        ):
            made = Served(f"{url.rstrip('/')}/", upstream)
            job = made.wait(httpx.post(f"{made.address}v1/documents", json=BODIES))
            assert job["outcome"]["new"] == len(BODIES)
            assert made.wait(httpx.post(f"{made.address}v1/report"))["error"] is None
            yield made


@pytest.fixture
def browser(chromium: webdriver.Chrome, served: Served) -> Iterator[webdriver.Chrome]:  # noqa: F811
    """The browser; afterwards the console must be clean, nothing refused by the policy, and no other host asked."""
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    served.upstream.reset()
    yield chromium
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(served.address)] == []
    assert "owned" not in chromium.title.replace(HOSTILE, "")
    assert chromium.find_elements(By.CSS_SELECTOR, "main img, iframe, [onerror]") == []


def until(browser: webdriver.Chrome, holds: Callable[[webdriver.Chrome], object], timeout_s: float = TIMEOUT_S):
    """What `holds` gives once that is something."""
    waiting = WebDriverWait(browser, timeout_s, 0.1, [NoSuchElementException, StaleElementReferenceException])
    return waiting.until(holds)


def script(browser: webdriver.Chrome, code: str, *given: object):
    """What a script returns."""
    return browser.execute_script(code, *given)


def test_a_fix_is_previewed_applied_and_taken_back(browser, served):
    """First, while the report is current; afterwards it is again."""
    browser.get(f"{served.address}report")
    preview = next(p for p in browser.find_elements(By.CLASS_NAME, "apply") if "store the text" in p.text)
    apply = preview.find_element(By.CLASS_NAME, "go")
    assert not apply.is_displayed()
    n_before = httpx.get(f"{served.address}v1/status").json()["chunks"]
    preview.find_element(By.TAG_NAME, "summary").click()
    assert "2 documents" in preview.text
    assert httpx.get(f"{served.address}v1/status").json()["chunks"] == n_before
    follow(browser, apply.click)
    until(browser, lambda _: "Take it back" in texts(browser, "#jobs button"), JOB_S)
    assert httpx.get(f"{served.address}v1/status").json()["chunks"] != n_before
    until(browser, lambda _: "Documents have changed since" in browser.find_element(By.TAG_NAME, "main").text)
    follow(browser, lambda: browser.find_element(By.CSS_SELECTOR, "#jobs button").click())
    until(browser, lambda _: "taken back" in browser.find_element(By.ID, "jobs").text
          and "done" in texts(browser, ".job .state"), JOB_S)  # fmt: skip
    assert httpx.get(f"{served.address}v1/status").json()["chunks"] == n_before


def test_upload_shows_progress_and_failures_with_reasons(browser, served, tmp_path: Path):
    (tmp_path / "lighthouse.md").write_text("# Lighthouses\n\nThe keeper winds the clockwork that turns the lamp.\n")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 no such thing")
    browser.get(f"{served.address}documents")
    assert browser.find_element(By.CLASS_NAME, "scripted").is_displayed()
    files = "\n".join(str(tmp_path / name) for name in ("lighthouse.md", "broken.pdf"))
    browser.find_element(By.ID, "files").send_keys(files)
    assert browser.find_element(By.ID, "told").text == "2 files"
    browser.find_element(By.CSS_SELECTOR, "#upload .go").click()
    until(browser, lambda _: "Lighthouses" in texts(browser, ".documents a"))  # the list follows without a reload
    assert any("1 new" in text and "1 failed" in text for text in texts(browser, ".outcome"))
    failure = texts(browser, ".failures li")[0]
    assert "broken.pdf" in failure
    assert len(failure) > len("broken.pdf") + 20  # the reason
    browser.find_element(By.LINK_TEXT, "Lighthouses").click()
    assert "winds the clockwork" in browser.find_element(By.CLASS_NAME, "text").text


def test_upload_says_why_it_is_refused(browser, served, tmp_path: Path):
    (tmp_path / "a.txt").write_text("Words.")
    browser.get(f"{served.address}documents")
    browser.find_element(By.ID, "files").send_keys(str(tmp_path / "a.txt"))
    browser.find_element(By.CSS_SELECTOR, ".fields summary").click()
    field = browser.find_element(By.ID, "metadata")
    field.clear()
    field.send_keys("no json")
    browser.find_element(By.CSS_SELECTOR, "#upload .go").click()
    until(browser, lambda _: "isn't a JSON object" in browser.find_element(By.ID, "told").text)
    assert browser.find_element(By.CSS_SELECTOR, "#upload .go").is_enabled()
    assert [entry["message"] for entry in browser.get_log("browser") if "422" not in entry["message"]] == []


def test_delete_asks_first_and_works_without_scripts(browser, served):
    httpx_job = served.wait(httpx.post(f"{served.address}v1/documents", json={"id": "a/b\nc d", "text": "Gone soon."}))
    assert httpx_job["outcome"]["new"] == 1
    with emulated(browser, "Emulation.setScriptExecutionDisabled", {"value": True}, {"value": False}):
        browser.get(f"{served.address}documents")
        row = browser.find_element(By.CSS_SELECTOR, ".documents > li")
        assert "Gone soon" in row.text or "a/b" in row.text
        button = row.find_element(By.CLASS_NAME, "danger")
        assert not button.is_displayed()
        row.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
        assert button.is_displayed()
        button.send_keys(Keys.ENTER)
        until(browser, lambda _: not any("a/b" in text for text in texts(browser, ".documents > li")))
    assert httpx.get(f"{served.address}v1/documents/a%2Fb%0Ac%20d").status_code == 404


def test_hostile_documents_stay_text(browser, served):
    browser.get(f"{served.address}documents")
    follow(browser, browser.find_element(By.PARTIAL_LINK_TEXT, "Title <script>").click)
    assert browser.find_element(By.TAG_NAME, "h1").text == f"Title {HOSTILE}"
    assert HOSTILE in browser.find_element(By.CLASS_NAME, "text").text
    assert HOSTILE in texts(browser, ".metadata dd")
    assert browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript']") == []


def opened_map(browser: webdriver.Chrome, address: str):
    """The map's canvas in the middle of the window, once it is drawn."""
    browser.get(address)
    canvas = until(browser, lambda page: page.find_element(By.CSS_SELECTOR, "#map[data-ready]"))
    script(browser, "arguments[0].scrollIntoView({ behavior: 'instant', block: 'center' })", canvas)
    return canvas


def test_map_hover_keys_and_colours(browser, served):
    canvas = opened_map(browser, f"{served.address}map")
    for point in (0, 7):
        place = script(browser, ON_SCREEN, point)
        ActionChains(browser, duration=0).move_to_element_with_offset(canvas, *place).perform()
        name = script(
            browser, "return JSON.parse(document.getElementById('map-data').textContent).name[arguments[0]]", point
        )
        assert name in browser.find_element(By.ID, "passage").text
    canvas.send_keys(Keys.ARROW_RIGHT)
    shown = browser.find_element(By.ID, "passage")
    assert "chunk" in shown.text
    assert shown.find_element(By.LINK_TEXT, "Open").get_attribute("href").startswith(f"{served.address}document?")
    choice = Select(browser.find_element(By.ID, "colour"))
    for option in ("source", "finding", "subject"):
        choice.select_by_value(option)
        assert texts(browser, "#legend button span:first-of-type")
    assert set(SUBJECTS) <= set(texts(browser, "#legend button span:first-of-type"))
    canvas.send_keys("l")
    assert "around this one" in browser.find_element(By.ID, "chosen-title").text
    canvas.send_keys(Keys.ESCAPE)
    assert not browser.find_element(By.ID, "chosen").is_displayed()
    canvas.send_keys(Keys.ARROW_RIGHT)
    follow(browser, lambda: canvas.send_keys(Keys.ENTER))
    assert browser.find_element(By.ID, "passage").is_displayed()


def test_lasso_lists_what_it_surrounds(browser, served):
    canvas = opened_map(browser, f"{served.address}map")
    n_points = len(httpx.get(f"{served.address}map.json").json()["x"])
    browser.find_element(By.ID, "lasso").click()
    noose = browser.find_element(By.ID, "noose")
    width, height = (canvas.rect[side] // 2 - 9 for side in ("width", "height"))  # inside its round corners
    drawing = ActionChains(browser, duration=60).move_to_element_with_offset(noose, -width, -height).click_and_hold()
    for x, y in ((width, -height), (width, height), (-width, height)):
        drawing.move_to_element_with_offset(noose, x, y)
    drawing.release().perform()
    until(browser, lambda _: f"{n_points} passages in the lasso" in browser.find_element(By.ID, "chosen-title").text)
    assert len(texts(browser, "#list li")) == n_points
    assert f"Title {HOSTILE}" in texts(browser, "#list a")
    assert browser.find_element(By.ID, "lasso").get_attribute("aria-pressed") == "false"
    browser.find_element(By.ID, "clear").click()
    assert not browser.find_element(By.ID, "chosen").is_displayed()


def test_query_and_concept_on_the_map(browser, served):
    browser.get(f"{served.address}map?q=bitter+tea&toward=cold+ice&away=hot+tea")
    until(browser, lambda page: page.find_element(By.CSS_SELECTOR, "#map[data-ready]"))
    assert "hits for “bitter tea”" in browser.find_element(By.ID, "chosen-title").text
    assert texts(browser, "#list a")[0] == "tea 0"
    asked = json.loads(script(browser, "return document.getElementById('asked').textContent"))
    data = httpx.get(f"{served.address}map.json").json()
    best = [data["name"][point] for point in asked["query"][3]]
    assert best[0].startswith("tea 0")
    xs = [data["x"][point] for point in asked["query"][3]]
    assert min(xs) <= asked["query"][1] <= max(xs)
    assert Select(browser.find_element(By.ID, "colour")).first_selected_option.text == "hot tea → cold ice"
    of = dict(zip(data["document"], asked["axis"]["of"], strict=True))
    assert min(of[f"ice-{n}"] for n in range(3)) > min(of[f"tea-{n}"] for n in range(2))


def test_report_leads_to_passages_and_the_map(browser, served):
    browser.get(f"{served.address}report")
    assert browser.find_element(By.TAG_NAME, "h1").text
    assert texts(browser, ".kind h2")
    follow(browser, lambda: browser.find_element(By.CSS_SELECTOR, ".findings a").send_keys(Keys.ENTER))
    assert browser.find_element(By.ID, "passage").is_displayed()
    browser.back()
    follow(browser, lambda: browser.find_element(By.LINK_TEXT, "on the map").send_keys(Keys.ENTER))
    until(browser, lambda page: page.find_element(By.CSS_SELECTOR, "#map[data-ready]"))
    assert "in the finding" in browser.find_element(By.ID, "chosen-title").text


def test_keyboard_alone_reaches_every_page(browser, served):
    browser.get(f"{served.address}documents")
    reached = []
    for _ in range(7):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element.text or browser.switch_to.active_element.get_attribute("id"))
    assert reached == ["Skip to the content", "Limpid", "Search", "Map", "Report", "Documents", "Ask"]
    for place in ("Search", "Map", "Report", "Documents", "Ask"):
        link = browser.find_element(By.LINK_TEXT, place)
        follow(browser, lambda link=link: link.send_keys(Keys.ENTER))
        assert browser.find_element(By.CSS_SELECTOR, "nav [aria-current=page]").text == place
        assert len(browser.find_elements(By.TAG_NAME, "h1")) >= 1 or place == "Search"
        if place == "Map":
            until(browser, lambda page: page.find_element(By.CSS_SELECTOR, "#map[data-ready]"))


def test_answers_are_streamed_and_cite_passages(browser, served):
    served.upstream.answer = f"Use cooler water [1]. {HOSTILE} [99]"
    browser.get(f"{served.address}ask")
    field = browser.find_element(By.ID, "question")
    field.send_keys("why is green tea bitter?", Keys.ENTER)
    until(browser, lambda _: texts(browser, ".answer a.label"))
    assert texts(browser, ".answer .said") == [served.upstream.answer]
    assert texts(browser, ".answer a.label") == ["1"]  # no passage has the other
    assert served.upstream.last["stream"] is True
    field.send_keys("and black tea?", Keys.ENTER)
    until(browser, lambda _: len(texts(browser, ".answer a.label")) == 2)
    assert [m["role"] for m in served.upstream.last["messages"] if m["role"] != "system"][-3:] == [
        "user", "assistant", "user",
    ]  # fmt: skip
    follow(browser, browser.find_element(By.CSS_SELECTOR, ".answer a.label").click)
    assert browser.find_element(By.ID, "passage").is_displayed()


def test_a_language_model_that_fails_is_told(browser, served):
    served.upstream.status = 500
    browser.get(f"{served.address}ask")
    browser.find_element(By.ID, "question").send_keys("why?", Keys.ENTER)
    until(browser, lambda _: "language model's server failed" in "".join(texts(browser, ".why-failed")))
    assert [entry["message"] for entry in browser.get_log("browser") if "502" not in entry["message"]] == []


def test_asking_without_scripts(browser, served):
    with emulated(browser, "Emulation.setScriptExecutionDisabled", {"value": True}, {"value": False}):
        browser.get(f"{served.address}ask")
        browser.find_element(By.ID, "question").send_keys("how long does black tea steep?")
        browser.find_element(By.CSS_SELECTOR, ".go").click()
        until(browser, lambda _: texts(browser, ".said") == ["Four minutes are enough [1]."])
        assert texts(browser, ".question") == ["how long does black tea steep?"]
        assert browser.find_element(By.CSS_SELECTOR, "#citation-1 a").get_attribute("href").endswith("#passage")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_on_a_phone_by_day_and_night(browser, served, scheme):
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    hostile = httpx.QueryParams({"id": f"hostile {HOSTILE}"})
    with (
        emulated(browser, "Emulation.setDeviceMetricsOverride", metrics, None),
        emulated(browser, "Emulation.setEmulatedMedia", features, {"features": []}),
    ):
        for page in (
            "",
            "?q=tea",
            "map?q=tea",
            "report",
            "documents",
            "ask",
            "similar?like=tea-0",
            f"document?{hostile}",
        ):
            browser.get(f"{served.address}{page}")
            if page.startswith("map"):
                until(browser, lambda page: page.find_element(By.CSS_SELECTOR, "#map[data-ready]"))
            assert script(browser, "return document.documentElement.scrollWidth") == 360, page
            paper = script(browser, "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
            assert (sum(paper) > 600) == (scheme == "light"), page

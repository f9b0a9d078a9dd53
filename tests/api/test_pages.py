"""The search page in a real browser, served by a real server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

from api.app import create_app
from core.index import Index
from core.settings import Settings
from tests.api.conftest import DOCUMENTS, HOSTILE

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic",
)  # fmt: skip
TIMEOUT_S = 20


@pytest.fixture(scope="module")
def address(index: Index) -> Iterator[str]:
    """A server on a free port of this machine."""
    app = create_app(index, Settings(offline=True))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server didn't start"
            thread.join(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A headless Chromium with a profile of its own."""
    for program in (CHROMIUM, DRIVER):
        if not program.exists():
            pytest.skip(f"{program} is missing; apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    """The browser on the empty search page; afterwards the console must be clean and no other host asked."""
    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)  # what an earlier test left over
    chromium.get(address)
    yield chromium
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(address)] == []


def follow(browser: webdriver.Chrome, act: Callable[[], None]) -> None:
    """Does something that leads to another page, and waits until that is there."""
    browser.execute_script("document.left = true")
    act()
    is_next = "return document.left === undefined && document.readyState === 'complete'"
    # While one page replaces the other the driver may fail to tell anything; asked again it does.
    waiting = WebDriverWait(browser, TIMEOUT_S, ignored_exceptions=[WebDriverException])
    waiting.until(lambda page: page.execute_script(is_next))


@contextmanager
def emulated(browser: webdriver.Chrome, command: str, given: dict, after: dict | None) -> Iterator[None]:
    """A setting of the browser for a block; `after` is what it is set to afterwards, None clears it."""
    browser.execute_cdp_cmd(command, given)
    try:
        yield
    finally:
        browser.execute_cdp_cmd(command if after is not None else command.replace(".set", ".clear"), after or {})


def search(browser: webdriver.Chrome, query: str) -> None:
    """Types a query over what is there and presses Enter."""
    field = browser.find_element(By.NAME, "q")
    field.send_keys(Keys.CONTROL, "a")
    follow(browser, lambda: field.send_keys(query, Keys.ENTER))


def press(browser: webdriver.Chrome, mode: str) -> None:
    """Clicks the switch for a mode."""
    follow(browser, browser.find_element(By.CSS_SELECTOR, f".modes button[value={mode}]").click)


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    """The visible text of every match."""
    return [found.text for found in browser.find_elements(By.CSS_SELECTOR, selector)]


def test_search_by_typing(browser: webdriver.Chrome):
    assert browser.switch_to.active_element.get_attribute("name") == "q"
    search(browser, "leaving a loop early")
    first = browser.find_element(By.CSS_SELECTOR, ".hits > li")
    assert first.find_element(By.TAG_NAME, "h2").text == "Loops in Python"
    assert first.find_element(By.CLASS_NAME, "source").text == "file:///corpus.jsonl#loops"
    assert first.find_element(By.CLASS_NAME, "best").text.startswith("A loop may be left early")
    assert {mark.text.lower() for mark in first.find_elements(By.TAG_NAME, "mark")} >= {"loop", "early"}
    legs = first.find_element(By.CLASS_NAME, "legs").text
    assert "dense #1" in legs
    assert "BM25 #1" in legs
    assert "fused 1.000" in legs
    bars = first.find_elements(By.CSS_SELECTOR, ".bar rect")
    full, dense, sparse = (bar.rect["width"] for bar in bars)
    assert dense == pytest.approx(0.6 * full, abs=1)
    assert sparse == pytest.approx(0.4 * full, abs=1)


def test_modes_keep_the_query_and_stay(browser: webdriver.Chrome):
    search(browser, "tea")
    for mode, absent in (("sparse", "dense"), ("dense", "BM25"), ("hybrid", None)):
        press(browser, mode)
        assert texts(browser, "[aria-pressed=true]") == [mode.capitalize()]
        assert browser.find_element(By.NAME, "q").get_attribute("value") == "tea"
        legs = texts(browser, ".legs")
        assert legs
        assert absent is None or not any(absent in leg for leg in legs)
    press(browser, "sparse")
    search(browser, "honey")  # Enter keeps the mode
    assert texts(browser, "[aria-pressed=true]") == ["Sparse"]


def test_filter(browser: webdriver.Chrome):
    search(browser, "tea")
    browser.find_element(By.TAG_NAME, "summary").click()
    field = browser.find_element(By.NAME, "filter")
    follow(browser, lambda: field.send_keys('topic = "nature"', Keys.ENTER))
    assert set(texts(browser, ".hits h2")) == {"Glaciers"}
    assert browser.find_element(By.NAME, "filter").get_attribute("value") == 'topic = "nature"'


def test_the_weight_shows_what_it_changes(browser: webdriver.Chrome):
    search(browser, "keep water moving under a heavy weight")
    assert browser.find_elements(By.CLASS_NAME, "moved") == []
    before = texts(browser, ".hits h2 a")
    slider = browser.find_element(By.NAME, "weight")
    assert slider.get_attribute("value") == "0.6"
    assert not browser.find_element(By.ID, "weigh").is_displayed()
    slider.send_keys(Keys.HOME)  # words alone
    WebDriverWait(browser, TIMEOUT_S).until(lambda page: texts(page, ".moved"))
    assert "weight=0" in browser.current_url
    after = texts(browser, ".hits h2 a")
    assert after != before
    ups = [move for move in texts(browser, ".moved") if move.startswith("▲")]
    assert ups
    assert "changed places" in browser.find_element(By.ID, "weighed").text
    titles = browser.find_elements(By.CSS_SELECTOR, ".hits h2")
    place, title = next((i, t) for i, t in enumerate(titles) if "▲" in t.text)
    lifted = int(title.find_element(By.CLASS_NAME, "moved").text.split()[1])
    assert before.index(title.find_element(By.TAG_NAME, "a").text) <= place + lifted
    follow(browser, browser.find_element(By.ID, "reset").click)
    assert texts(browser, ".hits h2 a") == before


def test_the_weight_without_scripts(browser: webdriver.Chrome, address: str):
    with emulated(browser, "Emulation.setScriptExecutionDisabled", {"value": True}, {"value": False}):
        browser.get(f"{address}?q=tea&weight=0.2")
        assert browser.find_element(By.ID, "weigh").is_displayed()
        assert browser.find_element(By.ID, "share").text == "0.20"
        assert browser.find_element(By.ID, "reset").is_displayed()


def test_facets_narrow_down_and_open_up_again(browser: webdriver.Chrome):
    search(browser, "water")
    assert {text.split()[0] for text in texts(browser, ".facet a")} >= {"drinks", "nature"}
    follow(browser, browser.find_element(By.PARTIAL_LINK_TEXT, "nature").click)
    assert set(texts(browser, ".hits h2")) == {"Glaciers"}
    assert [chip.split(" ×")[0] for chip in texts(browser, ".chip")] == ['topic = "nature"']
    press(browser, "dense")  # what was chosen stays
    assert set(texts(browser, ".hits h2")) == {"Glaciers"}
    follow(browser, browser.find_element(By.CSS_SELECTOR, ".chip").click)
    assert len(set(texts(browser, ".hits h2"))) > 1


def test_a_hit_opens_in_its_surroundings(browser: webdriver.Chrome):
    search(browser, "crevasses open where ice stretches")
    follow(browser, browser.find_element(By.CSS_SELECTOR, ".hits h2 a").click)
    assert browser.find_element(By.TAG_NAME, "h1").text == "Glaciers"
    passage = browser.find_element(By.ID, "passage")
    assert passage.text.startswith("Meltwater that reaches the bed")
    assert {mark.text for mark in passage.find_elements(By.TAG_NAME, "mark")} >= {"Crevasses", "stretches"}
    assert browser.find_element(By.CLASS_NAME, "text").text.count("A glacier is a river of ice") == 1


def test_more_and_less_like_this(browser: webdriver.Chrome):
    search(browser, "tea")
    follow(browser, browser.find_element(By.CLASS_NAME, "more-like").click)
    assert [chip.split(" ×")[0] for chip in texts(browser, ".chip")] == ["Brewing tea › Part 2"]
    hits = texts(browser, ".hits h2")
    assert hits[0] == "Brewing tea"
    follow(browser, browser.find_element(By.CLASS_NAME, "less-like").click)
    assert len(texts(browser, ".chip")) == 2
    assert "Unlike" in texts(browser, ".examples")[1]
    assert texts(browser, ".hits h2") != hits
    follow(browser, browser.find_elements(By.CLASS_NAME, "chip")[1].click)
    assert texts(browser, ".hits h2") == hits


def test_a_long_passage_unfolds(browser: webdriver.Chrome):
    search(browser, "squeaking chain")
    first = browser.find_element(By.CSS_SELECTOR, ".hits > li")
    excerpt, whole = first.find_elements(By.CLASS_NAME, "passage")
    assert excerpt.is_displayed()
    assert not whole.is_displayed()
    assert "squeaks" in excerpt.find_element(By.CLASS_NAME, "best").text
    first.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert not excerpt.is_displayed()
    assert whole.text == DOCUMENTS[3].text


def test_hostile_text_stays_text(browser: webdriver.Chrome):
    query = f"volcanoes {HOSTILE}"
    search(browser, query)
    assert browser.find_element(By.NAME, "q").get_attribute("value") == query
    assert browser.title.startswith("volcanoes <script>")
    assert texts(browser, ".hits h2")[0] == f"Title {HOSTILE}"
    assert f"{HOSTILE} & &amp; </strong></mark>. Lava" in texts(browser, ".passage")[0]
    assert browser.find_elements(By.CSS_SELECTOR, "main script, main img, iframe, [onerror]") == []


def test_keyboard_reaches_everything_in_order(browser: webdriver.Chrome):
    search(browser, "tea")
    browser.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(16):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        reached.append(element.get_attribute("value") or element.text.replace("\n", " "))
    assert reached == [
        "Skip to the content", "Limpid", "Search", "Map", "Report", "Documents", "Ask",
        "tea", "hybrid", "hybrid", "dense", "sparse", "Filter", "0.6", "code 2", "drinks 2",
    ]  # fmt: skip


def test_dark_mode(browser: webdriver.Chrome):
    def lightness(scheme: str) -> tuple[int, int]:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        style = browser.find_element(By.TAG_NAME, "body").value_of_css_property
        return _brightness(style("background-color")), _brightness(style("color"))

    paper, ink = lightness("light")
    assert paper > 700
    assert ink < 150
    paper, ink = lightness("dark")
    assert paper < 150
    assert ink > 600
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def _brightness(color: str) -> int:
    """Sum of red, green and blue of `rgba(r, g, b, a)`."""
    return sum(int(part) for part in color.partition("(")[2].rstrip(")").split(",")[:3])


@pytest.mark.parametrize("path", ["", "?q=tea", "?q=volcanoes", "?q=loops+count", "?q=tea&filter=" + "x" * 300])
def test_a_phone_scrolls_in_one_direction(browser: webdriver.Chrome, address: str, path: str):
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        browser.get("about:blank")
        browser.get_log("performance")
        browser.get(address + path)
        widths = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [360, 360]
        browser.get_log("browser")  # the answer to a bad filter is a 422, which Chromium notes
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

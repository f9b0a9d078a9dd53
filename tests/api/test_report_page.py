"""The report's page in a real browser, opened as a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from eval.diagnose import diagnose
from eval.map import MapOptions, draw_map
from eval.page import render_html
from eval.report import build_report
from tests.eval.corpus import topical_corpus

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium isn't installed")
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

from tests.api.test_pages import TIMEOUT_S, chromium  # noqa: E402, F401

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>"


@pytest.fixture(scope="module")
def made() -> dict:
    """A report on muddy chunks of a hostile corpus, with a query."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("eval.map.honesty.N_RUNS", (0, 0))
        sample, _ = topical_corpus(150, muddy=15)
        chunks = [replace(c, text=HOSTILE + c.text, title=HOSTILE, metadata={"team": f"t{i % 3}"}) for i, c in
                  enumerate(sample.chunks)]  # fmt: skip
        diagnosis = diagnose(replace(sample, chunks=[replace(c, end=c.end + len(HOSTILE)) for c in chunks]))
        options = MapOptions(queries=[("q", f"what is {HOSTILE}?")], query_vectors=sample.vectors[:1])
        return build_report(diagnosis, draw_map(diagnosis, options), corpus=HOSTILE)


@pytest.fixture
def opened(chromium: webdriver.Chrome, tmp_path: Path) -> Iterator[Callable[[dict], webdriver.Chrome]]:  # noqa: F811
    """Opens a report's page; afterwards the console must be clean and nothing but the file asked for."""
    (tmp_path / "report.html").touch()
    address = (tmp_path / "report.html").as_uri()

    def open_report(report: dict, width: int = 1200) -> webdriver.Chrome:
        (tmp_path / "report.html").write_text(render_html(report), encoding="utf-8")
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        chromium.get(address)
        return chromium

    chromium.get("about:blank")
    for kind in ("browser", "performance"):
        chromium.get_log(kind)
    yield open_report
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert chromium.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:")} == {address}


def panel(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.ID, "passage").text


COLOURS = """
    const map = document.getElementById('map'), copy = document.createElement('canvas'), seen = new Set();
    [copy.width, copy.height] = [map.width, map.height];
    const pen = copy.getContext('2d', { willReadFrequently: true });
    pen.drawImage(map, 0, 0);
    const data = pen.getImageData(0, 0, copy.width, copy.height).data;
    for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 190) seen.add((data[i] >> 4 << 8) + (data[i + 1] >> 4 << 4) + (data[i + 2] >> 4));
    return seen.size"""
ON_SCREEN = """
    const box = document.getElementById('map').getBoundingClientRect();
    const { x, y } = JSON.parse(document.getElementById('map-data').textContent);
    const [left, right, top, bottom] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
    const fit = Math.min((box.width - 36) / (right - left), (box.height - 36) / (bottom - top));
    return [(arguments[0] - (left + right) / 2) * fit, (arguments[1] - (top + bottom) / 2) * fit].map(Math.round)"""
FRAME_MS = """
    const done = arguments[0], from = performance.now();
    let left = 10;
    const step = () => {
        if (!left--) return done((performance.now() - from) / 10);
        document.getElementById(left % 2 ? 'zoom-in' : 'zoom-out').click();
        requestAnimationFrame(step);
    };
    step()"""


def colours(browser: webdriver.Chrome) -> int:
    """How many different colours the canvas shows, by four bits a channel."""
    return browser.execute_script(COLOURS)


def test_hostile_text_stays_text(opened, made):
    browser = opened(made)
    assert "owned" not in browser.title.replace(HOSTILE, "")
    assert browser.find_elements(By.CSS_SELECTOR, "main img, iframe, [onerror]") == []
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    assert HOSTILE in browser.find_element(By.TAG_NAME, "h4").text


def test_a_finding_shows_its_point_and_the_point_its_finding(opened, made):
    browser = opened(made)
    button = browser.find_element(By.CSS_SELECTOR, ".show")
    assert button.is_displayed()
    button.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "map"
    said = panel(browser)
    assert f"chunk {made['flags'][0]['subject']}" in said
    assert "muddy chunk" in said
    browser.find_element(By.CSS_SELECTOR, "#passage a").send_keys(Keys.ENTER)
    assert browser.current_url.endswith("#finding-0")
    browser.find_element(By.ID, "clear").send_keys(Keys.ENTER)
    assert "arrow keys" in panel(browser)


def test_the_map_by_keyboard(opened, made):
    browser = opened(made)
    canvas = browser.find_element(By.ID, "map")
    seen = []
    for key in ("n", "n", "p", Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        canvas.send_keys(key)
        seen.append(panel(browser))
    assert seen[0] == seen[2] != seen[1]
    assert seen[3] != seen[2]
    for key, grows in (("+", True), ("+", True), ("-", False), ("0", False)):
        before = float(canvas.get_attribute("data-zoom"))
        canvas.send_keys(key)
        assert (float(canvas.get_attribute("data-zoom")) > before) == grows
    assert float(canvas.get_attribute("data-zoom")) == 1
    canvas.send_keys(Keys.ESCAPE)
    assert "arrow keys" in panel(browser)


def test_the_map_by_mouse(opened, made):
    browser = opened(made)
    canvas = browser.find_element(By.ID, "map")
    browser.execute_script("arguments[0].scrollIntoView({ behavior: 'instant' })", canvas)
    query = made["map"]["queries"][0]
    place = browser.execute_script(ON_SCREEN, query["x"], query["y"])
    ActionChains(browser).move_to_element_with_offset(canvas, *place).perform()
    WebDriverWait(browser, TIMEOUT_S).until(lambda _: f"what is {HOSTILE}?" in panel(browser))
    ActionChains(browser).move_to_element(canvas).click().scroll_by_amount(0, 0).perform()
    ActionChains(browser).double_click(canvas).perform()
    assert float(canvas.get_attribute("data-zoom")) == 2
    whole = browser.find_element(By.ID, "whole")
    browser.execute_script("arguments[0].scrollIntoView({ behavior: 'instant', block: 'center' })", whole)
    whole.click()
    assert float(canvas.get_attribute("data-zoom")) == 1


def test_colours_change_without_a_rebuild(opened, made):
    browser = opened(made)
    choice = Select(browser.find_element(By.ID, "colour"))
    shown = {}
    for option in ("source", "topic", "finding", "place", "team"):
        choice.select_by_value(option)
        legend = browser.find_element(By.ID, "legend")
        shown[option] = [item.text for item in legend.find_elements(By.CSS_SELECTOR, "button span:first-of-type")]
        assert colours(browser) > 2
    assert shown["team"] == ["t0", "t1", "t2"]
    assert shown["finding"] == ["muddy chunk", "block of boilerplate", "no finding"]
    first = browser.find_element(By.CSS_SELECTOR, "#legend button")
    first.click()
    assert browser.find_element(By.CSS_SELECTOR, "#legend button").get_attribute("aria-pressed") == "true"


def test_fifty_thousand_points_are_drawn_in_a_moment(opened, made):
    places = list(range(150)) * 334
    spread = [(i % 224 / 224, i // 224 / 224) for i in range(len(places))]
    points = [
        made["map"]["points"][p] | {"x": round(x, 4), "y": round(y, 4), "text": "", "chunk_id": str(i)}
        for i, (p, (x, y)) in enumerate(zip(places, spread, strict=True))
    ]
    colourings = [c | {"of": [c["of"][p] for p in places]} for c in made["map"]["colourings"]]
    browser = opened(made | {"map": made["map"] | {"points": points, "colourings": colourings}})
    assert browser.find_elements(By.CSS_SELECTOR, "svg.map") == []
    took_ms = browser.execute_async_script(FRAME_MS)
    assert took_ms < 400  # a frame; some 40 ms on a machine that does nothing else
    assert colours(browser) > 2


def test_without_scripts_the_map_is_a_picture(opened, made):
    opened({**made, "map": None})  # the file exists
    browser = opened(made)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        assert browser.find_element(By.CSS_SELECTOR, "svg.map").is_displayed()
        assert not browser.find_element(By.ID, "map").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, ".show").is_displayed()
        assert not browser.find_element(By.CLASS_NAME, "controls").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_paper(opened, made, scheme):
    browser = opened(made)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    style = browser.execute_script("""
        const of = e => getComputedStyle(e), body = of(document.body), note = of(document.querySelector('.note'));
        return [body.backgroundColor, body.color, note.color].map(c => c.match(/[\\d.]+/g).slice(0, 3).map(Number))""")
    paper, ink, soft = map(_luminance, style)
    assert (paper > 0.5) == (scheme == "light")
    for other, least in ((ink, 7), (soft, 4.5)):  # WCAG 2.2: AAA and AA
        assert (max(paper, other) + 0.05) / (min(paper, other) + 0.05) >= least


def _luminance(rgb: list[float]) -> float:
    """Relative luminance of WCAG 2.2."""
    linear = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_phone_scrolls_in_one_direction(opened, made):
    browser = opened(made, width=360)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 360


def test_it_prints_with_its_map(opened, made):
    browser = opened(made)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.find_element(By.CSS_SELECTOR, "svg.map").is_displayed()
        assert not browser.find_element(By.ID, "map").is_displayed()
        assert not browser.find_element(By.CLASS_NAME, "controls").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

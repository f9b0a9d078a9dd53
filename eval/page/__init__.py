"""The report's page: one HTML file that opens offline; every text of the corpus is escaped."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

from eval.kinds import SURE, kind_of, ordered
from eval.page.evidence import label, number, rows_of

FLAGS_SHOWN = 100  # of a kind on the page; the JSON has all
FLAGS_OPEN = 5
STATIC_POINTS = 2000  # drawn without JavaScript, and on paper
QUERIES_SHOWN = 200  # on the page's list
SIDE = 1000.0  # of the static map, in its own units
PALETTE = 8
_FOLDER = Path(__file__).parent


def render_html(report: Mapping[str, object]) -> str:
    """The page of a report as `eval.report.build_report` makes it; the same for the same report.

    No request leaves it: a content security policy forbids all, and allows the one script by its hash.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "label": label, "rows": rows_of}
    environment.tests["scalar"] = lambda value: not isinstance(value, Mapping | list)
    script = _file("map.js")
    found = list(enumerate(report["flags"]))
    kinds = kinds_of(report)
    listed = {kind: [(place, flag) for place, flag in found if flag["kind"] == kind] for kind in kinds}
    shown = {place for some in listed.values() for place, _ in some[:FLAGS_SHOWN]}
    drawn = report["map"] if report["map"] and report["map"]["points"] else None
    return environment.get_template("report.html.j2").render(
        report=report,
        corpus=report["corpus"],
        kind_of=kind_of,
        listed=listed,
        n_sure=sum(flag["confidence"] >= SURE for flag in report["flags"]),
        flags_shown=FLAGS_SHOWN,
        flags_open=FLAGS_OPEN,
        sure=SURE,
        queries_shown=QUERIES_SHOWN,
        style=_file("style.css"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        map=drawn,
        picture=_picture(drawn) if drawn else None,
        data=_script_json(map_data(report, shown)) if drawn else "",
    )


@cache
def _file(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _colouring(drawn: Mapping) -> Mapping:
    return next((c for c in drawn["colourings"] if c["name"] == drawn["colour"]), drawn["colourings"][0])


def shades(colouring: Mapping) -> list[int]:
    """The place in the palette of each label: the last, grey one for all the rest."""
    return [
        PALETTE - 1 if name == colouring["rest"] else min(place, PALETTE - 1)
        for place, name in enumerate(colouring["labels"])
    ]


def _picture(drawn: Mapping) -> dict[str, object]:
    """What the page shows of a map before any script runs: legend, words for it, and the points where they are few."""
    colouring = _colouring(drawn)
    shade = shades(colouring)
    points = list(zip(drawn["points"], colouring["of"], strict=True))
    points.sort(key=lambda pair: bool(pair[0]["flags"]))  # marked ones on top
    heights = [point["y"] for point in drawn["points"]] + [query["y"] for query in drawn["queries"]]
    counts = Counter(colouring["of"])
    flagged = Counter(label for point, label in points if point["flags"])
    return {
        "title": colouring["title"],
        "is_ordered": colouring["is_ordered"],
        "legend": [(name, shade[i], counts[i], flagged[i]) for i, name in enumerate(colouring["labels"])],
        "points": [(point["x"] * SIDE, point["y"] * SIDE, shade[of], bool(point["flags"])) for point, of in points]
        if len(points) <= STATIC_POINTS
        else [],
        "top": min(heights) * SIDE - 30,
        "height": (max(heights) - min(heights)) * SIDE + 60,
        "radius": 4.5 if len(points) <= 1000 else 3.0,
    }


def kinds_of(report: Mapping) -> list[str]:
    """The kinds of findings in a report, those that limit retrieval first."""
    limiting = [step["kind"] for step in report["steps"]]
    return sorted(ordered(flag["kind"] for flag in report["flags"]), key=lambda kind: kind not in limiting)


def map_data(report: Mapping, shown: Collection[int] = ()) -> dict[str, object]:
    """What the script needs of a report with a map, in columns; `shown` are the findings that its page lists."""
    drawn = report["map"]
    points = drawn["points"]
    return {
        "unit": drawn["unit"],
        "x": [point["x"] for point in points],
        "y": [point["y"] for point in points],
        "id": [point.get("chunk_id", point["document_id"]) for point in points],
        "document": [point["document_id"] for point in points] if drawn["unit"] == "chunks" else None,
        "name": [point["name"] for point in points],
        "text": [point["text"] for point in points],
        "unstable": [place for place, point in enumerate(points) if point["unstable"]],
        "colour": drawn["colour"],
        "colourings": [
            {"name": c["name"], "labels": c["labels"], "shades": shades(c), "ordered": c["is_ordered"], "of": c["of"]}
            for c in drawn["colourings"]
        ],
        "links": drawn["links"],
        "flags": [
            [kind_of(flag["kind"]).singular, round(100 * flag["confidence"]), place in shown]
            for place, flag in enumerate(report["flags"])
        ],
        "queries": [[q["text"], q["x"], q["y"], q["nearest"]] for q in drawn["queries"]],
    }


def _script_json(value: object) -> str:
    """JSON that is inert inside a script element: no <, > or & survives, nor the two line ends JavaScript knows."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text

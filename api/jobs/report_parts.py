"""A report as it is kept: with what a server's own pages show, since the serving process imports no evaluation."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from api.fixing import SURE, plan_of, split_places
from api.jobs.report import MAP, PAGE, PARTS, PLACES, REPORT, begin, keep
from core.errors import LimpidError
from core.settings import Settings
from eval.diagnose import Diagnosis
from eval.kinds import kind_of
from eval.page import kinds_of, map_data
from eval.page.evidence import rows_of

LISTED = 50  # findings of a kind


def keep_made(
    settings: Settings, about: Mapping[str, Any], report: Mapping[str, Any], page: Path, diagnosis: Diagnosis
) -> str | None:
    """Keep a report that was made while this process held the embedded index, for a server's pages, answers and tools.

    `about` is what `api.jobs.report.about` gave when the index was read, `page` where the report was written. Returns
    why it can't be kept, None where it is; one of an index on a Qdrant server is left to the servers that serve it.
    """
    if settings.is_server:
        return None
    try:
        folder = begin(settings)
        try:
            shutil.copyfile(page, folder / PAGE)
            write_parts(report, diagnosis, folder)
            keep(settings, folder, dict(about))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except LimpidError as error:
        return str(error)
    except OSError as error:
        return f"{settings.index} can't be written: {error.strerror}."
    return None


def write_parts(report: Mapping[str, Any], diagnosis: Diagnosis, folder: Path) -> None:
    """Write the report as JSON, what `findings` and `places` return, and the map as its script takes it, to a folder.

    A map of documents isn't kept: a server's pages show the chunks that a search has found.
    """
    drawn = report["map"]
    drawn = drawn if drawn and drawn["points"] and drawn["unit"] == "chunks" else None
    _write(folder / REPORT, report)
    _write(folder / PARTS, findings(report, diagnosis))
    _write(folder / MAP, map_data(report) if drawn else {})
    _write(folder / PLACES, places(drawn) if drawn else {})


def findings(report: Mapping[str, Any], diagnosis: Diagnosis) -> dict[str, Any]:
    """The kinds of findings by weight, each with its words, its first findings, and what can be done about it.

    `plan` holds what doing it takes: `splits` by document id, and repeated `texts`.
    """
    todo = plan_of(diagnosis, (), SURE)
    steps = [asdict(step) for step in todo.steps]
    return {
        "kinds": [_kind(report, kind, [step for step in steps if step["kind"] == kind]) for kind in kinds_of(report)],
        "plan": {"splits": split_places(todo), "texts": list(todo.texts)},
        "counts": {"flags": len(report["flags"]), "documents": report["corpus"].get("n_documents"),
                   "chunks": report["corpus"].get("n_chunks")},
        "verdict": report["verdict"],
        "steps": report["steps"],
    }  # fmt: skip


def places(drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Where every point stands on the map, by chunk, and the map in words: how many have which label."""
    points = drawn["points"]
    words = [
        {"name": c["name"], "title": c["title"], "labels": c["labels"], "n": _counts(c)}
        for c in drawn["colourings"]
    ]  # fmt: skip
    about = {name: drawn[name] for name in drawn if name not in ("points", "colourings", "links", "queries")}
    return {
        "id": [point["chunk_id"] for point in points],
        "x": [point["x"] for point in points],
        "y": [point["y"] for point in points],
        "colourings": words,
        "about": about,
    }


def _kind(report: Mapping[str, Any], name: str, steps: list[dict[str, Any]]) -> dict[str, Any]:
    kind = kind_of(name)
    found = [(place, flag) for place, flag in enumerate(report["flags"]) if flag["kind"] == name]
    return {
        "kind": name,
        "title": kind.plural if kind.plural and len(found) > 1 else kind.singular,
        "meaning": kind.meaning,
        "readers": kind.readers,
        "action": kind.action,
        "commands": list(kind.commands),
        "limits": any(step["kind"] == name for step in report["steps"]),
        "n": len(found),
        "steps": steps,
        "findings": [
            {
                "place": place,
                "subject": flag["subject"],
                "about": report["subjects"].get(flag["subject"]),
                "confidence": flag["confidence"],
                "rows": [asdict(row) for row in rows_of(flag["evidence"])],
                "null": flag["evidence"].get("null"),
                "action": flag["action"],
            }
            for place, flag in found[:LISTED]
        ],
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _counts(colouring: Mapping[str, Any]) -> list[int]:
    counts = Counter(colouring["of"])
    return [counts[label] for label in range(len(colouring["labels"]))]

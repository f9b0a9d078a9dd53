"""The page of the map: the last report's, with a query and its hits on it."""

from __future__ import annotations

from typing import Any

from fastapi import Response
from fastapi.responses import FileResponse

from api import pages
from api.jobs.report import MAP, KeptReport, kept_report
from api.pages.atlas import axis_colouring, place_query
from api.pages.hits import Shown, shown_hits
from api.routes.jobs import Queue
from api.routes.pages.documents import ABOUT_REPORTS, latest
from api.routes.pages.failing import check_length, page_router
from api.schemas import MAX_QUERY_CHARACTERS
from api.serving.live import LiveIndex
from api.serving.tenants import Caller, Live
from core.errors import NotFound
from core.index import Index
from search.retriever import Retriever

N_HITS = 20
MAX_POLE_CHARACTERS = 1000
router = page_router()


@router.get("/map")
def map_page(
    live: Live, caller: Caller, queue: Queue, q: str = "", toward: str = "", away: str = "", finding: str = ""
) -> Response:
    """The map of the last report; a query's hits are marked and listed. `toward` and `away` make an axis of colours."""
    kept = kept_report(live.settings)
    places = kept.places() if kept else {}
    shown: dict[str, Any] = {"hits": [], "placed": None, "asked": {}, "is_current": True}
    if places:
        shown |= _shown(live, kept, places, q, toward, away)
        shown["asked"] |= {"finding": int(finding)} if finding.isdecimal() and len(finding) < 8 else {}
    jobs = latest(queue, ABOUT_REPORTS, 1) if not places else []
    texts = {"query": q, "toward": toward, "away": away}
    return pages.render("map", caller, kept=kept, places=places, jobs=jobs, kind="report", **texts, **shown)


@router.get("/map.json")
def map_data(live: Live, made: str = "") -> Response:
    """The points of the last report's map, as its script takes them. What was `made` when doesn't change."""
    kept = kept_report(live.settings)
    if kept is None:
        raise NotFound("No report was made of this index yet, so there is no map.")
    caching = "private, max-age=86400" if made == kept.made else "no-store"
    return FileResponse(kept.folder / MAP, media_type="application/json", headers={"Cache-Control": caching})


@router.get("/static/map.js")
def map_script() -> Response:
    """What draws the map, here and in a report's own page."""
    return FileResponse(pages.MAP_SCRIPT, media_type="text/javascript")


def _shown(live: LiveIndex, kept: KeptReport, places: dict, q: str, toward: str, away: str) -> dict[str, Any]:
    check_length("query", q, MAX_QUERY_CHARACTERS)
    check_length("first concept", toward, MAX_POLE_CHARACTERS)
    check_length("second concept", away, MAX_POLE_CHARACTERS)

    def find(index: Index, retriever: Retriever) -> dict[str, Any]:
        asked: dict[str, Any] = {}
        hits: list[Shown] = []
        placed = None
        if q.strip():
            results = retriever.search(q, N_HITS, explain=True)
            hits = shown_hits(results.hits, results.mode, index.analyzer, 1.0, q)
            placed = place_query(q, results.hits, places)
            asked = placed.to_json() if placed else {}
        if toward.strip() and away.strip():
            asked["axis"] = axis_colouring(index, toward, away, places)
        return {"hits": hits, "placed": placed, "asked": asked, "is_current": kept.is_of(index)}

    return live.answer(find)

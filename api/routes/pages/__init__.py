"""The web pages' addresses. All lie at the top, so that links between them hold behind any prefix."""

from __future__ import annotations

from fastapi import APIRouter

from api.routes.pages import ask, documents, maps, report, search

router = APIRouter(include_in_schema=False)
for part in (search, documents, report, maps, ask):
    router.include_router(part.router)

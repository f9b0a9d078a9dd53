"""Pages answer failures with a page, where the API answers with a problem document."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute

from api import pages
from api.failures import http_status
from api.serving.problems import public_detail
from api.serving.tenants import key_of
from core.errors import InputError, LimpidError

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route whose expected failures are shown as a page."""

    def get_route_handler(self) -> Handler:
        """See `APIRoute`."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            try:
                return await handle(request)
            except LimpidError as error:
                status, title = http_status(error)
                return failed(request, status, title, public_detail(error)[0])
            except RequestValidationError as error:
                told = " ".join(f"{fault['loc'][-1]}: {fault['msg']}." for fault in error.errors())
                return failed(request, 422, "Unusable input", told)

        return handle_page


def page_router() -> APIRouter:
    """A router for pages."""
    return APIRouter(default_response_class=HTMLResponse, include_in_schema=False, route_class=PageRoute)


def check_length(name: str, text: str, limit: int) -> None:
    """Raises `InputError` for a text of a page's form that is over its limit, in characters."""
    if len(text) > limit:
        raise InputError(f"The {name} has {len(text):,} characters; the limit is {limit:,}. Shorten it.")


def failed(request: Request, status: int, title: str, detail: str) -> Response:
    """The page that says what went wrong and what to do."""
    return pages.render("failed", key_of(request), status, title=title, detail=detail)

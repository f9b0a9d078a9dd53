"""What every request passes first: the host and origin, the key, the limit of its size; and every answer's headers."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from http import HTTPStatus
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import pages
from api.serving.keys import ANYONE, THIS_MACHINE, Key, KeyRing
from api.serving.problems import problem
from api.serving.rates import Allowance, Rates, address_of

MAX_BODY_BYTES = 64 * 1024
LARGER_BODIES = {"/v1/chat/completions": 1024 * 1024}  # a conversation comes as a whole every time
BODY_S = 30.0  # within which a body has to be there
# These go to disk as they come, within limits of their own.
STREAMED = frozenset({("POST", "/v1/documents"), ("POST", "/documents")})
FAILURES_PER_MINUTE = 60  # requests without a valid key from one address; a key is far beyond guessing at any rate
PAGES = frozenset(
    f"/{name}"
    for name in (
        "", "similar", "document", "documents", "jobs", "delete", "report", "report.html", "fix", "map", "map.json",
        "ask",
    )
)  # fmt: skip
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# Scripts from files of this server alone, no frame, no other host: whatever a document holds, the browser runs none of
# it. A page's own forms say where they come from (Origin is null without a referrer), and no other site learns it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # What a key may read is nobody else's, and the next request may find it changed.
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization",
}


class Access:
    """ASGI middleware: refuses requests that a foreign page sends (403), that name a foreign host (421), that have no
    valid key (401), that are too many (429), and bodies over the limit (413). The key that a request came with is its
    `state.key`.

    With keys only the health checks, the API's description and the pages' static files are open. Pages take the key as
    an HTTP Basic password too, so that a browser can ask for it. A browser then sends it along whoever has made it ask,
    so it counts only where nothing is changed, or where the request says that it comes from this server's own pages;
    the API takes it from those alone. Without keys every request passes that names the
    server by an address, as localhost, or as one of `allowed_hosts`: another name may be an attacker's, made to point
    here so that a page of his can read the answers (DNS rebinding).

    A key may send `rate_per_minute` requests, or as many as it has been made with; without keys a client's address may.
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, allowed_hosts: str = "", rate_per_minute: int | None = None):
        self._app = app
        self._ring = ring
        self._rate = rate_per_minute
        self._known, self._strangers = Rates(), Rates()  # apart, so that no crowd of strangers displaces a key
        self._allowed = {"localhost", *(name.strip().lower() for name in allowed_hosts.split(","))} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # there are none, and what is checked below isn't checked of them
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = dict(HEADERS)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in told.items():
                    headers.setdefault(name, value)  # a report's page has a policy of its own
            await send(message)

        refusal = self._refusal(scope, told)
        if refusal is None and (scope["method"], scope["path"]) not in STREAMED:
            try:
                with anyio.fail_after(BODY_S):
                    body = await _read(scope, receive)
            except ClientDisconnect:
                return  # nobody is left to answer, and half a body is no request
            except TimeoutError:
                body, refusal = b"", _too_slow()
            if body is None:
                refusal = _too_large(_body_limit(scope))
            else:
                receive = _replayed(body, receive)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope, told: dict[str, str]) -> Response | None:
        """What is answered in the place of what was asked for, None where it may be; adds to the headers `told`."""
        path, headers = scope["path"], Headers(scope=scope)
        key = self._key(scope["method"], path, headers)
        scope.setdefault("state", {})["key"] = key or ANYONE
        is_open = path in OPEN or path.startswith("/static/")
        if key is None and not is_open:
            failures = self._strangers.take(_address(scope), FAILURES_PER_MINUTE)
            if failures.is_exceeded:
                return _too_many("Without a valid key", failures)
            return _unauthorized(path, takes_password=path in PAGES or _is_own_page(headers))
        if not self._ring.is_locked and not self._is_own(headers.get("host", "")):
            return _misdirected(headers.get("host", ""))
        if scope["method"] not in READING and _is_foreign(headers):
            return problem(403, "Forbidden", "A page of another site sent this. Send it from this server's own pages.")
        allowance = None if key is None or is_open else self._allowance(scope, key)
        if allowance:
            told |= allowance.headers()
        return _too_many("With this key", allowance) if allowance and allowance.is_exceeded else None

    def _allowance(self, scope: Scope, key: Key) -> Allowance | None:
        limit = key.rate or self._rate
        if limit is None or key.name == THIS_MACHINE:
            return None
        return self._known.take(key.digest or _address(scope), limit)

    def _key(self, method: str, path: str, headers: Headers) -> Key | None:
        if not self._ring.is_locked:
            return ANYONE
        takes_password = (path in PAGES and method in READING) or _is_own_page(headers)
        return self._ring.find(_given_secret(headers.get("authorization", ""), takes_password))

    def _is_own(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._allowed or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another origin sent the request; other clients say nothing."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


def _is_own_page(headers: Headers) -> bool:
    """Whether a browser says that one of this server's own pages sent the request."""
    if _is_foreign(headers):
        return False
    return "origin" in headers or headers.get("sec-fetch-site") == "same-origin"


def _given_secret(authorization: str, accept_basic: bool) -> str:
    """The key in an Authorization header, empty where there is none."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        if scheme.lower() == "bearer":
            return credentials.strip().encode("latin-1").decode()  # ASGI servers decode headers as Latin-1
        if scheme.lower() == "basic" and accept_basic:
            return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2].decode()
    except (binascii.Error, ValueError):
        return ""
    return ""


def _unauthorized(path: str, takes_password: bool) -> Response:
    challenge = 'Bearer realm="Limpid"'
    if takes_password:
        challenge = f'Basic realm="Limpid", charset="UTF-8", {challenge}'
    if path in PAGES:
        return pages.locked_page(challenge)
    detail = "This address needs a valid key. Send it as a header: Authorization: Bearer KEY."
    return problem(401, "Unauthorized", detail, headers={"WWW-Authenticate": challenge})


def _too_many(who: str, allowance: Allowance) -> Response:
    detail = f"{who}, {allowance.limit:,} requests may come in a minute. Try again in {allowance.reset_s} seconds."
    return problem(429, HTTPStatus(429).phrase, detail, headers=allowance.headers())


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return address_of(client[0]) if client else ""


def _misdirected(host: str) -> Response:
    detail = (
        f"A server without keys answers to addresses and localhost only, not to {host[:100]!r}. Ask for it by its "
        "address, set LIMPID_ALLOWED_HOSTS to the name, or set LIMPID_API_KEYS."
    )
    return problem(421, "Misdirected Request", detail)


def _body_limit(scope: Scope) -> int:
    return LARGER_BODIES.get(scope["path"], MAX_BODY_BYTES)


def _too_large(limit: int) -> Response:
    detail = f"The body is larger than {limit:,} bytes. Send a smaller one."
    return problem(413, "Body too large", detail, headers={"Connection": "close"})


def _too_slow() -> Response:
    detail = f"The body didn't come to its end within {BODY_S:g} seconds. Send it again."
    return problem(408, HTTPStatus(408).phrase, detail, headers={"Connection": "close"})


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, None where it is over the limit."""
    limit, declared = _body_limit(scope), Headers(scope=scope).get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        return None
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":  # what has come of it isn't what was sent
            raise ClientDisconnect
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Receive:
    is_sent = False

    async def replay() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

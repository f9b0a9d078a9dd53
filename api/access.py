"""What every request passes first: the host and origin, the key, the limit of its size; and every answer's headers."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import pages
from api.keys import ANYONE, Key, KeyRing
from api.problems import problem

MAX_BODY_BYTES = 64 * 1024
PAGES = frozenset({"/"})
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
# No script, no frame, no other host: whatever a document holds, the browser runs none of it.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Access:
    """ASGI middleware: refuses requests that a foreign page sends (403), that name a foreign host (421), that have no
    valid key (401), and bodies over the limit (413). The key that a request came with is its `state.key`.

    With keys only the health checks, the API's description and the pages' static files are open; pages take the key as
    an HTTP Basic password too, so that a browser can ask for it. Without keys every request passes that names the
    server by an address, as localhost, or as one of `allowed_hosts`: another name may be an attacker's, made to point
    here so that a page of his can read the answers (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, ring: KeyRing, allowed_hosts: str = ""):
        self._app = app
        self._ring = ring
        self._allowed = {"localhost", *(name.strip().lower() for name in allowed_hosts.split(","))} - {""}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            body = await _read(scope, receive)
            if body is None:
                refusal = _too_large()
            else:
                receive = _replayed(body, receive)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        path, headers = scope["path"], Headers(scope=scope)
        key = self._key(path, headers)
        scope.setdefault("state", {})["key"] = key or ANYONE
        if key is None and path not in OPEN and not path.startswith("/static/"):
            return _unauthorized(path)
        if not self._ring.is_locked and not self._is_own(headers.get("host", "")):
            return _misdirected(headers.get("host", ""))
        if scope["method"] not in READING and _is_foreign(headers):
            return problem(403, "Forbidden", "A page of another site sent this. Send it from this server's own pages.")
        return None

    def _key(self, path: str, headers: Headers) -> Key | None:
        if not self._ring.is_locked:
            return ANYONE
        return self._ring.find(_given_secret(headers.get("authorization", ""), path in PAGES))

    def _is_own(self, host: str) -> bool:
        name = urlsplit(f"//{host}").hostname or ""
        try:
            return name in self._allowed or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another origin sent the request; other clients say nothing."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("cross-site", "same-site")
    return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


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


def _unauthorized(path: str) -> Response:
    if path in PAGES:
        challenge = 'Basic realm="Limpid", charset="UTF-8", Bearer realm="Limpid"'
        return pages.locked_page(challenge)
    detail = "This address needs a valid key. Send it as a header: Authorization: Bearer KEY."
    return problem(401, "Unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="Limpid"'})


def _misdirected(host: str) -> Response:
    detail = (
        f"A server without keys answers to addresses and localhost only, not to {host[:100]!r}. Ask for it by its "
        "address, set LIMPID_ALLOWED_HOSTS to the name, or set LIMPID_API_KEYS."
    )
    return problem(421, "Misdirected Request", detail)


def _too_large() -> Response:
    detail = f"The body is larger than {MAX_BODY_BYTES:,} bytes. Send a smaller one."
    return problem(413, "Body too large", detail, headers={"Connection": "close"})


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, None where it is over the limit."""
    declared = Headers(scope=scope).get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        return None
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
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

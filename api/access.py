"""What every request passes first: the key, the limit of its size; and the headers that every answer leaves with."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import pages
from api.problems import problem
from core.errors import ConfigError

MAX_BODY_BYTES = 64 * 1024
PAGES = frozenset({"/"})
OPEN = frozenset({"/healthz", "/readyz", "/openapi.json"})
# No script, no frame, no other host: whatever a document holds, the browser runs none of it.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def parse_keys(setting: SecretStr | None) -> tuple[bytes, ...]:
    """The bearer keys of a comma-separated setting; none where it is unset or empty.

    Raises `ConfigError` for a setting of blanks and commas: it was meant to lock, and would not.
    """
    text = setting.get_secret_value() if setting else ""
    keys = tuple(key.strip().encode() for key in text.split(",") if key.strip())
    if text and not keys:
        raise ConfigError("api_keys is set but holds no key. Give at least one (LIMPID_API_KEYS=KEY), or unset it.")
    return keys


class Access:
    """ASGI middleware: refuses requests without a valid key (401) and bodies over the limit (413).

    Without keys every request passes. With keys only the health checks, the API's description and the pages' static
    files are open; pages take the key as an HTTP Basic password too, so that a browser can ask for it.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[bytes] = ()):
        self._app = app
        self._keys = keys

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

        refusal = None if self._may_pass(scope) else _unauthorized(scope["path"])
        if refusal is None:
            body = await _read(scope, receive)
            if body is None:
                refusal = _too_large()
            else:
                receive = _replayed(body, receive)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _may_pass(self, scope: Scope) -> bool:
        path = scope["path"]
        if not self._keys or path in OPEN or path.startswith("/static/"):
            return True
        given = _given_key(Headers(scope=scope).get("authorization", ""), path in PAGES)
        # A sum, not any(): every key is compared, so that the time tells nothing.
        return sum(hmac.compare_digest(key, given) for key in self._keys) > 0


def _given_key(authorization: str, accept_basic: bool) -> bytes:
    """The key in an Authorization header, empty where there is none."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode("latin-1")  # how ASGI servers decode headers
    if scheme.lower() == "basic" and accept_basic:
        try:
            return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _unauthorized(path: str) -> Response:
    if path in PAGES:
        challenge = 'Basic realm="Limpid", charset="UTF-8", Bearer realm="Limpid"'
        return pages.locked_page(challenge)
    detail = "This address needs a valid key. Send it as a header: Authorization: Bearer KEY."
    return problem(401, "Unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="Limpid"'})


def _too_large() -> Response:
    detail = f"The body is larger than {MAX_BODY_BYTES:,} bytes. Send a smaller one."
    return problem(413, "Body too large", detail, headers={"Connection": "close"})


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """The whole body, None where it is over the limit."""
    declared = Headers(scope=scope).get("content-length", "0")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES:
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

"""Asking the `limpid serve` that holds an embedded index, in the place of opening it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from core.errors import IndexLocked, InputError, NotFound

if TYPE_CHECKING:
    from core.settings import Settings

TIMEOUT_S = 30


def document_path(document_id: str) -> str:
    """The path of a document's address; an id of dots alone would lead a level up, or nowhere."""
    quoted = quote(document_id, safe="")
    return f"/v1/documents/{quoted if quoted.strip('.') else quoted.replace('.', '%2E')}"


def find_server(settings: Settings) -> ServedIndex:
    """The server that holds the index. Raises `IndexLocked` where none has left its address."""
    from api.holder import read_holder

    holder = read_holder(settings.index)
    if holder is None:
        raise IndexLocked(f"The index {settings.index} is open in another process. Wait for it, or stop it.")
    return ServedIndex(holder.url, holder.secret)


class ServedIndex:
    """Requests to a running server.

    Each raises `IndexLocked` where the server doesn't answer, else `InputError` or `NotFound`.
    """

    def __init__(self, url: str, secret: str):
        """`secret` is sent along as key."""
        import httpx

        self.url = url
        headers = {"Authorization": f"Bearer {secret}"}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, trust_env=False)

    def __enter__(self) -> ServedIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def search(self, body: dict) -> dict:
        """POST /v1/search."""
        return self._ask("POST", "/v1/search", json=body)

    def similar(self, body: dict) -> dict:
        """POST /v1/similar."""
        return self._ask("POST", "/v1/similar", json=body)

    def walk(self, body: dict) -> dict:
        """POST /v1/walk."""
        return self._ask("POST", "/v1/walk", json=body)

    def context(self, body: dict) -> dict:
        """POST /v1/context."""
        return self._ask("POST", "/v1/context", json=body)

    def ready(self) -> dict:
        """GET /readyz."""
        return self._ask("GET", "/readyz")

    def status(self) -> dict:
        """GET /v1/status."""
        return self._ask("GET", "/v1/status")

    def copyable(self) -> dict:
        """GET /v1/copy."""
        return self._ask("GET", "/v1/copy")

    def copied(self, document_ids: Sequence[str]) -> dict:
        """POST /v1/copy."""
        return self._ask("POST", "/v1/copy", json={"document_ids": list(document_ids)})

    def documents(self) -> list[dict]:
        """All pages of GET /v1/documents."""
        found: list[dict] = []
        after: str | None = None
        while True:
            page = self.page(1000, after)
            found += page["documents"]
            after = page["next"]
            if after is None:
                return found

    def page(self, limit: int, after: str | None = None) -> dict:
        """GET /v1/documents."""
        return self._ask("GET", "/v1/documents", params={"limit": limit} | ({"after": after} if after else {}))

    def report(self) -> dict:
        """GET /v1/report."""
        return self._ask("GET", "/v1/report")

    def document(self, document_id: str, *, chunks: bool = False) -> dict:
        """GET /v1/documents/{id}."""
        return self._ask("GET", document_path(document_id), params={"chunks": chunks})

    def delete(self, document_id: str) -> dict:
        """DELETE /v1/documents/{id}."""
        return self._ask("DELETE", document_path(document_id))

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        import httpx

        try:
            answer = self._client.request(method, path, **options)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise IndexLocked(f"The server at {self.url} holds the index but doesn't answer ({error}).") from None
        if answer.status_code == httpx.codes.OK:
            return body
        detail = str(body.get("detail", answer.reason_phrase))
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise IndexLocked(f"The server at {self.url} holds the index but refuses this command. ({detail})")
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            raise IndexLocked(f"The server at {self.url} holds the index and can't do this now. ({detail})")
        raise NotFound(detail) if answer.status_code == httpx.codes.NOT_FOUND else InputError(detail)

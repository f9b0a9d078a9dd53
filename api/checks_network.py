"""What `limpid doctor` looks at on the network: the address to listen on, Qdrant, and the language model."""

from __future__ import annotations

from collections.abc import Iterator

from api.checks import Finding, fault, ok, warning
from core.errors import DependencyError
from core.settings import Settings

TIMEOUT_S = 5
N_TOLD = 5  # models of a server that has others


def address(settings: Settings) -> Iterator[Finding]:
    """Whether something else listens where `limpid serve` would; the server that holds the index may."""
    from urllib.parse import urlsplit

    from api.holder import read_holder
    from api.server import listen

    holder = None if settings.is_server else read_holder(settings.index)
    if holder and urlsplit(holder.url).port == settings.port:
        return
    try:
        listen(settings.host, settings.port).close()
    except DependencyError as error:
        yield warning("server", str(error), "Stop what listens there, unless it is the `limpid serve` that you want.")


def qdrant(settings: Settings) -> Iterator[Finding]:
    """Whether the Qdrant server answers, where the index is on one."""
    if not settings.is_server:
        return
    import httpx

    try:
        answer = httpx.get(settings.index.rstrip("/") + "/readyz", timeout=TIMEOUT_S)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        told = DependencyError(f"Qdrant at {settings.index} isn't ready: {type(error).__name__}")
        yield fault("server", told, "Start it, or set LIMPID_INDEX to its address.")
        return
    yield ok("server", f"Qdrant is ready at {settings.index}")


def chat(settings: Settings) -> Iterator[Finding]:
    """Whether the language model's server answers, takes the key and has the model, where one is configured.

    Nothing is asked of the model itself.
    """
    if not settings.chat_url and not settings.chat_model:
        return
    if not settings.chat_url or not settings.chat_model:
        lacking = "chat_url" if settings.chat_model else "chat_model"
        yield warning("chat", f"{lacking} isn't set, so nothing can be asked", f"Set LIMPID_{lacking.upper()} too.")
        return
    import httpx

    key = settings.chat_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    try:
        answer = httpx.get(settings.chat_url.rstrip("/") + "/models", headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        told = f"the language model's server at {settings.chat_url} can't be asked: {type(error).__name__}"
        yield warning("chat", told, "Start it, or correct LIMPID_CHAT_URL; searches work without it.")
        return
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        yield warning("chat", f"{settings.chat_url} refuses the key", "Correct LIMPID_CHAT_API_KEY.")
        return
    names = _listed(answer)
    if names and settings.chat_model not in names:
        told = f"{settings.chat_url} lists {', '.join(names[:N_TOLD])}, not {settings.chat_model}"
        yield warning("chat", told, "Correct LIMPID_CHAT_MODEL, unless it knows more models than it lists.")
        return
    yield ok("chat", f"{settings.chat_url} answers, for the model {settings.chat_model}")


def _listed(answer) -> list[str]:
    """The models that a server lists; none where it doesn't say, which not all do."""
    try:
        return sorted(str(model["id"]) for model in answer.json()["data"])
    except (ValueError, KeyError, TypeError):
        return []

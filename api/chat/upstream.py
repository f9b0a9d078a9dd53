"""The language model's server, and what its failures become for a client: never its address, key or own words."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any

from anyio import to_thread

from core.errors import DependencyError, NotFound
from core.settings import Settings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from api.serving.keys import Role

CONNECT_TIMEOUT_S = 10
MAX_RETRY_AFTER_S = 3600
NO_KEY = "none"  # servers on one's own machine take any
_logger = logging.getLogger("limpid.chat")


class UpstreamFailed(DependencyError):
    """The language model's server didn't answer as it should. The message is fit for a client.

    `status` and `title` are those of the problem document; `reference` leads to the reason in the log.
    """

    def __init__(self, status: int, title: str, detail: str, reference: str, retry_after_s: int | None = None):
        super().__init__(detail)
        self.status = status
        self.title = title
        self.reference = reference
        self.retry_after_s = retry_after_s


class Upstream:
    """The configured server. The client library is imported, and the connection made, when it is first asked."""

    def __init__(self, settings: Settings, watch: Callable[[], AbstractContextManager[None]] = nullcontext):
        """Nothing is checked until something is asked. `watch` is entered for the time of each answer."""
        self._settings = settings
        self._watch = watch
        self._client: AsyncOpenAI | None = None

    @property
    def model(self) -> str:
        """The name of the language model. Raises `NotFound`, saying what to set, where none is configured."""
        settings = self._settings
        lacking = [name for name in ("chat_url", "chat_model") if not getattr(settings, name)]
        if lacking:
            names = " and ".join(f"LIMPID_{name.upper()}" for name in lacking)
            raise NotFound(
                f"No language model is configured: set {names} to those of any OpenAI-compatible server and start "
                "this server anew. POST /v1/context gives the passages, ready for a prompt, without one."
            )
        return settings.chat_model

    @property
    def role(self) -> Role:
        """The role that a key needs to ask."""
        return self._settings.chat_role

    async def ask(self, messages: Sequence[dict], **parameters: Any) -> dict[str, Any]:
        """A whole answer in OpenAI's form, with a choice at least. Raises `UpstreamFailed`; `NotFound` as above."""
        model = self.model
        client = await self._opened()
        with self._asking():
            given = await client.chat.completions.create(model=model, messages=list(messages), extra_body=parameters)
            answer = given.to_dict(mode="json", warnings=False)
            _check(answer["choices"], "message")
            if not answer["choices"]:
                raise ValueError("an answer without choices")
        return answer

    async def stream(self, messages: Sequence[dict], **parameters: Any) -> AsyncIterator[dict[str, Any]]:
        """The chunks of an answer as they are made. Raises as `ask`, also after some of them."""
        model = self.model
        is_finished = False
        client = await self._opened()
        with self._asking():
            stream = await client.chat.completions.create(
                model=model, messages=list(messages), stream=True, extra_body=parameters
            )
            async with stream:
                async for given in stream:
                    chunk = given.to_dict(mode="json", warnings=False)
                    _check(chunk.get("choices") or [], "delta")
                    is_finished |= any(choice.get("finish_reason") for choice in chunk.get("choices") or [])
                    yield chunk
            if not is_finished:
                raise ValueError("the stream ended before the answer did")

    async def close(self) -> None:
        """Close the connections. It can be asked again afterwards."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._watch():
            try:
                yield
            except Exception as error:  # the library's, and whatever a server that isn't one makes it stumble over
                raise failure(error) from error

    async def _opened(self) -> AsyncOpenAI:
        if self._client is None:
            await to_thread.run_sync(import_module, "openai.resources.chat")  # which takes a second or more
            try:
                self._client = self._client or self._made()
            except Exception as error:  # an address that can't be one
                raise failure(error) from error
        return self._client

    def _made(self) -> AsyncOpenAI:
        import httpx
        from openai import AsyncOpenAI, Omit

        settings = self._settings
        key = settings.chat_api_key.get_secret_value() if settings.chat_api_key else NO_KEY
        return AsyncOpenAI(
            base_url=settings.chat_url,
            api_key=key,
            timeout=httpx.Timeout(settings.chat_timeout_s, connect=CONNECT_TIMEOUT_S),
            max_retries=0,  # the client knows best whether it still wants an answer
            # A hosted account that the environment names isn't this server's business.
            default_headers={"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()},
        )


def _check(choices: Sequence[Any], said: str) -> None:
    """Raises `ValueError` for choices that don't have the form in which they are read."""
    for choice in choices:
        spoken = choice.get(said) or {} if isinstance(choice, dict) else None
        if not isinstance(spoken, dict) or not isinstance(spoken.get("content"), str | None):
            raise ValueError("a choice that isn't one")
        choice[said] = spoken


def failure(error: Exception) -> UpstreamFailed:
    """What a client is told of an error. The log gets its kind and code under the reference, but not the server's
    words: they may repeat the conversation."""
    from openai import APIConnectionError, APIError, APIStatusError

    if isinstance(error, UpstreamFailed):
        return error
    reference = uuid.uuid4().urn
    told = f"{type(error).__name__}"
    if isinstance(error, APIError):
        told += f", code {error.code}" if error.code else ""
    if isinstance(error, APIStatusError):
        _logger.error("%s: the language model's server answered %d (%s)", reference, error.status_code, told)
        return _by_status(error.status_code, error.response.headers.get("retry-after", ""), reference)
    _logger.error("%s: the language model's server failed (%s)", reference, told)
    if "Timeout" in type(error).__name__:  # of the library, and of the transport below it while a stream is read
        detail = "The language model's server didn't answer in time. Try again, or ask for less."
        return UpstreamFailed(504, "Upstream timed out", detail, reference)
    if isinstance(error, APIConnectionError):
        detail = "The language model's server can't be reached, or broke off. Try again later; /v1/context needs none."
    else:
        detail = "The language model's server broke off, or gave an answer that isn't one. Try again."
    return UpstreamFailed(502, "Upstream failed", detail, reference)


def _by_status(status: int, retry_after: str, reference: str) -> UpstreamFailed:
    if status == 429:
        wait_s = min(int(retry_after), MAX_RETRY_AFTER_S) if retry_after.isdecimal() else None
        detail = "The language model's server has too much to do, or its quota is spent. Try again later."
        return UpstreamFailed(503, "Upstream overloaded", detail, reference, wait_s or 5)
    if status in (400, 413, 422):
        detail = (
            "The language model's server can't use this request: the conversation may be too long for it, or it may "
            "not know one of the parameters. Shorten the one, or leave out the other."
        )
        return UpstreamFailed(422, "Upstream refused", detail, reference)
    if status in (401, 403):
        detail = "The language model's server refuses this server's key. Its operator must correct LIMPID_CHAT_API_KEY."
    elif status == 404:
        detail = "The language model's server doesn't know the model. The operator must correct LIMPID_CHAT_MODEL."
    elif status in (408, 504):
        detail = "The language model's server didn't answer in time. Try again, or ask for less."
        return UpstreamFailed(504, "Upstream timed out", detail, reference)
    else:
        detail = "The language model's server failed. Try again later; POST /v1/context works without it."
    return UpstreamFailed(502, "Upstream failed", detail, reference)

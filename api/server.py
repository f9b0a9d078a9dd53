"""Running the HTTP app: one process, one socket, announced to other commands while it holds an embedded index."""

from __future__ import annotations

import ipaddress
import signal
import socket
from contextlib import ExitStack, nullcontext, suppress
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from api.app import create_app
from api.console import Console
from api.holder import announced
from api.serving import logs
from api.serving.keys import KeyRing
from core.errors import ConfigError, DependencyError
from core.index import Index
from core.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Config, Server

FINISHED_WITHIN_S = 30  # requests that take longer once the server is told to stop are cut off
# An open connection without requests is closed after this. Clients and proxies keep theirs for 5 to 60 seconds: where
# the server closed first, a request could be on its way already, and be lost.
IDLE_S = 75


def run_server(index: Index, settings: Settings, console: Console, *, is_forced: bool = False) -> None:
    """Serve until interrupted.

    Raises `ConfigError` for a public address without keys that isn't forced, `DependencyError` where the address can't
    be had.
    """
    import uvicorn

    if not is_forced and not KeyRing(settings).is_locked and not is_loopback(settings.host):
        raise ConfigError(
            f"Listening on {settings.host} would open the index to everyone who can reach it. Make a key (limpid keys "
            "add NAME) or set LIMPID_API_KEYS, listen on 127.0.0.1, or pass --force to open it."
        )
    listener = listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    url = f"http://{'127.0.0.1' if settings.host in ('0.0.0.0', '::') else settings.host}:{port}"
    index.embedder.encode_query("warm")  # compile the encoder before the first request, not during it
    if console.json:
        console.result({"url": url})
    console.note(f"Limpid serves {settings.index} at {url}  (stop with Ctrl-C)")
    secret = token_urlsafe()  # for the commands of whoever may read the folder
    logs.install(settings.log_format, quiet=console.quiet)
    app = create_app(index, settings, secret)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=FINISHED_WITHIN_S,
    )
    with listener, nullcontext() if settings.is_server else announced(settings.index, url, secret):
        # uvicorn finishes what is running, then raises the signal that stopped it anew, for us to end by.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with suppress(KeyboardInterrupt):
            _server(config, app).run(sockets=[listener])


def _server(config: Config, app: FastAPI) -> Server:
    """A server that has jobs stop when it begins to shut down: streams of their events end then, and it can too."""
    import uvicorn

    class Stopping(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.jobs.stop()
            await super().shutdown(sockets)

    return Stopping(config)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there, for its caller to close. Raises `DependencyError` where the address can't be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with ExitStack() as opened:
            listener = opened.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
            opened.pop_all()
    except OSError as error:
        raise DependencyError(f"Can't listen on {host}:{port} ({error.strerror}). Choose another --port.") from None
    return listener

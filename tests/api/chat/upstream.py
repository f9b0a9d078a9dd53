"""A small OpenAI-compatible server on this machine that records what it was asked, and the app on a real socket."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn
from fastapi import FastAPI

SECRET = "sk-upstream-secret"
MODEL = "little-model"


@dataclass
class Upstream:
    """What the server answers, and what it was asked.

    `answer` is the text of every answer, given word by word when streamed; `query` that of requests to rewrite a
    question. `status` other than 200 fails every request; `breaks_after` cuts a stream after so many words;
    `pause_s` is waited before each word. `fields` are added to every answer.
    """

    url: str = ""
    answer: str = "Four minutes are enough [1]."
    query: str = "how long should black tea steep"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    breaks_after: int | None = None
    pause_s: float = 0.0
    message: dict[str, Any] = field(default_factory=dict)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    n_sent: int = 0
    has_lost_its_client: threading.Event = field(default_factory=threading.Event)

    @property
    def last(self) -> dict[str, Any]:
        """The body of the last request."""
        return self.requests[-1]

    @property
    def prompt(self) -> str:
        """The last message of the last request."""
        return self.last["messages"][-1]["content"]

    def reset(self) -> None:
        """As it was made."""
        fresh = Upstream(self.url)
        self.__dict__.update(fresh.__dict__)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Upstream

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        """Clients may go at any time."""
        with suppress(ConnectionError):
            super().handle()

    def do_POST(self) -> None:
        state = self.state
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        state.requests.append(asked)
        state.keys.append(self.headers.get("authorization", ""))
        if state.status != 200 or state.body is not None:
            told = {"error": {"message": f"{SECRET} at {state.url} failed", "type": "t", "code": "c"}}
            self._send(state.status, state.body if state.body is not None else json.dumps(told))
        elif asked.get("stream"):
            self._stream(asked)
        else:
            if not self._keeps_its_client(state.pause_s):
                return
            is_rewriting = "search query" in asked["messages"][0]["content"]
            message = {"role": "assistant", "content": state.query if is_rewriting else state.answer, **state.message}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
            whole = {"id": "up-1", "object": "chat.completion", "created": 1, "model": "/srv/secret/model.gguf"}
            self._send(200, json.dumps(whole | {"choices": [choice], "usage": usage}))

    def _keeps_its_client(self, pause_s: float) -> bool:
        """Wait; whether the client is still there then."""
        readable, _, _ = select.select([self.connection], [], [], pause_s)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            self.close_connection = True
            self.state.has_lost_its_client.set()
            return False
        return True

    def _send(self, status: int, body: str) -> None:
        content = body.encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **self.state.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, asked: dict[str, Any]) -> None:
        state = self.state
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        words = [f"{word} " for word in state.answer.split(" ")]
        words[-1] = words[-1].rstrip()
        try:
            self._event({"role": "assistant", "content": ""})
            for place, word in enumerate(words):
                if place == state.breaks_after:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                time.sleep(state.pause_s)
                self._event({"role": "assistant", "content": word})
                state.n_sent += 1
            self._event({}, "stop")
            if (asked.get("stream_options") or {}).get("include_usage"):
                self._write({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        except OSError:
            state.has_lost_its_client.set()

    def _event(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        self._write({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})

    def _write(self, chunk: dict[str, Any]) -> None:
        known = {"id": "up-1", "object": "chat.completion.chunk", "created": 1, "model": "/srv/secret/model.gguf"}
        self._chunk(f"data: {json.dumps(known | chunk)}\n\n".encode())

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()


@contextmanager
def running_upstream() -> Iterator[Upstream]:
    """The server, on a free port."""
    state = Upstream()
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """The app on a real uvicorn in a thread; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        server.install_signal_handlers = lambda: None
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            until(lambda: server.started)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def until(is_so: Callable[[], bool], limit_s: float = 20) -> None:
    """Wait for something to come true; fails where it doesn't."""
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)

"""A model hub on this machine: just enough of the Hugging Face hub's protocol to download a model from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a" * 40


@contextmanager
def serve_model(name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the files of `folder` as the model `name`; yields the hub's address and the requests it got."""
    requests: list[str] = []
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            requests.append(self.path)
            path = self.path.partition("?")[0]
            resolve = f"/{name}/resolve/"
            if path.startswith(f"/api/models/{name}/tree/"):
                tree = [
                    {"type": "file", "path": file, "size": place.stat().st_size, "oid": "0" * 40}
                    for file, place in files.items()
                ]
                self._send(200, json.dumps(tree).encode(), {"Content-Type": "application/json"}, with_body)
            elif path.startswith(f"/api/models/{name}"):
                siblings = [{"rfilename": file} for file in files]
                body = json.dumps({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings}).encode()
                self._send(200, body, {"Content-Type": "application/json"}, with_body)
            elif path.startswith(resolve) and path.removeprefix(resolve).partition("/")[2] in files:
                body = files[path.removeprefix(resolve).partition("/")[2]].read_bytes()
                etag = hashlib.sha256(body).hexdigest()
                self._send(200, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, with_body)
            else:
                self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"}, with_body)

        def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool) -> None:
            self.send_response(status)
            for header, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(header, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Stay silent: the test's output is the test's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

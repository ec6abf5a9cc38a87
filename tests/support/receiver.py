"""A receiver of webhooks: a real HTTP server on loopback that remembers what it got, and answers as it is told."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 20.0
NO_ANSWER = 0


@dataclass(frozen=True)
class Delivery:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.event["data"]
        return found

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What the event is about: scope, metric, window and share."""
        return (self.data["scope"], self.data["metric"], self.data["window"], self.data["share"])


class Receiver:
    """Answers each path with its statuses one after the other, the last one for ever; 200 where none is set."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._answers: dict[str, list[int]] = defaultdict(lambda: [200])
        self._got: list[Delivery] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                status = receiver._take(Delivery(self.path, headers, body, time.monotonic()))
                if status == NO_ANSWER:
                    receiver._closing.wait(60)
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"{receiver.url}/redirected")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that has gone is none."""

        self._closing = threading.Event()
        self._server = Server((host, port), Handler)
        self.port = self._server.server_port
        self.url = f"http://{host}:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str, *statuses: int) -> None:
        """From now on; `NO_ANSWER` hangs."""
        with self._changed:
            self._answers[path] = list(statuses)

    def at(self, path: str) -> list[Delivery]:
        """What has come to a path."""
        with self._changed:
            return [each for each in self._got if each.path == path]

    def await_at(self, path: str, count: int, patience_s: float = PATIENCE_S) -> list[Delivery]:
        """Wait until so much has come to a path."""
        give_up_at = time.monotonic() + patience_s
        with self._changed:
            while len(found := [each for each in self._got if each.path == path]) < count:
                left = give_up_at - time.monotonic()
                assert left > 0, f"{len(found)} of {count} came to {path}: {[each.body for each in found]}"
                self._changed.wait(left)
        return found

    def speak_tls(self, context: ssl.SSLContext) -> None:
        """From the next connection on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, delivery: Delivery) -> int:
        with self._changed:
            self._got.append(delivery)
            self._changed.notify_all()
            statuses = self._answers[delivery.path]
            return statuses.pop(0) if len(statuses) > 1 else statuses[0]


@contextmanager
def receiving(host: str = "127.0.0.1", port: int = 0) -> Iterator[Receiver]:
    """A receiver that ends with the block."""
    receiver = Receiver(host, port)
    try:
        yield receiver
    finally:
        receiver.close()

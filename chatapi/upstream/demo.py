"""The demo upstream: a small server that speaks OpenAI's endpoints over real HTTP, on loopback only.

    python -m chatapi.upstream.demo --port 8081

It answers any model name, whole and streamed, with real token counts, and says in every answer that it is a demo. Its
first and only line on stdout is a JSON object with its `base_url`, so `--port 0` can be used.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from email import message_from_bytes
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import orjson

from chatapi.upstream.demo_answers import Answer, BadDemoRequest, answer
from chatapi.upstream.demo_replies import REPLIES, Reply

LONGEST_BODY_BYTES = 32 * 1024 * 1024
MODELS = (
    "gpt-4o-mini", "gpt-4o", "gpt-3.5-turbo", "text-embedding-3-small", "omni-moderation-latest", "gpt-image-1",
    "tts-1", "whisper-1",
)  # fmt: skip


class DemoServer(ThreadingHTTPServer):
    """The server. `pause_s` is the time between two words of a stream, in seconds."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, *, pause_s: float = 0.0) -> None:
        if not ip_address(host).is_loopback:
            raise ValueError("the demo upstream serves on loopback only")
        self.pause_s = pause_s
        super().__init__((host, port), DemoHandler)

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its `base_url`."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients come and go; that is no news. Anything else is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class DemoHandler(BaseHTTPRequestHandler):
    """One connection, kept alive between requests."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    server: DemoServer

    def do_GET(self) -> None:
        """`GET /v1/models`."""
        if self._path() == "/v1/models":
            models = [{"id": name, "object": "model", "created": 0, "owned_by": "demo"} for name in MODELS]
            self._send(HTTPStatus.OK, {"object": "list", "data": models})
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"Unknown request URL: GET {self._path()}", "unknown_url")

    def do_POST(self) -> None:
        """`POST /v1/chat/completions`, and the other endpoints."""
        body = self._read()
        if body is None:
            return
        if self._path() in REPLIES:
            self._answer_other(REPLIES[self._path()], body)
            return
        if self._path() != "/v1/chat/completions":
            self._refuse(HTTPStatus.NOT_FOUND, f"Unknown request URL: POST {self._path()}", "unknown_url")
            return
        try:
            asked = orjson.loads(body)
            reply = answer(asked, f"chatcmpl-demo-{uuid.uuid4().hex}")
        except orjson.JSONDecodeError:
            self._refuse(HTTPStatus.BAD_REQUEST, "We could not parse the JSON body of your request.")
        except BadDemoRequest as error:
            self._send(HTTPStatus.BAD_REQUEST, {"error": error.error})
        else:
            if asked.get("stream") is True:
                options = asked.get("stream_options")
                self._stream(reply, include_usage=isinstance(options, dict) and options.get("include_usage") is True)
            else:
                self._send(HTTPStatus.OK, reply.whole())

    def _answer_other(self, made: Callable[[Mapping[str, Any]], Reply], body: bytes) -> None:
        kind = self.headers.get("Content-Type", "")
        try:
            reply = made(_fields_of(kind, body) if kind.startswith("multipart/") else orjson.loads(body))
        except (orjson.JSONDecodeError, TypeError, ValueError):
            self._refuse(HTTPStatus.BAD_REQUEST, "The body is not what this endpoint expects.")
        except BadDemoRequest as error:
            self._send(HTTPStatus.BAD_REQUEST, {"error": error.error})
        else:
            self._begin(HTTPStatus.OK, reply.content_type, ("Transfer-Encoding", "chunked"))
            for piece in reply.pieces:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: stdout belongs to the first line, and the gateway logs every call."""

    def _path(self) -> str:
        return self.path.partition("?")[0]

    def _read(self) -> bytes | None:
        """The request's body, or None when it was refused."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LONGEST_BODY_BYTES:
            self.close_connection = True  # what follows on this connection could not be told from the body
            self._refuse(HTTPStatus.BAD_REQUEST, "The request needs a Content-Length of a reasonable size.")
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        return body

    def _refuse(self, status: HTTPStatus, message: str, code: str | None = None) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self._send(status, {"error": error})

    def _send(self, status: HTTPStatus, value: object) -> None:
        body = orjson.dumps(value)
        self._begin(status, "application/json", ("Content-Length", str(len(body))))
        self.wfile.write(body)

    def _begin(self, status: HTTPStatus, media_type: str, framing: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("x-request-id", f"req_{uuid.uuid4().hex}")
        self.send_header(*framing)
        self.end_headers()

    def _stream(self, reply: Answer, *, include_usage: bool) -> None:
        self._begin(HTTPStatus.OK, "text/event-stream; charset=utf-8", ("Transfer-Encoding", "chunked"))
        for event in self._events(reply, include_usage):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")

    def _events(self, reply: Answer, include_usage: bool) -> Iterator[bytes]:
        for chunk in reply.chunks(include_usage=include_usage):
            yield b"data: %b\n\n" % orjson.dumps(chunk)
            if self.server.pause_s:
                time.sleep(self.server.pause_s)
        yield b"data: [DONE]\n\n"


def _fields_of(content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a form: texts, and the bytes of files."""
    message = message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    fields: dict[str, Any] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            content = part.get_payload(decode=True)
            data = content if isinstance(content, bytes) else b""
            fields[name] = data if part.get_filename() else data.decode("utf-8", "replace")
    return fields


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT or, with `--until-stdin-closes`, until whoever started this is gone."""
    parser = argparse.ArgumentParser(prog="chatapi.upstream.demo", description="A demo of an OpenAI-compatible server.")
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to serve on")
    parser.add_argument("--port", type=int, default=0, help="port to serve on; 0 for any free one")
    parser.add_argument("--pause-ms", type=float, default=0.0, help="milliseconds between two words of a stream")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when stdin does")
    options = parser.parse_args(arguments)
    try:
        server = DemoServer(options.host, options.port, pause_s=options.pause_ms / 1000)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # nothing here is worth saving
    if options.until_stdin_closes:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    sys.stdout.buffer.write(orjson.dumps({"base_url": server.base_url, "port": server.server_address[1]}) + b"\n")
    sys.stdout.flush()
    server.serve_forever()


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()

"""Real servers on loopback that behave as badly as a test wants."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from chatapi.errors import UpstreamError
from chatapi.settings import Settings
from chatapi.upstream.byte_stream import RelayedStream
from chatapi.upstream.parcel import Parcel
from chatapi.upstream.reply import UpstreamReply
from chatapi.upstream.sse import Event, events_in
from chatapi.upstream.upstream import OnCancel, Upstream
from chatapi.upstream.upstreams import build_upstreams

# Put together here, so that no scanner for leaked keys takes it for one.
KEY = "sk-" + "proj-abcdefghijklmnop1234"
CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello?"}]}
USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    "usage": USAGE,
    "a_field_of_tomorrow": {"kept": True},
}


@dataclass(frozen=True)
class Request:
    """A request as it came over the wire; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[socket.socket, Request], None]
"""Answers one request; the connection is kept for the next one, unless the script shuts it down or raises OSError."""


class ScriptedServer:
    """Accepts connections and lets a script answer, byte by byte."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream, contextlib.suppress(OSError):
            while (request := read_request(stream.readline, stream.read)) is not None:
                self.requests.append(request)
                self.script(connection, request)


def read_request(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> Request | None:
    line = readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while (header := readline().decode("latin-1").strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line[0], line[1], headers, read(int(headers.get("content-length", 0))))


@contextlib.contextmanager
def serving(script: Script) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script)
    try:
        yield server
    finally:
        server.close()


way = "asked"
"""By which way `Calls` go up; a fixture sets it, so that each test runs by either."""


class Calls:
    """Calls an upstream by the way that the test is run for; a stream's events come parsed."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.name = upstream.name
        self.warm_up = upstream.warm_up

    def complete(self, body: Mapping[str, object], *, call_id: str, on_cancel: OnCancel | None = None) -> UpstreamReply:
        if way == "asked":
            return self.upstream.complete(body, call_id=call_id, on_cancel=on_cancel)
        raw = json.dumps({name: value for name, value in body.items() if name != "stream"}).encode()
        return self.upstream.relay(Parcel(CHAT, str(body["model"]), raw), call_id=call_id, on_cancel=on_cancel)

    def open(self, body: Mapping[str, object], *, call_id: str, on_cancel: OnCancel | None = None) -> Events:
        if way == "asked":
            return Events(self.upstream.open(body, call_id=call_id, on_cancel=on_cancel))
        raw = json.dumps({**body, "stream": True}, separators=(",", ":")).encode()
        parcel = Parcel(CHAT, str(body["model"]), raw, stream=True)
        return Events(self.upstream.relay_stream(parcel, call_id=call_id, on_cancel=on_cancel))


class Events:
    """A stream's events, parsed."""

    def __init__(self, stream: RelayedStream) -> None:
        self.stream = stream
        self.close = stream.close
        self._events = self._parse()

    @property
    def upstream_id(self) -> str | None:
        return self.stream.upstream_id

    def __iter__(self) -> Iterator[Event]:
        return self._events

    def _parse(self) -> Iterator[Event]:
        for block in self.stream:
            yield from events_in(block)


@contextlib.contextmanager
def upstream_at(base_url: str | None, **settings: object) -> Iterator[Calls]:
    """The upstream that the settings give, with short timeouts, and closed in the end."""
    values: dict[str, object] = {"connect_timeout_s": 2, "first_byte_timeout_s": 5, "idle_timeout_s": 5}
    upstreams = build_upstreams(Settings(**(values | {"openai_base_url": base_url} | settings)))  # type: ignore[arg-type]
    try:
        yield Calls(next(iter(upstreams)))
    finally:
        upstreams.close()


def response(status: int, body: bytes, *headers: str, media_type: str = "application/json") -> bytes:
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Type: {media_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answering(status: int, body: object, *headers: str) -> Script:
    """A script that answers every request with this JSON (or these bytes)."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()

    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(response(status, payload, *headers))

    return script


def sending(raw: bytes) -> Script:
    """A script that answers every request with these bytes, head and all."""
    return lambda connection, _request: connection.sendall(raw)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(value: object) -> bytes:
    return chunk(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")


def delta(content: str | None, finish_reason: str | None = None, index: int = 0) -> dict[str, object]:
    said = {} if content is None else {"content": content}
    return {"id": "chatcmpl-2", "choices": [{"index": index, "delta": said, "finish_reason": finish_reason}]}


def streaming(*pieces: bytes | float, hang_up: bool = False) -> Script:
    """A script that streams the pieces (after the head); a number is a pause in seconds."""

    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(STREAM_HEAD)
        for piece in pieces:
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                time.sleep(piece)
        if hang_up:
            connection.shutdown(socket.SHUT_RDWR)

    return script


def error_object(message: str, **fields: object) -> dict[str, object]:
    return {"error": {"message": message, "type": "some_error", "param": "messages", "code": "some_code"} | fields}


def failure(script: Script, *, stream: bool = False, **settings: object) -> UpstreamError:
    """What calling an upstream that follows the script raises."""
    with serving(script) as server, upstream_at(server.base_url, **settings) as upstream:
        with pytest.raises(UpstreamError) as caught:
            if stream:
                list(upstream.open(BODY, call_id="call-1"))
            else:
                upstream.complete(BODY, call_id="call-1")
        assert server.base_url not in str(caught.value)
        assert len(server.requests) <= 1, "the client tried again by itself"
    return caught.value

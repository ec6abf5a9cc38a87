"""The driver: one asyncio protocol per call that is in flight."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from bench.load.judge import dechunked, events_in, expected_text, judge_of

END_OF_HEAD = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"transfer-encoding: *chunked", re.IGNORECASE)
_CLOSES = re.compile(rb"connection: *close", re.IGNORECASE)
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True, slots=True)
class Load:
    """What to do.

    Args:
        url: scheme, host and port of the target.
        kind: plain, stream, question or static.
        in_flight: calls at once.
        calls, seconds: how much; whichever is reached first, and then those in flight may end.
        model: the emulator's model, unless a target calls it otherwise.
        tokens: access tokens, used in turn.
        prompt: the text that is asked.
        most_tokens: max_completion_tokens, if any.
        path: where completions are posted, or what is got.
        patience_s: how long a call may take, from its request to its end.
    """

    url: str
    kind: str
    in_flight: int
    calls: int = 1_000_000_000
    seconds: float = 3600.0
    model: str = "emu"
    tokens: tuple[str, ...] = ("none",)
    prompt: str = "How long is a piece of string? Answer in as many words as you like."
    most_tokens: int | None = None
    path: str = "/v1/chat/completions"
    patience_s: float = 60.0

    def request(self, number: int) -> bytes:
        """The bytes of a client's request; each client has its own access token as long as there are enough."""
        token = self.tokens[number % len(self.tokens)]
        common = f"Host: {urlsplit(self.url).netloc}\r\nAuthorization: Bearer {token}\r\n"
        if self.kind in {"question", "static"}:
            query = "/api?q=" + self.prompt.replace(" ", "%20") if self.kind == "question" else "/"
            return f"GET {query} HTTP/1.1\r\n{common}\r\n".encode()
        body: dict[str, Any] = {"model": self.model, "messages": [{"role": "user", "content": self.prompt}]}
        if self.kind == "stream":
            body["stream"] = True
        if self.most_tokens is not None:
            body["max_completion_tokens"] = self.most_tokens
        content = orjson.dumps(body)
        lengths = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        return f"POST {self.path} HTTP/1.1\r\n{common}{lengths}".encode() + content


@dataclass(slots=True)
class Tally:
    """What was seen. Times are in seconds."""

    took: list[float] = field(default_factory=list)
    first_byte: list[float] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    events: int = 0

    def result(self, seconds: float) -> dict[str, Any]:
        """Figures for a report; latencies in milliseconds, of good replies only."""
        good = len(self.took)
        return {
            "calls": good + self.broken.total(),
            "good": good,
            "broken": dict(self.broken),
            "seconds": round(seconds, 3),
            "calls_per_s": round(good / seconds, 1),
            "events_per_s": round(self.events / seconds),
            "latency_ms": percentiles(self.took),
            "first_byte_ms": percentiles(self.first_byte),
        }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Nearest-rank percentiles, in milliseconds."""
    if not seconds:
        return {}
    ranked = sorted(seconds)
    found = {f"p{share}": ranked[-(-len(ranked) * share // 100) - 1] for share in PERCENTILES}
    return {name: round(value * 1000, 3) for name, value in (found | {"max": ranked[-1]}).items()}


class Run:
    """One run of a load."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.tally = Tally()
        self.judge = judge_of(load.kind, expected_text(load.model, load.most_tokens))
        address = urlsplit(load.url)
        self.address = (address.hostname or "127.0.0.1", address.port or 80)
        self._left = load.calls
        self._end_at = time.perf_counter() + load.seconds
        self._active = 0
        self._over = asyncio.Event()

    async def drive(self) -> dict[str, Any]:
        """Drive the load until it is over."""
        began = time.perf_counter()
        self._end_at = began + self.load.seconds
        clients = [Client(self, self.load.request(number)) for number in range(self.load.in_flight)]
        self._active = len(clients)
        for client in clients:
            client.begin()
        await self._over.wait()
        return self.tally.result(time.perf_counter() - began)

    def next(self) -> bool:
        """Whether a client may make another call; if not, it has ended."""
        if self._left > 0 and time.perf_counter() < self._end_at:
            self._left -= 1
            return True
        self._active -= 1
        if self._active == 0:
            self._over.set()
        return False


class Client(asyncio.Protocol):
    """One call after the other over a connection, and over a new one when that was lost."""

    def __init__(self, run: Run, request: bytes) -> None:
        self._run = run
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._waiting = False
        self._left = 0

    def begin(self) -> None:
        """Make the next call, if there is one to make."""
        if not self._run.next():
            if self._transport is not None:
                self._transport.close()
            return
        self._waiting = True
        self._head: bytes | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._length: int | None = None
        self._tail = b""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._run.load.patience_s, self._give_up)
        self._began = time.perf_counter()
        if self._transport is not None:
            self._transport.write(self._request)
        else:
            self._connecting = loop.create_task(self._connect())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._left:  # a connection that this client has left for another
            self._left -= 1
            return
        self._transport = None
        if self._waiting:
            self._done("connection lost")

    def data_received(self, data: bytes) -> None:
        if not self._waiting:
            return
        if self._head is None:
            data = b"".join([*self._parts, data])
            end = data.find(END_OF_HEAD)
            if end < 0:
                self._parts = [data]
                return
            self._read_head(data[:end])
            self._parts, data = [], data[end + len(END_OF_HEAD) :]
        if not data:
            return
        if not self._parts:
            self._first_at = time.perf_counter()
        self._parts.append(data)
        self._size += len(data)
        self._tail = data[-5:] if len(data) >= 5 else (self._tail + data)[-5:]
        if self._tail == LAST_CHUNK if self._length is None else self._size >= self._length:
            self._whole()

    async def _connect(self) -> None:
        host, port = self._run.address
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except OSError as error:
            if self._waiting:
                await asyncio.sleep(0.05)
                self._done(f"no connection: {type(error).__name__}")

    def _read_head(self, head: bytes) -> None:
        self._head = head
        self._status = int(head[9:12])
        length = _LENGTH.search(head)
        self._length = int(length[1]) if length else None
        if self._length is None and not _CHUNKED.search(head):
            self._length = -1 if self._status == 204 else 1 << 60

    def _whole(self) -> None:
        body, run = b"".join(self._parts), self._run
        try:
            body = dechunked(body) if self._length is None else body
            reason = run.judge(self._status, body)
        except ValueError:
            reason = "broken chunks"
        if _CLOSES.search(self._head or b""):
            self._leave()
        if reason is None:
            run.tally.took.append(time.perf_counter() - self._began)
            run.tally.first_byte.append(self._first_at - self._began)
            if run.load.kind == "stream":
                run.tally.events += events_in(body)
        self._done(reason)

    def _give_up(self) -> None:
        self._leave()
        self._done("no end in time")

    def _leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
            self._left += 1

    def _done(self, reason: str | None) -> None:
        self._waiting = False
        if self._timer is not None:
            self._timer.cancel()
        if reason is not None:
            self._run.tally.broken[reason] += 1
        self.begin()


def as_json(load: Load) -> bytes:
    """A load as a process of its own takes it."""
    return orjson.dumps(asdict(load))


def from_json(text: bytes) -> Load:
    """The opposite of `as_json`."""
    fields = orjson.loads(text)
    return Load(**fields | {"tokens": tuple(fields["tokens"])})

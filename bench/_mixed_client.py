"""The clients of bench.mixed_calls: raw connections, which keep to what was planned and note every byte that came."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from bench._mixed_plan import Leave, Planned

PATIENCE_S = 30.0
END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class Seen:
    """What a client got of one call.

    Args:
        status: of the answer; None where none came.
        body: the bytes of its body, without HTTP's chunks.
        ended: whether the body came to HTTP's end; never, where the client left before.
    """

    planned: Planned
    status: int | None = None
    body: bytes = b""
    ended: bool = False
    problem: str | None = None
    took_s: float = field(default=0.0)

    @property
    def whole(self) -> bool:
        """Whether it is an answer that its client may take for complete."""
        if self.status != 200 or not self.ended:
            return False
        return self.body.endswith(b"data: [DONE]\n\n") if self.planned.stream else True

    def text(self) -> str:
        """All that the model produced in what came: texts, names of tools and their arguments."""
        return "".join(_texts(self))


class Connection:
    """One connection; it is opened for each call that leaves, and kept otherwise."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._address = (address.hostname or "127.0.0.1", address.port or 80)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, planned: Planned, access_token: str) -> Seen:
        """Make one call."""
        seen, began = Seen(planned), time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._call(seen, access_token)
        except TimeoutError:
            seen.problem = f"no end in {PATIENCE_S} s"
            self.close()
        except (OSError, EOFError, ValueError) as error:
            if planned.leave is None and not seen.status:
                seen.problem = f"the connection broke: {type(error).__name__}"
            self.close()
        seen.took_s = time.perf_counter() - began
        return seen

    async def _call(self, seen: Seen, access_token: str) -> None:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(_request(seen.planned, access_token))
        await writer.drain()
        leave = seen.planned.leave
        if leave is None:
            await _read(reader, seen)
        elif leave.after_s is None:
            await _read(reader, seen, lambda: seen.body.count(b'"content":" ') >= (leave.after_events or 0))
            await self._leave(leave, seen)
        else:
            reading = asyncio.create_task(_read(reader, seen))
            await asyncio.wait([reading], timeout=leave.after_s)
            if leave.how == "half" and not seen.ended:
                _stop_sending(writer)
                await asyncio.wait([reading])
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await self._leave(leave, seen)
        if seen.planned.leave is not None:
            self.close()

    async def _leave(self, leave: Leave, seen: Seen) -> None:
        assert self._streams is not None
        reader, writer = self._streams
        if leave.how == "abort":
            writer.transport.abort()
        elif leave.how == "half" and leave.after_s is None and not seen.ended:
            _stop_sending(writer)
            await reader.read()

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _stop_sending(writer: asyncio.StreamWriter) -> None:
    given = writer.get_extra_info("socket")
    if given is not None and not writer.transport.is_closing():
        with suppress(OSError):
            given.shutdown(socket.SHUT_WR)


def _request(planned: Planned, access_token: str) -> bytes:
    content = json.dumps(planned.body).encode()
    head = f"POST {planned.path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {access_token}\r\n"
    return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content


async def _read(reader: asyncio.StreamReader, seen: Seen, enough: Callable[[], bool] = lambda: False) -> None:
    head = await reader.readuntil(END_OF_HEAD)
    seen.status = int(head.split(b" ", 2)[1])
    headers = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    if b"content-length" in headers:
        seen.body = await reader.readexactly(int(headers[b"content-length"]))
        seen.ended = True
        return
    while not enough():
        size = int(await reader.readuntil(b"\r\n"), 16)
        seen.body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            seen.ended = True
            return


def _texts(seen: Seen) -> Iterator[str]:
    for said in _events(seen) if seen.planned.stream else _objects(seen.body):
        for choice in said.get("choices") or ():
            message: dict[str, Any] = choice.get("delta") or choice.get("message") or {}
            yield message.get("content") or ""
            for call in message.get("tool_calls") or ():
                yield call["function"].get("name") or ""
                yield call["function"].get("arguments") or ""


def _objects(body: bytes) -> Iterator[dict[str, Any]]:
    if body:
        yield json.loads(body)


def _events(seen: Seen) -> Iterator[dict[str, Any]]:
    for event in seen.body.split(b"\n\n")[:-1]:
        if event.startswith(b"data: ") and event != b"data: [DONE]":
            yield json.loads(event.removeprefix(b"data: "))

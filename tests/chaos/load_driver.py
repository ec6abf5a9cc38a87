"""The load of a chaos run, in a process of its own: `python -m tests.chaos.load_driver`, told by JSON on its standard
input. It begins calls until it was told how many, or SIGTERM comes, and then ends those that run.

For every call it appends a line of JSON to its log: {"began", "ended", "stream", "status", "whole", "id"}: times are
Unix times, `status` null where no answer began, `whole` says that the reply came to its proper end, and `id` is the
upstream's id in a whole reply.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 120.0
PAUSE_S = 0.05  # after a call that was refused: a real client would wait longer
DOWN_PAUSE_S = 0.2  # after one that nobody answered at all
_ID = re.compile(rb'"id":\s*"(chatcmpl-[^"]+)"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Plan:
    """What to drive.

    Args:
        addresses: `host:port` of the gateways, in turn a connection each.
        tokens: access tokens, in turn a connection each.
        log: where each call is logged.
        in_flight: how many calls at once, each on a connection of its own.
        calls: how many in all.
        plain: the model of plain calls.
        stream: the model of streams.
        stream_every: every how many calls one is a stream.
    """

    addresses: tuple[str, ...]
    tokens: tuple[str, ...]
    log: str
    in_flight: int
    calls: int
    plain: str
    stream: str
    stream_every: int = 3


@dataclass
class Seen:
    """One call, as its client saw it."""

    stream: bool
    began: float
    ended: float = 0.0
    status: int | None = None
    whole: bool = False
    id: str | None = None


class Client:
    """One connection that asks one question after the other, and connects again where it was cut."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan = plan
        self._address = itertools.cycle(plan.addresses[number % len(plan.addresses) :] + plan.addresses)
        self._token = plan.tokens[number % len(plan.tokens)]
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, seen: Seen) -> None:
        """Ask once, and note what came."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._ask(seen)
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()

    async def _ask(self, seen: Seen) -> None:
        if self._streams is None:
            host, _, port = next(self._address).rpartition(":")
            self._streams = await asyncio.open_connection(host, int(port))
        reader, writer = self._streams
        writer.write(self._request(seen.stream))
        head = await reader.readuntil(b"\r\n\r\n")
        seen.status = int(head.split(b" ", 2)[1])
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else await _read_chunks(reader)
        seen.whole = seen.status == 200 and (not seen.stream or body.rstrip().endswith(b"data: [DONE]"))
        found = _ID.search(body)
        seen.id = found[1].decode() if found and seen.whole else None
        if b"connection: close" in head.lower():
            self.close()

    def _request(self, stream: bool) -> bytes:
        model = self._plan.stream if stream else self._plan.plain
        body = {"model": model, "messages": [{"role": "user", "content": "What dies next?"}], "stream": stream}
        content = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {self._token}\r\n"
        return head.encode() + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(content) + content

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return body


async def drive(plan: Plan) -> None:
    """Drive it all."""
    over, numbers = asyncio.Event(), iter(range(plan.calls))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    log = os.open(plan.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    async def keep_asking(client: Client) -> None:
        while not over.is_set() and (number := next(numbers, None)) is not None:
            seen = Seen(stream=number % plan.stream_every == 0, began=time.time())
            await client.ask(seen)
            seen.ended = time.time()
            os.write(log, json.dumps(vars(seen)).encode() + b"\n")
            if not seen.whole:
                await asyncio.sleep(PAUSE_S if seen.status else DOWN_PAUSE_S)
        client.close()

    await asyncio.gather(*(keep_asking(Client(plan, number)) for number in range(plan.in_flight)))


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    asyncio.run(drive(Plan(**{**given, "addresses": tuple(given["addresses"]), "tokens": tuple(given["tokens"])})))

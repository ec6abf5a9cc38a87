"""A balancer in a process of its own: `python -m tests.chaos.balancer HOST:PORT BACKEND BACKEND…`.

Connections go to the backends in turn; one that refuses a connection is passed over. It knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from contextlib import suppress
from typing import Self

from tests.support.processes import PROJECT_ROOT, clean_environment, end, free_port


class Balancer:
    """A running balancer before these backends (`host:port`)."""

    def __init__(self, *backends: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.balancer", self.address, *backends],
            cwd=PROJECT_ROOT,
            env=clean_environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)
        if self._process.stdout is not None:
            self._process.stdout.close()


async def serve(address: str, backends: list[str]) -> None:
    """Serve until the process is ended."""
    turns = itertools.count()
    connections: set[asyncio.Task[None]] = set()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = next(turns)
        for number in range(len(backends)):
            host, _, port = backends[(first + number) % len(backends)].rpartition(":")
            with suppress(OSError):
                there, back = await asyncio.open_connection(host, int(port))
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
                return
        writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(connect(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(connected, host, int(port), backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2:]))

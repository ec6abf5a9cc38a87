"""`python -m bench.emulator`: serve until SIGTERM. The package's docstring is the manual."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
from pathlib import Path

import bench.emulator
from bench.emulator.server import serve


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.emulator",
        description=bench.emulator.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8100, help="0 for a free one, which is printed")
    parser.add_argument("--log", type=Path, help="where to append what was served; nowhere by default")
    arguments = parser.parse_args()
    gc.set_threshold(200_000, 20, 100)  # almost nothing here makes cycles, and collections are seen in the latencies
    asyncio.run(run(arguments.host, arguments.port, arguments.log))


async def run(host: str, port: int, log_path: Path | None) -> None:
    """Serve until SIGTERM or SIGINT."""
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    server = await serve(host, port, log_path)
    print(f"http://{host}:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await over.wait()
    server.close()


if __name__ == "__main__":
    main()

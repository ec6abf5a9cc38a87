"""`python -m bench.load`: drive a load from the command line, or one that is given as JSON on the standard input."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from pathlib import Path

import orjson

import bench.load
from bench.load.driver import Load, Run, from_json


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=bench.load.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", help="where the target is; without one the load is read as JSON from stdin")
    parser.add_argument("--kind", choices=["plain", "stream", "question", "static"], default="plain")
    parser.add_argument("--model", default="emu")
    parser.add_argument("--in-flight", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--calls", type=int, default=1_000_000_000)
    parser.add_argument("--tokens", type=Path, help="a file of access tokens, one a line")
    parser.add_argument("--prompt", default=Load.__dataclass_fields__["prompt"].default)
    parser.add_argument("--max-tokens", type=int)
    arguments = parser.parse_args()
    if arguments.url is None:
        load = from_json(sys.stdin.buffer.read())
    else:
        load = Load(
            url=arguments.url,
            kind=arguments.kind,
            in_flight=arguments.in_flight,
            calls=arguments.calls,
            seconds=arguments.seconds,
            model=arguments.model,
            tokens=tuple(arguments.tokens.read_text("utf-8").split()) if arguments.tokens else ("none",),
            prompt=arguments.prompt,
            most_tokens=arguments.max_tokens,
        )
    gc.set_threshold(200_000, 20, 100)
    print(orjson.dumps(asyncio.run(drive(load))).decode())


async def drive(load: Load) -> dict[str, object]:
    """Drive it in this process."""
    return await Run(load).drive()


if __name__ == "__main__":
    main()

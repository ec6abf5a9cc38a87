"""A load driver as a child process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import orjson

from bench.load.driver import Load, as_json
from tests.support.processes import PROJECT_ROOT, clean_environment


def run(load: Load) -> dict[str, Any]:
    """Drive the load in a process of its own; what it found (`bench.load.driver.Tally.result`)."""
    return finish(start(load))


def start(load: Load) -> subprocess.Popen[bytes]:
    """Begin to drive a load; `finish` waits for its end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.load"],
        cwd=PROJECT_ROOT,
        env=clean_environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    process.stdin.write(as_json(load))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Wait until it is over; what it found.

    Raises:
        RuntimeError: the driver itself failed.
    """
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load driver ended with {process.returncode}")
    found: dict[str, Any] = orjson.loads(said)
    return found

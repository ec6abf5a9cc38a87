"""Starting the demo upstream as a process of its own."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

from chatapi.errors import ConfigurationError

START_TIMEOUT_S = 30.0
PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def start_demo(*, pause_ms: float = 0.0) -> tuple[subprocess.Popen[bytes], str]:
    """Start the demo upstream on a free loopback port; return its process and its `base_url`.

    It ends when the last holder of its stdin is gone, however that ended: this process, what it becomes by exec (the
    pipe survives that on purpose), and children that it forks. `process.terminate()` ends it earlier.

    Args:
        pause_ms: milliseconds between two words of a stream.

    Raises:
        ConfigurationError: it did not start.
    """
    options = ["--port", "0", "--pause-ms", str(pause_ms), "--until-stdin-closes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "chatapi.upstream.demo", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=PACKAGE_PARENT,
        start_new_session=True,  # Ctrl-C is for the gateway, which then ends its calls in peace
    )
    if process.stdin is None or process.stdout is None:
        raise ConfigurationError("The demo upstream has no pipes.")
    os.set_inheritable(process.stdin.fileno(), True)
    ready, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline() if ready else b""
    if not line:
        process.kill()
        process.wait()
        raise ConfigurationError("The demo upstream did not start.")
    return process, str(json.loads(line)["base_url"])

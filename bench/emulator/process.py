"""An emulator as a child process, and what it has logged."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from tests.support.processes import PROJECT_ROOT, clean_environment, end


class Emulator:
    """A running emulator. `url` ends in `/v1`, as `OPENAI_BASE_URL` wants it.

    Args:
        log: where it appends what it served; None for no log, which is faster.
        port: the port to take; 0 for a free one. It can be taken again after `kill`.
        host: the address to listen on.
    """

    def __init__(self, log: Path | None = None, *, port: int = 0, host: str = "127.0.0.1") -> None:
        self.log_path = log
        command = [sys.executable, "-m", "bench.emulator", "--host", host, "--port", str(port)]
        if log is not None:
            command += ["--log", str(log)]
        self.process = subprocess.Popen(
            command,
            cwd=PROJECT_ROOT,
            env=clean_environment({}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError(f"the emulator did not start: exit status {self.process.wait()}")
        self.port = int(self.url.removesuffix("/v1").rpartition(":")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def entries(self) -> list[dict[str, Any]]:
        """Everything that is in its log, by all emulators that wrote there."""
        if self.log_path is None or not self.log_path.exists():
            return []
        return [json.loads(line) for line in self.log_path.read_bytes().splitlines()]

    def arrived(self) -> list[dict[str, Any]]:
        """The calls that reached it, in this order."""
        return [entry for entry in self.entries() if entry["log"] == "arrived"]

    def ended(self) -> dict[str, dict[str, Any]]:
        """How each call ended, by its `id`; those that never ended are not there."""
        return {entry["id"]: entry for entry in self.entries() if entry["log"] == "ended"}

    def kill(self) -> None:
        """End it at once; streams break off."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """Stop it."""
        end(self.process)
        if self.process.stdout is not None:
            self.process.stdout.close()

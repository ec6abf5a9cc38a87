"""A real OpenAI-compatible server: llama.cpp's, with a tiny random model that is written on the spot.

What it says is noise, but its HTTP, its streaming and its `usage` are the real thing.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import httpx2

from tests.support.processes import PROJECT_ROOT, clean_environment, end, free_port

API_KEY = "sk-llama-of-the-tests"


class Llama:
    """The running server. `url` ends in `/v1`, as `OPENAI_BASE_URL` wants it; `API_KEY` opens it."""

    def __init__(self, folder: Path) -> None:
        model, port = folder / "tiny.gguf", free_port()
        self.url = f"http://127.0.0.1:{port}/v1"
        self._log = (folder / "llama.log").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.llama_server", str(model), str(port), API_KEY],
            cwd=PROJECT_ROOT,
            env=clean_environment({}),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._await(f"http://127.0.0.1:{port}/health", Path(self._log.name))

    def _await(self, health_url: str, log: Path, patience_s: float = 30.0) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx2.get(health_url, trust_env=False).is_success:
                    return
            except httpx2.TransportError:
                pass
            time.sleep(0.05)
        self.close()
        raise RuntimeError(f"llama.cpp's server did not start:\n{log.read_text(errors='replace')[-3000:]}")

    def close(self) -> None:
        """End the server."""
        end(self._process, patience_s=2.0)
        if self._process.stdin:
            self._process.stdin.close()
        self._log.close()

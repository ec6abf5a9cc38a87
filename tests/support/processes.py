"""Child processes of the tests: a clean environment, free ports, and an end that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

PROJECT_ROOT = Path(__file__).resolve().parent.parent.parent
MEMORY, MEMORY_WANTED = Path("/dev/shm"), 4 << 30  # bytes
_OURS = ("CHATAPI_", "OPENAI_", "AZURE_", "FLASK_", "GUNICORN_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


class Process(Protocol):
    """What tests know of a process that they started; `subprocess.Popen` is one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, for so many seconds at most; the exit code."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it has ended."""


def quick_folder() -> str | None:
    """Where databases of tests lie: in memory where there is much of it, else (None) where all temporary files do.

    Copying a database there takes a tenth of the time, and nothing of what is synced is waited for.
    """
    is_roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_WANTED
    return str(MEMORY) if is_roomy else None


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment without anything that configures the gateway, and with `extra`."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(_OURS) and name.lower() not in _PROXIES
    }
    return {**kept, "PYTHONPATH": str(PROJECT_ROOT), "PYTHONUNBUFFERED": "1", **extra}


def chatapi_command() -> list[str]:
    """How a user starts `chatapi`: this environment's script, or its entry point where there is none."""
    script = Path(sys.executable).parent / "chatapi"
    if script.is_file():
        return [str(script)]
    return [sys.executable, "-c", "from chatapi.cli.main import cli; cli(prog_name='chatapi')"]


def end(process: Process, *, patience_s: float = 10.0) -> int:
    """Ask the process to end (SIGTERM), and kill it with its children when it has not after `patience_s` seconds.

    The process must have been started with `start_new_session=True`. Returns its exit code.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    with suppress(ProcessLookupError):  # its group holds only what it started itself
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()

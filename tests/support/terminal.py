"""A `chatapi` command in a terminal of its own (a pty), for what behaves otherwise in a pipe."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping
from types import TracebackType

from tests.support.gateway import Gateway
from tests.support.processes import chatapi_command, clean_environment, end

PATIENCE_S = 20.0


class Terminal:
    """Start the command, type, and read what the screen says."""

    def __init__(self, gateway: Gateway, *arguments: str, environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [*chatapi_command(), *arguments],
            env=clean_environment({**gateway.environment, **environment, "TERM": "dumb"}), cwd=gateway.folder,
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        self._said = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self._process, patience_s=1.0)
        os.close(self._master)

    def type(self, text: str) -> None:
        """Type this."""
        os.write(self._master, text.encode())

    def await_text(self, text: str) -> None:
        """Read until the screen has said `text`."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self._said.decode(errors="replace"):
            alive = self._read()
            assert alive and time.monotonic() < deadline, f"{text!r} did not come; it says:\n{self._said!r}"

    def await_prompt(self) -> None:
        """Read until the command asks for more: what is typed while it still writes may be lost, as by any reader."""
        deadline = time.monotonic() + PATIENCE_S
        while not self._said.endswith(b"> "):
            alive = self._read()
            assert alive and time.monotonic() < deadline, f"no prompt came; it says:\n{self._said!r}"

    def exit_code(self) -> int:
        """Read to the end; how the command ended."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        """Read what comes next, for up to a second; False at the end."""
        if not select.select([self._master], [], [], 1.0)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:  # Linux says EIO where the other side has been closed
            return False
        self._said += piece
        return bool(piece)

"""Where gateways are born for tests: a process that has imported what they import, and forks one whenever it is asked.

A gateway takes more than a second of a core to start, and nearly all of that is importing the same modules again. What
is born here runs what `chatapi serve` becomes, from `python -m chatapi.gunicorn_master` on. Its master finds the
standard library as it was before gevent patched it, and its workers find it patched, as they do elsewhere.

Run as `python -m tests.support.nursery FD`, it serves on a socket, one line of JSON after the other:

    {"arguments": […], "environment": {…}, "folder": "…", "log": "…"}  →  the process id
    {"of": process id}  →  its exit code, or null while it runs

When the other side is gone, it ends what still runs, and itself.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

from tests.support.processes import clean_environment

MASTER = "chatapi.gunicorn_master"
# What gateways import, but for what each must make anew: gunicorn's defaults, which it takes from the environment while
# it is imported; settings that were read; memory that workers share.
BEFORE_PATCHING = ("chatapi.settings", "chatapi.endpoint.connections")
AFTER_PATCHING = (
    "chatapi.app",
    "chatapi.upstream.gevent_transport",
    "chatapi.upstream.pool",
    "chatapi.upstream.wire",
    "genai_prices.data",
)
LOOK_EVERY_S, PATIENCE_S = 0.01, 10.0
# What masters work with. They have one thread only, so it does not matter that `threading` stays as it was patched.
SWAPPED = {"os", "signal", "time", "queue", "select", "selectors", "socket", "ssl", "subprocess"}
REMOVED = object()  # by gevent: what cannot be had without blocking


class Born:
    """A gateway's process, with as much of `subprocess.Popen` as tests use."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ask({"of": self.pid})
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, for so many seconds at most; the exit code.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if give_up_at is not None and time.monotonic() >= give_up_at:
                raise subprocess.TimeoutExpired(MASTER, timeout or 0)
            time.sleep(LOOK_EVERY_S)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """The nursery of this process, which ends with it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(theirs.fileno())],
                env=clean_environment({}), pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        self._answers = self._socket.makefile("rb")
        self._lock = threading.Lock()
        atexit.register(self.close)

    def bear(self, arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, log: Path) -> Born:
        """Start a gateway: `python -m chatapi.gunicorn_master` with these arguments, in a session of its own.

        Args:
            arguments: of that command.
            environment: all of it.
            folder: in which it runs.
            log: the file to which it appends what it writes to stdout and stderr.
        """
        wish = {"arguments": arguments, "environment": dict(environment), "folder": str(folder), "log": str(log)}
        return Born(self, self.ask(wish))

    def ask(self, question: dict[str, Any]) -> Any:
        """Ask the nursery's process."""
        with self._lock:
            try:
                self._socket.sendall(json.dumps(question).encode() + b"\n")
                return json.loads(self._answers.readline())
            except (OSError, ValueError) as error:
                raise RuntimeError("the nursery has ended; why, it says on stderr") from error

    def close(self) -> None:
        """End it, and every gateway that still runs."""
        self._answers.close()
        self._socket.close()
        try:
            self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@cache
def nursery() -> Nursery:
    """The nursery, which starts when first asked for."""
    return Nursery()


# What follows runs in the nursery's own process.
def main(descriptor: int) -> None:
    """Serve until the other side is gone; in what is born, be a gateway."""
    connection = socket.socket(fileno=descriptor)
    patch = _import_all()
    assert threading.active_count() == 1, "a fork would lack the other threads"
    assert not any(name in sys.modules for name in ("gunicorn.config", "chatapi.gunicorn_worker")), (
        "these are made anew"
    )
    if wish := _serve(connection):
        _begin(wish)
        os.register_at_fork(after_in_child=lambda: patch(True))  # the workers
        runpy.run_module(MASTER, run_name="__main__", alter_sys=True)


def _import_all() -> Callable[[bool], None]:
    """Import what gateways import, as they do: first as masters, then patched. What patches, and takes it back."""
    for name in BEFORE_PATCHING:
        importlib.import_module(name)
    from gevent import monkey

    monkey.patch_all()
    for name in AFTER_PATCHING:
        importlib.import_module(name)
    saved = [(vars(sys.modules[name]), items) for name, items in monkey.saved.items() if name in SWAPPED]
    places = [(module, name, own, module.get(name, REMOVED)) for module, items in saved for name, own in items.items()]

    def patch(wanted: bool) -> None:
        for module, name, own, patched in places:
            module[name] = patched if wanted else own
            if module[name] is REMOVED:
                del module[name]

    patch(False)
    gc.collect()
    gc.freeze()
    return patch


def _serve(connection: socket.socket) -> dict[str, Any] | None:
    """Answer until the other side is gone; in each process that is born, what it is to be."""
    living: set[int] = set()
    with connection, connection.makefile("rb") as questions:
        for line in questions:
            question = json.loads(line)
            if "of" in question:
                found, status = os.waitpid(question["of"], os.WNOHANG)
                living -= {found}
                answer = os.waitstatus_to_exitcode(status) if found else None
            else:
                answer = _fork()
                if not answer:
                    return cast("dict[str, Any]", question)
                living.add(answer)
            connection.sendall(json.dumps(answer).encode() + b"\n")
    for pid in living:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return None


def _fork() -> int:
    """Fork; 0 in the new process, which is the first of its own session and can be signalled as such at once."""
    is_apart, tell = os.pipe()
    pid = os.fork()
    if not pid:
        os.setsid()
    os.close(tell)
    os.read(is_apart, 1)  # until nobody can tell any more
    os.close(is_apart)
    return pid


def _begin(wish: dict[str, Any]) -> None:
    """Be as if started by a shell."""
    log = os.open(wish["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for output in (1, 2):
        os.dup2(log, output)
    os.close(log)
    os.chdir(wish["folder"])
    os.environ.clear()
    os.environ.update(wish["environment"])
    sys.argv = [MASTER, *wish["arguments"]]


if __name__ == "__main__":
    main(int(sys.argv[1]))

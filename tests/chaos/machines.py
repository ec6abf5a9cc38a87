"""What chaos runs are played with: gateways on addresses of their own, their workers, and how long a run is."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.gateway import Gateway
from tests.support.http import Http

LONG = os.environ.get("CHATAPI_CHAOS") == "long"
LONGEST_S = float(os.environ.get("CHATAPI_CHAOS_S", "inf"))  # of one run; what it came to by then is judged
LEASE_S, RENEW_S = (6.0, 2.0) if LONG else (2.0, 0.5)
QUICK = {
    "CHATAPI_LEASE_S": str(LEASE_S),
    "CHATAPI_RENEW_S": str(RENEW_S),
    "CHATAPI_GRACEFUL_TIMEOUT_S": "5",
    "CHATAPI_DAILY_REQUESTS": "unlimited",
    "CHATAPI_WORKERS": "2" if LONG else "1",
}
TWO_WORKERS = {"CHATAPI_WORKERS": "2"}
NOTHING: Mapping[str, str] = {}


class Machine(Gateway):
    """A gateway as if on a machine of its own: an address of loopback and a var folder that no other has."""

    by_command = LONG

    def __init__(
        self, database_url: str, upstream_url: str, *, host: str = "127.0.0.1", more: Mapping[str, str] = NOTHING
    ) -> None:
        super().__init__(database_url, upstream_url=upstream_url, environment={**QUICK, **more}, start=False)
        self.bind = f"{host}:{self.port}"
        self.environment["CHATAPI_BIND"] = self.bind
        self.base_url = f"http://{self.bind}"
        self.http = Http(self.base_url)

    @property
    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers."""
        return children_of(self.pid)

    def tokens(self, count: int) -> list[str]:
        """Access tokens of so many users with generous quotas, each alone in its tenant."""
        return [self.sign_in() for _ in range(count)]

    @property
    def known_tokens(self) -> list[str]:
        """The access tokens that were made so far."""
        return list(self._access_tokens.values())

    @property
    def journal_files(self) -> list[Path]:
        """The files of its journal that hold anything."""
        return [path for path in (self.folder / "var" / "journal").glob("*") if path.stat().st_size]

    def is_ready(self) -> bool:
        """Whether `/readyz` says so."""
        return bool(self.http.get("/readyz").is_success)


MakeMachine = Callable[..., Machine]


@contextmanager
def machines() -> Iterator[MakeMachine]:
    """Make machines that stop when the block ends."""
    with ExitStack() as stack:

        def make(database_url: str, upstream_url: str, **options: object) -> Machine:
            made = Machine(database_url, upstream_url, **options)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield make


def children_of(parent: int) -> list[int]:
    """The process ids of a process's children."""
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(line) for line in done.stdout.split()]


def await_that(true: Callable[[], bool], what: str, patience_s: float = 20.0) -> float:
    """Wait until something is so. Returns how many seconds that took."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < patience_s, f"it never came true that {what}"
        time.sleep(0.05)
    return time.monotonic() - started


def rounds(count: int) -> Iterator[int]:
    """So many rounds, or as many as there is time for: 1, 2, …"""
    ends_at = time.monotonic() + LONGEST_S
    for number in range(1, count + 1):
        if time.monotonic() >= ends_at:
            return
        yield number


def say(line: str) -> None:
    """Show how a long run goes."""
    if LONG:
        print(f"    {line}", flush=True)

"""A load in the background of a chaos run, and what its clients saw."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Self

from tests.chaos.load_driver import PATIENCE_S, Plan, Seen
from tests.support.processes import PROJECT_ROOT, clean_environment, end

QUICK_MODEL = "tiny-emu-delay10-events5"
STREAM_MODEL = "tiny-emu-events10-gap20"


class Load:
    """Calls of many clients at once: every third a stream, the others plain.

    Args:
        addresses: `host:port` of the gateways.
        tokens: access tokens of the clients.
        calls: how many in all; by default until `finish`.
        in_flight: at once.
    """

    def __init__(
        self,
        addresses: list[str],
        tokens: list[str],
        *,
        calls: int = 1_000_000_000,
        in_flight: int = 32,
        plain: str = QUICK_MODEL,
        stream: str = STREAM_MODEL,
        stream_every: int = 3,
    ) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="chatapi-load-"))
        self._log = self._folder / "calls.jsonl"
        self._seen: list[Seen] = []
        self._read_bytes = 0
        plan = Plan(tuple(addresses), tuple(tokens), str(self._log), in_flight, calls, plain, stream, stream_every)
        (self._folder / "plan.json").write_text(json.dumps(asdict(plan)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.load_driver", str(self._folder / "plan.json")],
            cwd=PROJECT_ROOT,
            env=clean_environment({}),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether there are calls left."""
        return self._process.poll() is None

    def seen(self) -> list[Seen]:
        """The calls that have ended so far."""
        if self._log.exists():
            with self._log.open("rb") as log:
                log.seek(self._read_bytes)
                lines, newline, _half_written = log.read().rpartition(b"\n")
                self._seen += [Seen(**json.loads(line)) for line in lines.splitlines()]
                self._read_bytes += len(lines + newline)
        return self._seen.copy()

    @property
    def ended(self) -> int:
        """How many calls have ended so far."""
        return len(self.seen())

    def await_calls_ended(self, count: int) -> None:
        """Wait until so many calls have ended, whatever their end."""
        before, give_up_at = self.ended, time.monotonic() + PATIENCE_S
        while (now := self.ended) < count:
            if now != before:
                before, give_up_at = now, time.monotonic() + PATIENCE_S
            assert time.monotonic() < give_up_at, f"no call ended for {PATIENCE_S} s"
            time.sleep(0.02)

    def await_calls(self, count: int, fits: Callable[[Seen], bool] = lambda seen: seen.whole) -> None:
        """Wait until so many calls have ended that fit; by default those that were answered whole."""
        give_up_at = time.monotonic() + PATIENCE_S
        while sum(map(fits, self.seen())) < count:
            assert time.monotonic() < give_up_at, f"fewer than {count} calls ended as they should"
            assert self.running, "the load ended too early"
            time.sleep(0.05)

    def finish(self) -> list[Seen]:
        """Begin no more calls, wait for those that run, and say what became of all."""
        if self.running:
            self._process.terminate()
        assert self._process.wait(PATIENCE_S + 10) == 0, "the load driver failed"
        return self.seen()

    def wait(self, patience_s: float) -> list[Seen]:
        """Wait until all calls were made, and say what became of them."""
        assert self._process.wait(patience_s) == 0, "the load driver failed"
        return self.seen()

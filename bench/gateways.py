"""What a call costs, here and elsewhere: the same work through ChatAPI, nginx, LiteLLM, and past all of them.

`python -m bench.gateways [--quick] [--targets sqlite,nginx] [--rounds 3] [--seconds 8]`

All targets run at once and are measured one after the other, in rounds: on a shared machine figures drift, and what is
compared is from the same round. Every reply is checked. The upstream is `bench.emulator`, PostgreSQL is a fresh server
with its default durability, and every gateway has one worker. Figures are medians over the rounds. Exits with 1 when a
reply was broken, a ledger does not agree with the driver, or a goal was missed. docs/performance.md explains the rows.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from bench import commits, machine, report
from bench.accounting import cpu_s, own_bytes
from bench.load.driver import Load
from bench.load.process import run as drive
from bench.targets import TARGETS, Absent, Bench, Target

STEADY = "emu-events50-gap20"
WARM_UP_CALLS = 100
IDLE_BEFORE = 50  # streams that are open before those that are measured: what is made once is not counted
IDLE_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked of a target. `calls` are made where it is given, else as many as there is time for."""

    name: str
    kind: str
    in_flight: int
    model: str = "emu-events50"
    calls: int | None = None

    def load(self, target: Target, seconds: float) -> Load:
        """The driver's orders."""
        load = Load(target.url, self.kind, self.in_flight, seconds=seconds, model=self.model, tokens=target.tokens)
        return replace(load, calls=self.calls, seconds=60.0) if self.calls else load


WORKLOADS = (
    Workload("static, 1", "static", 1),
    Workload("static, 64", "static", 64),
    Workload("plain, 1", "plain", 1),
    Workload("plain, 64", "plain", 64),
    Workload("question, 1", "question", 1),
    Workload("question, 64", "question", 64),
    Workload("streams, 64", "stream", 64, STEADY),
    Workload("bursts, 64", "stream", 64),
    Workload("streams, 1000", "stream", 1000, "emu-events200-gap50", calls=1000),
)
NOT_FOR = {("litellm", "streams, 1000")}  # it would take minutes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: to see that it works, not to compare")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="for each workload of each target")
    parser.add_argument("--targets", default=",".join(TARGETS), help="some of: %(default)s")
    parser.add_argument("--workloads", help="those whose names begin with one of these, comma separated")
    parser.add_argument("--idle", type=int, default=500, help="streams that are opened to see their memory; 0: none")
    arguments = parser.parse_args()
    names = arguments.targets.split(",")
    if unknown := sorted(set(names) - TARGETS.keys()):
        parser.error(f"there is no target {', '.join(unknown)}")
    wanted = tuple((arguments.workloads or "").replace("_", ", ").split(","))
    workloads = [workload for workload in WORKLOADS if workload.name.startswith(wanted)]
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    seconds = arguments.seconds or (2.0 if arguments.quick else 8.0)
    idle = {name: idle_kb(name, arguments.idle) for name in names if arguments.idle and name not in ("direct", "flask")}
    with Bench.running() as bench:
        measurement = Measurement(bench, workloads, seconds)
        measurement.start(names)
        for number in range(1, rounds + 1):
            measurement.round(number)
        agrees = measurement.check_ledgers()
    found = {"results": measurement.results, "commits_ms": measurement.commits, "idle_kb": idle}
    notes = {**measurement.absent, **{target.name: target.note for target in measurement.targets if target.note}}
    found["versions"] = {target.name: target.version for target in measurement.targets if target.version}
    rows = report.rows(measurement.results, idle, [workload.name for workload in WORKLOADS])
    goals = report.goals(rows, measurement.commits)
    print(report.table(rows, measurement.commits, notes, goals))
    machine.save("gateways", {**found, "rows": rows, "notes": notes, "goals": goals, "ledgers_agree": agrees})
    broken = any(result["broken"] for result in measurement.results)
    sys.exit(broken or not agrees or not all(goal["met"] for goal in goals))


class Measurement:
    """The targets, and what has been seen of them."""

    def __init__(self, bench: Bench, workloads: list[Workload], seconds: float) -> None:
        self._bench = bench
        self._workloads = workloads
        self._seconds = seconds
        self._answered: Counter[str] = Counter()
        self._broken: Counter[str] = Counter()
        self.targets: list[Target] = []
        self.absent: dict[str, str] = {}
        self.results: list[dict[str, Any]] = []
        self.commits: list[dict[str, Any]] = []

    def start(self, names: list[str]) -> None:
        """Start the targets, and warm each up by every kind of call."""
        for name in names:
            say(f"Starting {name}")
            try:
                target = TARGETS[name](self._bench)
            except Absent as reason:
                self.absent[name] = str(reason)
                say(f"  left out: {reason}")
                continue
            self.targets.append(target)
            for kind in sorted(target.kinds):
                load = Workload("warm-up", kind, 16, calls=WARM_UP_CALLS).load(target, 0)
                self._drive(target, load)

    def round(self, number: int) -> None:
        """Measure every target by every workload, and how long commits take meanwhile."""
        for target in self.targets:
            for workload in self._workloads:
                if workload.kind in target.kinds and (target.name, workload.name) not in NOT_FOR:
                    self._measure(number, target, workload)
        found: dict[str, Any] = {"round": number, "sqlite": commits.sqlite_commits_ms(self._bench.folder, 1.0)}
        if self._bench.postgres is not None:
            url = self._bench.postgres.url("postgres")
            found["postgresql"] = commits.postgresql_commits_ms(url, 1.0)
        self.commits.append(found)

    def check_ledgers(self) -> bool:
        """Whether every ledger has charged as many requests as were answered; one that the driver gave up may count."""
        agrees = True
        for target in self.targets:
            if target.requests is not None:
                charged, answered, broken = target.requests(), self._answered[target.name], self._broken[target.name]
                say(
                    f"{target.name}: {answered} calls were answered, its ledger has charged {charged}; broken: {broken}"
                )
                agrees = agrees and answered <= charged <= answered + broken
        return agrees

    def _measure(self, number: int, target: Target, workload: Workload) -> None:
        before = cpu_s(target.own), cpu_s(target.database)
        found = self._drive(target, workload.load(target, self._seconds))
        own, database = (cpu_s(target.own) - before[0], cpu_s(target.database) - before[1])
        result = {"round": number, "target": target.name, "workload": workload.name, **asdict(workload), **found}
        result |= {"own_cpu_s": round(own, 3), "database_cpu_s": round(database, 3)}
        self.results.append(result | {"name": workload.name, "pss_mb": round(own_bytes(target.own) / 1e6, 1)})
        figures = f"{found['calls_per_s']:>9.1f} calls/s {1000 * own / max(1, found['calls']):>8.3f} ms"
        broken = f", broken: {found['broken']}" if found["broken"] else ""
        say(f"{number}  {target.name:<11}{workload.name:<14}{figures}{broken}")

    def _drive(self, target: Target, load: Load) -> dict[str, Any]:
        found = drive(load)
        self._answered[target.name] += found["good"]
        self._broken[target.name] += found["calls"] - found["good"]
        return found


def idle_kb(name: str, streams: int) -> float | None:
    """Open streams that say something and then fall silent; the memory that each adds to a server (1,000 bytes).

    The server is a new one: one that has served a thousand streams before has their memory still.
    """
    say(f"Opening {streams} idle streams through {name}")
    with Bench.running() as bench, ExitStack() as stack:
        try:
            target = TARGETS[name](bench)
        except Absent:
            return None
        drive(Workload("warm-up", "stream", 1, calls=WARM_UP_CALLS).load(target, 0))
        open_streams(target, IDLE_BEFORE, stack)
        before = own_bytes(target.own)
        opened = open_streams(target, streams, stack)
        found = (own_bytes(target.own) - before) / max(1, opened) / 1000
    say(f"  {found:.1f} KB each" + (f"; it does not take more than {opened}" if opened < streams else ""))
    return round(found, 1)


def open_streams(target: Target, count: int, stack: ExitStack) -> int:
    """Open streams one after the other, and wait for the first event of each; how many the target took."""
    for number in range(count):
        try:
            open_stream(target, number, stack)
        except OSError:
            return number
    time.sleep(1)
    return count


def open_stream(target: Target, number: int, stack: ExitStack) -> None:
    """Open a stream and wait for its first event."""
    address = urlsplit(target.url)
    load = Load(target.url, "stream", 1, model="emu-events10-stall1", tokens=target.tokens)
    connection = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 80), 10))
    connection.settimeout(IDLE_PATIENCE_S)
    connection.sendall(load.request(number))
    received = b""
    while b" time" not in received:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"{target.name} ended an idle stream: {received!r}")
        received += piece


def say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()

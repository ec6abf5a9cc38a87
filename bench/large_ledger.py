"""Whether a large ledger is as quick as a small one: admissions and a month's report, compared in one run.

`python -m bench.large_ledger [--quick] [--calls 1000000] [--databases postgresql] [--rounds 5] [--audit]`

Two ledgers are generated with the same users, days and models, one of 100,000 calls and one of many; then both are
asked the same in turn. TMPDIR says where they are written, and deleted again. An admission is measured with its
settlement, as in `bench.ledger_pairs`: CPU of the client and of the database, and the time of one at a time. Exits
with 1 when a goal was missed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.accounting import cpu_s
from bench.generated import Generated, generate
from bench.ledger_pairs import is_sound, limit, measure
from bench.report import goal_line
from bench.targets import DURABLE
from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage.reports import UsageFilter, usage
from tests.concurrency.world import ask, world_of
from tests.support.postgres import DATABASES, Postgres, migrate, sqlite_url

SMALL = 100_000
BYTES_PER_CALL = 1200  # with attempts, indexes and the write-ahead log, on the safe side
CHARGE = Charge(answered=True, usage=Usage(7, 0, 3, 0, UsageSource.UPSTREAM))
GOAL_ADMISSION, GOAL_REPORT = 1.1, 2.0
GOAL_REPORT_S = 1.0


@dataclass(frozen=True, slots=True)
class Ledger:
    """One of the two."""

    name: str
    url: str
    made: Generated
    server: tuple[int, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="300,000 calls, one round")
    parser.add_argument("--calls", type=int)
    parser.add_argument("--databases", default=",".join(DATABASES))
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--audit", action="store_true", help="audit the generated ledgers, which takes a while")
    arguments = parser.parse_args()
    calls = arguments.calls or (300_000 if arguments.quick else 1_000_000)
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 2 * calls * BYTES_PER_CALL:
        parser.error(f"{calls} calls may take {calls * BYTES_PER_CALL / 1e9:.0f} GB; only {free / 1e9:.0f} GB are free")
    found, goals, sound = {}, [], True
    for database in arguments.databases.split(","):
        with ledgers(database, calls) as both:
            if arguments.audit:
                sound = all(is_sound(ledger.url) for ledger in both) and sound
            found[database] = compare(both, rounds, arguments.seconds)
        goals += check(database, calls, found[database])
    for goal in goals:
        print(goal_line(goal))
    machine.save("large_ledger", {"calls": calls, "results": found, "goals": goals, "sound": sound})
    sys.exit(not sound or not all(goal["met"] for goal in goals))


@contextmanager
def ledgers(database: str, calls: int) -> Iterator[tuple[Ledger, Ledger]]:
    """Generate a small ledger and a large one."""
    with tempfile.TemporaryDirectory(prefix="chatapi-bench-") as place, ExitStack() as stack:
        server: tuple[int, ...] = ()
        if database == "postgresql":
            postgres = Postgres(DURABLE)
            stack.callback(postgres.close)
            server = (postgres.pid,)
        both = []
        for name, size in (("small", SMALL), ("large", calls)):
            if database == "postgresql":
                url = postgres.url(postgres.create())
            else:
                url = sqlite_url(Path(place) / f"{name}.sqlite3")
                migrate(url)
            made = generate(url, size)
            limit(url, made.claims[0])
            print(f"{database}: generated {size:,} calls in {made.seconds:.0f} s", flush=True)
            both.append(Ledger(name, url, made, server))
        os.sync()  # what was written in bulk must not be on its way to the disk meanwhile
        yield both[0], both[1]


def compare(both: tuple[Ledger, Ledger], rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Ask both in turn; figures of each round."""
    results = []
    for number in range(1, rounds + 1):
        alone, reports = alternating(both, seconds), month_reports(both)
        for ledger in both if number % 2 else both[::-1]:
            at_once, database_ms = pairs(ledger, seconds)
            rows, report_ms = reports[ledger.name]
            result = {
                "round": number,
                "ledger": ledger.name,
                "cpu_ms": at_once["cpu_ms_per_pair"],
                "database_cpu_ms": database_ms,
                "pairs_per_s": at_once["pairs_per_s"],
                "alone_ms": alone[ledger.name],
                "report_rows": rows,
                "report_ms": report_ms,
            }
            results.append(result)
            print("  ".join(f"{name} {value}" for name, value in result.items()), flush=True)
    return results


def alternating(both: tuple[Ledger, Ledger], seconds: float) -> dict[str, float]:
    """The median time (ms) of an admission and its settlement, one at a time, each time on the other ledger."""
    took: dict[str, list[float]] = {ledger.name: [] for ledger in both}
    with world_of(both[0].url) as small, world_of(both[1].url) as large:
        asked = [(ledger, world, world.worker()) for ledger, world in zip(both, (small, large), strict=True)]
        end_at = time.perf_counter() + seconds
        while time.perf_counter() < end_at:
            for ledger, world, worker_id in asked:
                began = time.perf_counter()
                decision = world.writer.submit(ask(ledger.made.claims[0], worker_id))
                assert isinstance(decision, Grant), decision
                world.writer.submit(
                    Settlement(decision.call, CallState.SETTLED, CHARGE, "completed", AttemptState.ANSWERED)
                )
                took[ledger.name].append(1000 * (time.perf_counter() - began))
    return {name: round(statistics.median(times), 3) for name, times in took.items()}


def pairs(ledger: Ledger, seconds: float) -> tuple[dict[str, Any], float]:
    """Admissions with their settlements by one user; what they cost the client, and the database (ms of CPU each)."""
    before = cpu_s(ledger.server)
    found = measure(ledger.url, ledger.made.claims[0], 1, seconds, 0)
    if found["others"]:
        raise RuntimeError(f"pairs failed: {found['others']}")
    # The warm-up's pairs are not counted, but cost the server the same each.
    share = seconds / (seconds + found["warm_up_s"])
    return found, round(1000 * (cpu_s(ledger.server) - before) * share / max(1, found["pairs"]), 4)


def month_reports(both: tuple[Ledger, Ledger]) -> dict[str, tuple[int, float]]:
    """Of each ledger the rows of the month's usage of all tenants, and the shortest of five times it took (ms)."""
    took: dict[str, list[float]] = {ledger.name: [] for ledger in both}
    rows = {}
    with world_of(both[0].url) as small, world_of(both[1].url) as large:
        for _ in range(5):
            for ledger, world in zip(both, (small, large), strict=True):
                wanted = UsageFilter(first_day=ledger.made.first_day, last_day=ledger.made.last_day)
                began = time.perf_counter()
                rows[ledger.name] = sum(1 for _ in usage(world.database, wanted))
                took[ledger.name].append(1000 * (time.perf_counter() - began))
    return {name: (rows[name], round(min(times), 1)) for name, times in took.items()}


def check(database: str, calls: int, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The medians of the rounds' ratios of the large ledger to the small one."""
    by_name = {
        name: sorted((each for each in results if each["ledger"] == name), key=lambda each: each["round"])
        for name in ("small", "large")
    }

    def ratio(*names: str) -> float:
        both = zip(by_name["large"], by_name["small"], strict=True)
        sums = [(sum(large[name] for name in names), sum(small[name] for name in names)) for large, small in both]
        return float(round(statistics.median(large / small for large, small in sums), 3))

    figures = (
        (
            "an admission and settlement, 64 at a time, CPU with the database's",
            ratio("cpu_ms", "database_cpu_ms"),
            GOAL_ADMISSION,
        ),
        ("an admission and settlement, one at a time, time", ratio("alone_ms"), GOAL_ADMISSION),
        ("a month's report, time", ratio("report_ms"), GOAL_REPORT),
    )
    longest_s = max(each["report_ms"] for each in by_name["large"]) / 1000
    report = {
        "what": f"{database}: a month's report of {calls:,} calls, all tenants, users, models and days, in seconds",
        "measured": round(longest_s, 3),
        "goal": GOAL_REPORT_S,
        "met": longest_s < GOAL_REPORT_S,
    }
    return [report] + [
        {
            "what": f"{database}: {what}, {calls:,} calls as a multiple of {SMALL:,}",
            "measured": figure,
            "goal": goal,
            "met": figure < goal,
        }
        for what, figure, goal in figures
    ]


if __name__ == "__main__":
    main()

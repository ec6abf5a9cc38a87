"""What the ledger costs alone: admissions and settlements by the ledger's writer, one hot tenant with one user.

`python -m bench.ledger_pairs [--quick] [--seconds 5] [--rounds 3] [--processes 1,4] [--databases sqlite,postgresql]`

64 greenlets of each process admit and settle one call after the other, with limits on requests and tokens of tenant
and user. The same once more with one item in each transaction, in turn, as the yardstick: what committing in groups
gains. PostgreSQL has its default durability. The ledger is audited afterwards. Exits with 1 when a goal was missed, a
pair failed, PostgreSQL counted a deadlock or the audit found something.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from bench import commits, machine
from bench.report import goal_line
from bench.targets import DURABLE
from chatapi.domain.limits import Metric
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from tests.concurrency.world import world_of
from tests.support.postgres import DATABASES, Postgres, migrate, sqlite_url
from tests.support.processes import PROJECT_ROOT, clean_environment, end

GREENLETS = 64
HIGH = 10**12
GOAL_MS = {"sqlite": 0.08, "postgresql": 0.2}
GOAL_RATIO = 5.0
MODES = {"groups": 0, "one by one": 1}  # items in a transaction; 0: all that wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 2 s each")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--processes", default="1,4")
    parser.add_argument("--databases", default=",".join(DATABASES))
    parser.add_argument("--modes", default=",".join(MODES), help="some of: %(default)s")
    arguments = parser.parse_args()
    seconds = arguments.seconds or (2.0 if arguments.quick else 5.0)
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    processes = [int(count) for count in arguments.processes.split(",")]
    modes = {mode: MODES[mode] for mode in arguments.modes.split(",")}
    results: list[dict[str, Any]] = []
    commits_ms, sound = {}, True
    for database in arguments.databases.split(","):
        with fresh(database) as (url, commit_ms):
            commits_ms[database] = commit_ms
            print(f"A commit on {database}: p50 {commit_ms['p50']:.2f} ms, p99 {commit_ms['p99']:.2f} ms", flush=True)
            claims = prepare(url)
            for number, count, mode in itertools.product(range(1, rounds + 1), processes, modes):
                found = measure(url, claims, count, seconds, modes[mode])
                results.append({"round": number, "database": database, "mode": mode, **found})
                say(results[-1])
            sound = is_sound(url) and not deadlocks(url) and sound
    goals = check(results)
    for goal in goals:
        print(goal_line(goal))
    machine.save("ledger_pairs", {"results": results, "commits_ms": commits_ms, "goals": goals, "sound": sound})
    failed = any(result["others"] for result in results)
    sys.exit(failed or not sound or not all(goal["met"] for goal in goals))


@contextmanager
def fresh(database: str) -> Iterator[tuple[str, dict[str, float]]]:
    """A migrated database of a kind, and how long a commit takes there (ms)."""
    with tempfile.TemporaryDirectory(prefix="chatapi-bench-") as folder, ExitStack() as stack:
        if database == "sqlite":
            url = sqlite_url(Path(folder) / "pairs.sqlite3")
            migrate(url)
            yield url, commits.sqlite_commits_ms(Path(folder), 1.0)
        else:
            postgres = Postgres(DURABLE)
            stack.callback(postgres.close)
            url = postgres.url(postgres.create())
            yield url, commits.postgresql_commits_ms(url, 1.0)


def prepare(url: str) -> Claims:
    """One tenant with one user and an access token, and limits."""
    with world_of(url) as world:
        world.add_tenant("bench")
        claims = world.add_user("bench", "bench")
    limit(url, claims)
    return claims


def limit(url: str, claims: Claims) -> None:
    """Limit requests and tokens of the user and its tenant, to what is never reached."""
    with world_of(url) as world:
        for scope, scope_id in (("tenant", claims.tenant_id), ("user", claims.user_id)):
            for metric in (Metric.REQUESTS, Metric.TOKENS):
                world.set_limit(scope, scope_id, metric, Window.DAY, HIGH, tenant_id=claims.tenant_id)


def measure(url: str, claims: Claims, processes: int, seconds: float, batch: int) -> dict[str, Any]:
    """Let so many processes loose at once; what they did together."""
    who = f"{claims.tenant_id}/{claims.user_id}/{claims.jti}"
    command = [sys.executable, "-m", "bench._pairs", url, str(GREENLETS), str(seconds), str(batch), who]
    started: list[subprocess.Popen[str]] = []
    try:
        for _ in range(processes):
            started.append(spawn(command))
        for process in started:
            assert process.stdout and process.stdout.readline() == "ready\n", "a process did not start"
        for process in started:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
        found = [json.loads(process.communicate()[0]) for process in started]
    finally:
        for process in started:
            end(process)
    pairs, cpu_s = sum(each["pairs"] for each in found), sum(each["cpu_s"] for each in found)
    others: dict[str, int] = {}
    for each in found:
        for what, count in each["others"].items():
            others[what] = others.get(what, 0) + count
    return {
        "processes": processes,
        "pairs": pairs,
        "pairs_per_s": round(sum(each["pairs"] / each["seconds"] for each in found), 1),
        "cpu_ms_per_pair": round(1000 * cpu_s / max(1, pairs), 4),
        "warm_up_s": found[0]["warm_up_s"],
        "others": others,
    }


def spawn(command: list[str]) -> subprocess.Popen[str]:
    """Start a process that is spoken to by lines."""
    return subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env=clean_environment({}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def is_sound(url: str) -> bool:
    """Whether the audit finds nothing; says what it finds."""
    with world_of(url) as world:
        findings = world.audit()
    print(f"Audit: {findings or 'nothing found'}", flush=True)
    return not findings


def deadlocks(url: str) -> int:
    """How many deadlocks PostgreSQL has counted in this database; SQLite cannot have any."""
    if url.startswith("sqlite"):
        return 0
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    assert row is not None
    print(f"Deadlocks: {row[0]}", flush=True)
    return int(row[0])


def check(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The goals: CPU per pair by the median over the rounds, and the gain by the median of the rounds' ratios."""
    goals = []
    for database, processes in dict.fromkeys((result["database"], result["processes"]) for result in results):
        by_mode: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
        for result in results:
            if (result["database"], result["processes"]) == (database, processes):
                by_mode[result["mode"]].append(result)
        groups, single = by_mode["groups"], by_mode["one by one"]
        where = f"{database}, {processes} process{'es' if processes > 1 else ''}"
        if groups and processes == 1:
            cost, goal = statistics.median(each["cpu_ms_per_pair"] for each in groups), GOAL_MS[database]
            what = f"{where}: CPU ms per admission and settlement"
            goals.append({"what": what, "measured": round(cost, 3), "goal": goal, "met": cost <= goal})
        if groups and single:
            ratios = [one["pairs_per_s"] / other["pairs_per_s"] for one, other in zip(groups, single, strict=True)]
            gain = statistics.median(ratios)
            what = f"{where}: pairs/s in groups as a multiple of one by one"
            goals.append({"what": what, "measured": round(gain, 2), "goal": GOAL_RATIO, "met": gain >= GOAL_RATIO})
    return goals


def say(result: dict[str, Any]) -> None:
    """One line of progress."""
    others = f", others: {result['others']}" if result["others"] else ""
    print(
        f"{result['round']}  {result['database']:<11}{result['processes']} × {GREENLETS}  {result['mode']:<11}"
        f"{result['pairs_per_s']:>9.1f} pairs/s {result['cpu_ms_per_pair']:>8.4f} ms{others}",
        flush=True,
    )


if __name__ == "__main__":
    main()

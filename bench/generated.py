"""A generated ledger: calls of this month with their attempts, counters and roll-ups, written in bulk.

What is written is what the service would have written for as many settled calls, so that `chatapi audit` finds nothing.
"""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import psycopg

from chatapi.domain.principals import Claims
from chatapi.storage import tables
from tests.concurrency.world import World, world_of

TENANTS, USERS_EACH = 20, 10
MODELS = ("gpt-4o", "gpt-4o-mini")
AT_ONCE = 20_000
MINUTE = timedelta(minutes=1)

CALLS = (
    "tenant_id", "id", "user_id", "jti", "worker_id", "state", "endpoint", "model", "upstream", "day", "prompt_bound",
    "completion_granted", "cost_bound", "admitted_at", "deadline_at", "ended_at", "ended", "answered", "usage_source",
    "prompt_tokens", "completion_tokens",
)  # fmt: skip
ATTEMPTS = ("tenant_id", "call_id", "number", "upstream", "model", "state", "started_at", "ended_at", "upstream_id")
COUNTERS = ("tenant_id", "scope", "scope_id", "window", "window_key", "requests_used", "tokens_used")
ROLLUPS = ("tenant_id", "user_id", "jti", "model", "day", "requests", "prompt_tokens", "completion_tokens")
Row = tuple[Any, ...]
Write = Callable[[str, tuple[str, ...], Iterable[Row]], None]


@dataclass(frozen=True, slots=True)
class Generated:
    """What was written, and who may call: the first user of the first tenant, too."""

    calls: int
    seconds: float
    first_day: str
    last_day: str
    claims: tuple[Claims, ...]


def generate(url: str, calls: int) -> Generated:
    """Write so many calls into a migrated database without any."""
    began = time.perf_counter()
    with world_of(url) as world:
        claims = _people(world)
        worker_id = world.worker()
        now = datetime.now(UTC)
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        ledger = _Ledger(claims, worker_id, first, now - MINUTE, calls)
        if world.database.is_sqlite:
            _write_sqlite(url, ledger)
        else:
            _write_postgresql(url, ledger)
    took = time.perf_counter() - began
    return Generated(calls, took, first.date().isoformat(), now.date().isoformat(), claims)


def _people(world: World) -> tuple[Claims, ...]:
    claims = []
    for tenant in range(TENANTS):
        world.add_tenant(f"tenant-{tenant}")
        claims += [world.add_user(f"user-{tenant}-{user}", f"tenant-{tenant}") for user in range(USERS_EACH)]
    return tuple(claims)


class _Ledger:
    """The rows. Counters and roll-ups are known once all calls have been given out."""

    def __init__(self, claims: tuple[Claims, ...], worker_id: str, first: datetime, last: datetime, calls: int) -> None:
        self._claims = claims
        self._worker_id = worker_id
        self._first = first
        self._step = (last - first) / calls
        self._calls = calls
        self._sums: dict[tuple[int, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])

    def batches(self) -> Iterator[tuple[list[Row], list[Row]]]:
        """Calls and their attempts, in the order of their ids."""
        rows = self._rows()
        while batch := list(islice(rows, AT_ONCE)):
            yield [call for call, _ in batch], [attempt for _, attempt in batch]

    def _rows(self) -> Iterator[tuple[Row, Row]]:
        for number in range(self._calls):
            who = number % len(self._claims)
            claims, model = self._claims[who], MODELS[number // len(self._claims) % len(MODELS)]
            at = self._first + self._step * number
            day, ended = at.date().isoformat(), at + timedelta(milliseconds=700)
            prompt, completion = 100 + number % 50, 20 + number % 30
            call_id = _id_of(at, number)
            sums = self._sums[who, model, day]
            sums[0] += 1
            sums[1] += prompt
            sums[2] += completion
            call = (
                claims.tenant_id, call_id, claims.user_id, claims.jti, self._worker_id, "settled",
                "/v1/chat/completions", model, "openai", day, 600, 1024, 0, at, at + timedelta(minutes=15), ended,
                "completed", True, "upstream", prompt, completion,
            )  # fmt: skip
            attempt = (
                claims.tenant_id, call_id, 1, "openai", model, "answered", at, ended, f"chatcmpl-{number:027d}"
            )  # fmt: skip
            yield call, attempt

    def rollups(self) -> list[Row]:
        """The rows of `usage_days`."""
        found = []
        for (who, model, day), sums in self._sums.items():
            found.append((*self._claims[who], model, day, *sums))
        return found

    def counters(self) -> list[Row]:
        """The day's and the month's counters of access tokens, users and tenants."""
        sums: dict[tuple[str, str, str, str, str], list[int]] = defaultdict(lambda: [0, 0])
        for (who, _, day), (requests, prompt, completion) in self._sums.items():
            claims = self._claims[who]
            scopes = (("access_token", claims.jti), ("user", claims.user_id), ("tenant", claims.tenant_id))
            for scope, scope_id in scopes:
                for window, window_key in (("day", day), ("month", day[:7])):
                    counter = sums[claims.tenant_id, scope, scope_id, window, window_key]
                    counter[0] += requests
                    counter[1] += prompt + completion
        return [(*key, *figures) for key, figures in sums.items()]


def _id_of(at: datetime, number: int) -> str:
    """A UUID of version 7 (RFC 9562): the milliseconds, then bits that look random but only mix the number."""
    milliseconds = int(at.timestamp() * 1000)
    mixed = number * 0x9E3779B97F4A7C15 & (1 << 62) - 1
    figures = f"{milliseconds << 80 | 7 << 76 | (number & 0xFFF) << 64 | 2 << 62 | mixed:032x}"
    return f"{figures[:8]}-{figures[8:12]}-{figures[12:16]}-{figures[16:20]}-{figures[20:]}"


def _write_sqlite(url: str, ledger: _Ledger) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA cache_size=-1000000")

        def write(table: str, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
            convert = _sqlite_converters(table, columns)
            names = ", ".join(f'"{name}"' for name in columns)
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"INSERT INTO {table} ({names}) VALUES ({marks})",
                ([one(value) if one else value for one, value in zip(convert, row, strict=True)] for row in rows),
            )

        connection.execute("BEGIN")
        _write_all(ledger, write)
        connection.execute("COMMIT")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _sqlite_converters(table: str, columns: tuple[str, ...]) -> list[Callable[[Any], Any] | None]:
    """How SQLAlchemy would bind a value of each column."""
    from sqlalchemy.dialects.sqlite import dialect

    sqlite = dialect()
    found: list[Callable[[Any], Any] | None] = []
    for name in columns:
        kind = tables.metadata.tables[table].c[name].type
        found.append(kind.dialect_impl(sqlite).bind_processor(sqlite))
    return found


def _write_postgresql(url: str, ledger: _Ledger) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET session_replication_role = replica")  # no look for the call of each attempt

        def write(table: str, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
            names = ", ".join(f'"{name}"' for name in columns)
            with connection.cursor().copy(f"COPY {table} ({names}) FROM STDIN".encode()) as copy:
                copy.write("".join("\t".join(map(str, row)) + "\n" for row in rows))

        _write_all(ledger, write)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def _write_all(ledger: _Ledger, write: Write) -> None:
    for calls, attempts in ledger.batches():
        write("calls", CALLS, calls)
        write("attempts", ATTEMPTS, attempts)
    write("usage_days", ROLLUPS, ledger.rollups())
    write("counters", COUNTERS, ledger.counters())

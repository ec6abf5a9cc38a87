"""How long a commit takes: a loop of one-row updates, each a transaction of its own, on one connection."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import psycopg

from bench.load.driver import percentiles


def postgresql_commits_ms(url: str, seconds: float) -> dict[str, float]:
    """Percentiles (ms) of a one-row UPDATE with its commit on PostgreSQL, with the server's own durability."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS bench_commit (value bigint)")
        connection.execute("TRUNCATE bench_commit")
        connection.execute("INSERT INTO bench_commit VALUES (0)")
        found = _timed(lambda: connection.execute("UPDATE bench_commit SET value = value + 1"), seconds)
        connection.execute("DROP TABLE bench_commit")
    return found


def sqlite_commits_ms(folder: Path, seconds: float) -> dict[str, float]:
    """The same on a SQLite file, with a write-ahead log that is synced at each commit, as the gateway has it."""
    path = folder / "commits.sqlite3"
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE c (value integer);")
        connection.execute("INSERT INTO c VALUES (0)")
        return _timed(lambda: connection.execute("UPDATE c SET value = value + 1"), seconds)
    finally:
        connection.close()
        path.unlink()


def _timed(commit: Callable[[], object], seconds: float) -> dict[str, float]:
    took, end_at = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < end_at:
        commit()
        took.append(time.perf_counter() - began)
    return percentiles(took)

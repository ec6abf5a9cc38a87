"""Old calls go, by months or in batches; what is held, counted and rolled up stays, and the audit knows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from chatapi.domain.calls import AttemptState, CallState, Charge, Settlement
from chatapi.domain.retention import Keep, Month
from chatapi.domain.usage import Usage, UsageSource
from chatapi.logic import retention as logic
from chatapi.logic.runtime import Runtime
from chatapi.storage import reports, retention
from chatapi.storage.columns import Row
from chatapi.storage.reports import UsageFilter
from chatapi.storage.tables import attempts, calls, counters, installation, usage_days
from tests.concurrency.model import utc
from tests.concurrency.world import Clock, World
from tests.support.commands import run_here
from tests.support.history import answered_at, days, held_at, history_of, id_at
from tests.support.processes import PROJECT_ROOT, clean_environment
from tests.support.runtimes import make_runtime

NOW = utc("2026-11-21T12:00:00")
KEEP = Keep.parse("13months")  # since 2025-10-21
SEPTEMBER, MIDNIGHT = utc("2025-09-15T12:00:00"), utc("2025-09-30T23:00:00")  # which is October where it is early
OCTOBER, LATER = utc("2025-10-20T11:00:00"), utc("2025-10-21T12:00:00")


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    """Calls that are older than thirteen months, and calls that are not."""
    with history_of(database_url, NOW) as world:
        for name in ("utc", "early"):
            for instant in (SEPTEMBER, MIDNIGHT, OCTOBER, LATER, NOW):
                answered_at(world, name, instant)
        yield world


@pytest.fixture
def runtime(world: World, database_url: str) -> Iterator[Runtime]:
    runtime = make_runtime(database_url, clock=Clock(NOW))
    yield runtime
    runtime.database.close()


def cut(runtime: Runtime, keep: Keep = KEEP) -> tuple[list[str], list[int]]:
    """Take away what is old: the months that were dropped, and what each batch deleted."""
    old = logic.find_old(runtime, keep)
    months = [str(month) for month, _ in logic.drop_months(runtime, old)]
    return months, list(logic.delete_in_batches(runtime, old))


def environment(url: str, folder: Path) -> dict[str, str]:
    return {"CHATAPI_DATABASE_URL": url, "CHATAPI_VAR_DIR": str(folder), "CHATAPI_ENV_FILE": os.devnull}


def rows_of(world: World) -> list[list[Row]]:
    """All counters, and all roll-ups."""
    with world.database.read() as connection:
        found = [connection.execute(select(table).order_by(*table.primary_key)) for table in (counters, usage_days)]
        return [[dict(row) for row in rows.mappings()] for rows in found]


def how_many(world: World) -> int:
    with world.database.read() as connection:
        return connection.execute(select(func.count()).select_from(calls)).scalar_one()


def since(world: World) -> str:
    with world.database.read() as connection:
        return retention.calls_since(connection)


def test_what_is_old_goes_and_counters_and_rollups_stay(world: World, runtime: Runtime) -> None:
    before, said = rows_of(world), list(reports.usage(world.database, UsageFilter()))
    months, deleted = cut(runtime)
    assert rows_of(world) == before
    assert list(reports.usage(world.database, UsageFilter())) == said
    if world.database.is_sqlite:
        # At 11:00 UTC it is the next day already where it is early: those calls are of 2025-10-21, and kept.
        assert (months, deleted) == ([], [3, 2])
        assert days(world) == ["2025-10-21", "2025-10-21", "2025-10-22", "2026-11-21", "2026-11-22"]
        assert since(world) == "2025-10-21"
    else:
        # A month that is not old as a whole stays, and is dropped when it is.
        assert (months, deleted) == (["2025_09"], [])
        assert days(world) == ["2025-10-20", "2025-10-21", "2025-10-21", "2025-10-22", "2026-11-21", "2026-11-22"]
        assert since(world) == "2025-10-02"
    assert world.audit() == []
    assert cut(runtime) == ([], [])


def test_the_audit_still_compares_what_is_there(world: World, runtime: Runtime) -> None:
    cut(runtime)
    assert world.audit() == []
    retained = (usage_days.c.day == "2025-10-22", counters.c.window_key == "2026-11")
    with world.database.write() as connection:
        connection.execute(update(usage_days).where(retained[0]).values(requests=7))
        connection.execute(update(counters).where(retained[1], counters.c.scope == "user").values(tokens_used=1))
    assert {finding.invariant for finding in world.audit()} == {"I2", "I5", "I7"}


def test_without_the_day_of_the_cut_the_audit_would_miss_the_calls(world: World, runtime: Runtime) -> None:
    cut(runtime)
    with world.database.write() as connection:
        connection.execute(update(installation).values(calls_since=None))
    assert {finding.invariant for finding in world.audit()} == {"I2", "I7"}


def test_windows_that_were_cut_are_not_compared_and_whole_ones_are(world: World, runtime: Runtime) -> None:
    """October was cut in its middle: the month and the days before cannot be compared with calls, later days can."""
    cut(runtime)
    with world.database.write() as connection:
        of_month = counters.c.window_key.in_(["2025-09", "2025-10", "2025-09-15"])
        connection.execute(update(counters).where(of_month).values(requests_used=9))
        connection.execute(update(usage_days).where(usage_days.c.day == "2025-09-15").values(requests=9))
    assert world.audit() == []
    with world.database.write() as connection:
        connection.execute(update(counters).where(counters.c.window_key == "2025-10-22").values(requests_used=9))
    assert {finding.invariant for finding in world.audit()} == {"I2"}


def test_a_held_call_is_never_deleted_and_the_others_of_its_month_are(world: World, runtime: Runtime) -> None:
    call = held_at(world, "utc", SEPTEMBER)
    old = logic.find_old(runtime, KEEP)
    assert (old.held, Month(2025, 9) in old.months) == (1, False)
    months, deleted = cut(runtime)
    assert "2025_09" not in months
    assert sum(deleted) == (5 if world.database.is_sqlite else 4)
    with world.database.read() as connection:
        assert connection.execute(select(calls.c.id).where(calls.c.state == "held")).scalars().all() == [call.call_id]
    assert {finding.invariant for finding in world.audit()} == {"I6"}, "nobody has swept it up"
    with world.database.write() as connection:
        assert world.ledger.expire(connection, [call]) == 1
    cut(runtime)
    assert "2025-09-15" not in days(world)
    assert world.audit() == []


def test_the_truth_about_a_deleted_call_comes_too_late_and_changes_nothing(world: World, runtime: Runtime) -> None:
    """A machine that was away for so long replays its journal: its call expired at its hold, and stays charged so."""
    call = held_at(world, "utc", SEPTEMBER)
    with world.database.write() as connection:
        assert world.ledger.expire(connection, [call]) == 1
    cut(runtime)
    before = rows_of(world), days(world)
    charge = Charge(answered=True, usage=Usage(5, 0, 5, 0, UsageSource.UPSTREAM))
    late = Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED)
    assert world.writer.submit(late), "it is owed no longer"
    assert (rows_of(world), days(world)) == before
    assert world.audit() == []


def test_batches_are_small(world: World, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", {"sqlite": 2, "postgresql": 2})
    for minutes in range(4):  # of a year that nobody made partitions for
        instant = utc("2024-02-01T12:00:00") + timedelta(minutes=minutes)
        answered_at(world, "utc", instant, partitions=False)
    held = held_at(world, "utc", utc("2024-02-01T12:01:30"), partitions=False)
    _, deleted = cut(runtime)
    assert deleted == ([2, 2, 2, 1, 2] if world.database.is_sqlite else [2, 2])
    assert days(world)[0] == held.day
    assert days(world)[1] > "2025"


def test_a_dry_run_says_what_would_go_and_changes_nothing(world: World, database_url: str, tmp_path: Path) -> None:
    before, since_before = days(world), since(world)
    settings = environment(database_url, tmp_path)
    arguments = ("retention", "--keep", "31days")  # by the database's own clock: all but what is of its month
    done = run_here((*arguments, "--dry-run", "--json"), settings)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["dry_run"] is True
    assert said["calls_dropped"] + said["calls_deleted"] >= (8 if world.database.is_sqlite else 4)
    assert (days(world), since(world)) == (before, since_before) == (before, "")
    readable = run_here((*arguments, "--dry-run"), settings)
    assert readable.stdout.endswith("Dry run, nothing was changed.\n")
    really = json.loads(run_here((*arguments, "--json"), settings).stdout)
    for name in ("calls_before", "calls_dropped", "calls_deleted", "months_dropped", "held_calls_kept"):
        assert really[name] == said[name]
    assert len(days(world)) == len(before) - said["calls_dropped"] - said["calls_deleted"]
    assert world.audit() == []


def test_what_is_said_names_the_day_the_months_and_what_is_held(
    world: World, database_url: str, tmp_path: Path
) -> None:
    held_at(world, "utc", SEPTEMBER - timedelta(days=60))
    done = run_here(("retention", "--keep", "31days"), environment(database_url, tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("8 calls of days before 20")
    assert lines[-1] == "1 old calls are still held and stay. Run: chatapi sweep"
    if not world.database.is_sqlite:
        assert lines[1].startswith("8 of them were dropped with their months: ")
        assert "2025_09" in lines[1]


@pytest.mark.parametrize("keep", ["30days", "soon"])
def test_a_time_that_cannot_be_kept_is_refused(sqlite_url: str, tmp_path: Path, keep: str) -> None:
    done = run_here(("retention", "--keep", keep), environment(sqlite_url, tmp_path))
    assert done.returncode == 2
    assert "Invalid value for '--keep'" in done.stderr


@pytest.mark.chaos
def test_who_is_killed_half_way_goes_on_the_next_time(database_url: str, tmp_path: Path) -> None:
    """Each tenant's calls are a transaction of their own; a pause follows each, to be killed in."""
    settings = environment(database_url, tmp_path)
    with history_of(database_url, datetime.now(UTC)) as world:
        for number in range(40):
            world.add_tenant(f"tenant {number}")
            world.add_user(f"user {number}", f"tenant {number}")
            answered_at(world, f"user {number}", SEPTEMBER, partitions=False)
        multiply(world, 100)
        written = how_many(world)
        command = [sys.executable, "-m", "chatapi.cli.main", "retention", "--keep", "31days"]
        with subprocess.Popen(command, env=clean_environment(settings), cwd=PROJECT_ROOT) as process:
            give_up_at = time.monotonic() + 30
            while how_many(world) == written and time.monotonic() < give_up_at:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
        left = how_many(world)
        assert 0 < left < written == 4000
        assert world.audit() == []
        done = run_here(("retention", "--keep", "31days", "--json"), settings)
        assert json.loads(done.stdout)["calls_deleted"] == left, done.stderr
        assert days(world) == []
        assert world.audit() == []
        assert since(world) == "2025-09-16"


def multiply(world: World, times: int) -> None:
    """Write every call so many times, with ids of the same time and its attempt."""
    with world.database.write() as connection:
        for of_call in connection.execute(select(calls)).mappings().all():
            here = attempts.c.call_id == of_call["id"]
            of_attempt = connection.execute(select(attempts).where(here)).mappings().one()
            ids = [id_at(SEPTEMBER) for _ in range(times - 1)]
            connection.execute(insert(calls), [dict(of_call) | {"id": call_id} for call_id in ids])
            connection.execute(insert(attempts), [dict(of_attempt) | {"call_id": call_id} for call_id in ids])

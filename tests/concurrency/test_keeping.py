"""What a worker does beside serving, round by round."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from chatapi.domain.calls import Grant
from chatapi.logic.keeping import Keeper
from chatapi.logic.runtime import Runtime
from chatapi.parts import build_runtime
from chatapi.settings import Settings
from tests.concurrency.world import World, ask, world_of

LEASE_S = 0.4


@pytest.fixture
def runtime(sqlite_url: str, tmp_path: Path) -> Iterator[Runtime]:
    """A worker whose lease is short."""
    runtime = build_runtime(Settings(database_url=sqlite_url, var_dir=tmp_path, lease_s=LEASE_S, renew_s=0.1))
    yield runtime
    runtime.database.close()


def leave_behind(world: World, name: str) -> None:
    """A worker dies and leaves a held call."""
    with world.database.read() as connection:
        now = world.database.now(connection)
    worker_id = world.worker()
    world.add_tenant(name)
    assert isinstance(world.writer.submit(ask(world.add_user(name, name), worker_id)), Grant)
    world.change("workers", worker_id, renewed_at=now - timedelta(seconds=60))


def tick_for(keeper: Keeper, seconds: float) -> int:
    """Let rounds follow each other as usual; how many calls expired."""
    expired, end_at = 0, time.monotonic() + seconds
    while time.monotonic() < end_at:
        expired += keeper.tick()
        time.sleep(0.05)
    return expired


def test_nobody_sweeps_before_the_database_has_answered_for_one_lease_time(runtime: Runtime, sqlite_url: str) -> None:
    with world_of(sqlite_url) as world:
        leave_behind(world, "first")
        keeper = Keeper(runtime)
        assert tick_for(keeper, LEASE_S / 2) == 0
        assert tick_for(keeper, LEASE_S) == 1


def test_who_was_suspended_himself_does_not_take_the_others_for_dead(runtime: Runtime, sqlite_url: str) -> None:
    with world_of(sqlite_url) as world:
        keeper = Keeper(runtime)
        assert tick_for(keeper, 1.5 * LEASE_S) == 0
        leave_behind(world, "second")
        time.sleep(1.5 * LEASE_S)  # the whole machine stands still: when it goes on, every lease on it looks dead
        assert tick_for(keeper, LEASE_S / 2) == 0
        assert tick_for(keeper, LEASE_S) == 1

"""Failures beside the ledger: odd figures, poisoned items, a silent server, full gates. None of them loses a call."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import select, text

from chatapi.domain.calls import CallState, Charge, Grant
from chatapi.domain.limits import Amount
from chatapi.domain.usage import Usage, UsageSource
from chatapi.errors import DatabaseUnavailable, Overloaded, Unavailable
from chatapi.logic.keeping import end_strays
from chatapi.logic.running import RunningCall, RunningCalls
from chatapi.storage import postgresql
from chatapi.storage.gate import Gate
from chatapi.storage.tables import calls, usage_days
from tests.concurrency.world import World, ask, world_of
from tests.support.runtimes import make_runtime

USAGE = Usage(5, 0, 7, 0, UsageSource.UPSTREAM)


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    with world_of(database_url) as world:
        world.add_tenant("acme")
        world.add_user("somebody", "acme")
        yield world


def start(world: World, running: RunningCalls) -> RunningCall:
    admission = ask(world.users["somebody"], running.worker_id)
    running.enter(admission.call_id)
    grant = world.writer.submit(admission)
    assert isinstance(grant, Grant)
    return RunningCall(grant.call, world.writer, running, 60)


def state(world: World, call: RunningCall) -> str:
    with world.database.read() as connection:
        return str(connection.execute(select(calls.c.state).where(calls.c.id == call.held.call_id)).scalar_one())


def test_an_upstream_id_that_no_database_can_keep_does_not_lose_the_settlement(world: World) -> None:
    running = RunningCalls(world.worker())
    call = start(world, running)
    call.settle(Charge(answered=True, usage=USAGE), "completed", "odd\0id\n" + "x" * 10_000)
    assert state(world, call) == "settled"
    assert world.audit() == []


def test_a_settlement_that_cannot_be_written_at_all_is_a_stray_and_charged_at_its_hold(world: World) -> None:
    runtime = make_runtime(world.database.engine.url.render_as_string(hide_password=False))
    running = RunningCalls(world.worker())
    call = start(world, running)
    absurd = USAGE._replace(prompt_tokens=2**70)
    with pytest.raises(Exception, match=r"(?i)int|range|large"):
        call.settle(Charge(answered=True, usage=absurd), "completed")
    assert not running.knows(call.held.call_id)
    keeper = replace(runtime, running=running, writer=world.writer)
    assert end_strays(keeper) == 1
    assert state(world, call) == CallState.EXPIRED
    assert world.audit() == []
    runtime.database.close()


def test_an_owed_item_that_is_wrong_in_itself_does_not_keep_the_others_from_being_paid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = RunningCalls(world.worker())
    bad, good = start(world, running), start(world, running)

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "write", away)
        bad.settle(Charge(answered=True, usage=USAGE._replace(prompt_tokens=2**70)), "completed")
        good.settle(Charge(answered=True, usage=USAGE), "completed")
    assert world.writer.owes(bad.held.call_id)
    assert world.writer.owes(good.held.call_id)
    assert world.writer.repay() == 0
    assert (state(world, bad), state(world, good)) == ("held", "settled")


def test_a_released_call_leaves_nothing_in_the_reports(world: World) -> None:
    start(world, RunningCalls(world.worker())).release("upstream_error")
    with world.database.read() as connection:
        assert connection.execute(select(usage_days)).all() == []
    assert world.audit() == []


def test_while_a_worker_drains_it_takes_no_new_call() -> None:
    running = RunningCalls("worker")
    running.draining = True
    with pytest.raises(Unavailable):
        running.enter("call")


def test_a_server_that_is_silent_is_given_up(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One backend is suspended in the middle of a transaction, as by a network that drops everything."""
    monkeypatch.setattr(postgresql.Connection, "silence_s", 1.0)
    with world_of(postgres_url) as world:
        with world.database.read() as connection:
            backend = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        os.kill(backend, signal.SIGSTOP)
        try:
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailable), world.database.read() as connection:
                connection.execute(text("SELECT 1"))
            assert 0.9 < time.monotonic() - started < 5
            with world.database.read() as connection:  # on another connection: the silent one is gone
                assert connection.execute(text("SELECT 1")).scalar_one() == 1
        finally:
            os.kill(backend, signal.SIGCONT)


def test_what_gives_back_goes_first_and_is_never_turned_away() -> None:
    gate, entered = Gate(1, 2), list[str]()
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with gate.entered(5):
            inside.set()
            leave.wait(5)

    def enter(name: str, *, urgent: bool) -> None:
        with gate.entered(5, urgent=urgent):
            entered.append(name)

    with ThreadPoolExecutor(8) as pool:
        pool.submit(hold)
        assert inside.wait(5)
        waiting = []
        for name in ("admission 1", "admission 2", "settlement 1", "settlement 2", "settlement 3"):
            waiting.append(pool.submit(enter, name, urgent=name.startswith("settlement")))
            time.sleep(0.05)
        with pytest.raises(Overloaded), gate.entered(5):
            raise AssertionError("the line of admissions is full")
        leave.set()
        for done in waiting:
            done.result()
    assert entered == ["settlement 1", "settlement 2", "settlement 3", "admission 1", "admission 2"]


def test_a_call_that_is_ended_by_force_gives_its_hold_back(world: World) -> None:
    running = RunningCalls(world.worker())
    call = start(world, running)
    assert call.held.hold == Amount(1, 30, 0)
    call.finish()
    assert state(world, call) == "settled"
    assert world.audit() == []

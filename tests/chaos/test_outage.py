"""The database is away for several lease times: new calls are refused, running streams go on, no living call expires,
and what ended meanwhile reaches the ledger, also from the journal of a gateway that was killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from sqlalchemy import select

from bench.emulator.process import Emulator
from chatapi.storage.tables import workers
from tests.chaos.load import Load
from tests.chaos.machines import LEASE_S, LONG, TWO_WORKERS, Machine, MakeMachine, await_that, say
from tests.chaos.reconcile import await_truth, ever_expired, reconcile
from tests.concurrency.world import world_of
from tests.support.postgres import Postgres

pytestmark = pytest.mark.chaos

OUTAGE_S = 60.0 if LONG else 2 * LEASE_S
SHORT_STREAM = "tiny-emu-events30-gap50"  # 1.5 s: it ends during the outage
LONG_STREAM = f"tiny-emu-events{int(OUTAGE_S * 20) + 60}-gap50"  # 3 s longer than the outage
Outage = Callable[[Postgres], AbstractContextManager[None]]


@contextmanager
def stopped(server: Postgres) -> Iterator[None]:
    """The server is not there."""
    server.stop()
    try:
        yield
    finally:
        server.start()


def begin(machine: Machine, emulator: Emulator, model: str, count: int) -> Load:
    """Begin some streams, and wait until the upstream serves them."""
    before = len(emulator.arrived())
    load = Load([machine.bind], machine.tokens(2), calls=count, in_flight=count, stream=model, stream_every=1)
    await_that(lambda: len(emulator.arrived()) == before + count, "the streams run")
    return load


def assert_refused(machine: Machine) -> None:
    """New calls are refused at once, and the balancer is told."""
    with Load([machine.bind], machine.known_tokens, in_flight=4) as load:
        load.await_calls_ended(4)
        assert {one.status for one in load.finish()} == {503}
    assert machine.http.get("/readyz").status_code == 503


@pytest.mark.parametrize("outage", [stopped, Postgres.suspended] if LONG else [stopped])
def test_an_outage_expires_no_living_call_and_loses_none_that_ended_meanwhile(
    outage: Outage, own_postgres: Postgres, make_machine: MakeMachine, emulator: Emulator
) -> None:
    url = own_postgres.url(own_postgres.create())
    machine = make_machine(url, emulator.url)
    machine.start_with_users()
    with (
        begin(machine, emulator, LONG_STREAM, 4) as lasting,
        begin(machine, emulator, SHORT_STREAM, 8) as ending,
    ):
        with outage(own_postgres):
            began = time.monotonic()
            assert machine.http.get("/healthz").status_code == 200
            if outage is stopped:
                assert_refused(machine)
            time.sleep(max(0.0, OUTAGE_S - (time.monotonic() - began)))
        seen = ending.wait(patience_s=60) + lasting.wait(patience_s=60)
    assert [one.whole for one in seen] == [True] * 12
    await_that(machine.is_ready, "the gateway is ready again")
    await_truth(url)
    assert len(emulator.arrived()) == 12
    assert ever_expired(url) == 0
    say(f"an outage of {OUTAGE_S:.0f} s: {reconcile(machine, emulator, seen, nobody_died=True)}")


def test_what_a_gateway_owed_when_it_was_killed_in_an_outage_is_settled_by_the_next_one(
    own_postgres: Postgres, make_machine: MakeMachine, emulator: Emulator
) -> None:
    url = own_postgres.url(own_postgres.create())
    machine = make_machine(url, emulator.url)
    machine.start_with_users()
    with begin(machine, emulator, SHORT_STREAM, 8) as ending:
        own_postgres.stop()
        seen = ending.wait(patience_s=60)
        os.killpg(machine.pid, signal.SIGKILL)
        machine.stop()
        assert len(machine.journal_files) > 0
        assert machine.run("serve").returncode == 1  # it says that the database is away; its supervisor tries again
    own_postgres.start()
    machine.start()
    await_truth(url)
    assert [one.whole for one in seen] == [True] * 8
    assert machine.journal_files == []
    say(f"killed in an outage: {reconcile(machine, emulator, seen, nobody_died=True)}")


def test_a_worker_that_dies_in_an_outage_does_not_end_the_others_and_is_replaced_when_it_is_over(
    own_postgres: Postgres, make_machine: MakeMachine, emulator: Emulator
) -> None:
    url = own_postgres.url(own_postgres.create())
    machine = make_machine(url, emulator.url, more=TWO_WORKERS)
    machine.start_with_users()
    await_that(lambda: _leases(url) == 2, "both workers serve")
    with stopped(own_postgres):
        killed, _ = machine.workers
        os.kill(killed, signal.SIGKILL)
        time.sleep(3)  # its successors have tried to start
        assert machine.http.get("/healthz").status_code == 200
    await_that(machine.is_ready, "the gateway is ready again")
    await_that(lambda: len(machine.workers) == 2, "it has a successor")
    assert killed not in machine.workers


def _leases(url: str) -> int:
    """How many workers have begun to serve."""
    with world_of(url) as world, world.database.read() as connection:
        return len(connection.execute(select(workers)).all())

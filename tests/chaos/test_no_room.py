"""There is no room on the disk, or no connection left: calls are refused, and none goes upstream without a row."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg
import pytest

from bench.emulator.process import Emulator
from tests.chaos.load import Load
from tests.chaos.machines import Machine, MakeMachine, await_that, children_of, say
from tests.chaos.reconcile import await_truth, reconcile
from tests.support.postgres import Postgres

pytestmark = pytest.mark.chaos

END_ITS_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chatapi'"
LONG_STREAM = "tiny-emu-events60-gap50"  # 3 s: it ends while there is no room


@contextmanager
def full_disk(machine: Machine) -> Iterator[None]:
    """No process of the machine can write a single byte to any file, its log included, while the block runs.

    A limit on the size of files stands in for a full disk: writing fails in the same places, with EFBIG for ENOSPC.
    """
    processes = [machine.pid, *machine.workers]
    try:
        for process in processes:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        yield
    finally:
        for process in processes:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def no_connection_left(server: Postgres) -> Iterator[None]:
    """Others have taken every connection that the server gives, those of the gateway included."""
    with ExitStack() as stack:

        def connect() -> psycopg.Connection[object]:
            return stack.enter_context(psycopg.connect(server.url("postgres"), autocommit=True))

        first, tries = connect(), 0
        while first.execute(END_ITS_SESSIONS).fetchall() or tries < 5:
            tries += 1
            with suppress(psycopg.OperationalError):
                while True:
                    connect()
        yield


def assert_refused_while_it_lasts(machine: Machine, emulator: Emulator, load: Load) -> None:
    """Every call that begins now gets a 503 and reaches no upstream."""
    time.sleep(0.5)  # what was admitted before is on its way
    arrived, since = len(emulator.arrived()), time.time()
    await_that(lambda: len([one for one in load.seen() if one.began > since]) >= 10, "calls are refused", 60)
    assert {one.status for one in load.seen() if one.began > since} == {503}
    assert len(emulator.arrived()) == arrived
    assert machine.http.get("/healthz").status_code == 200


def test_on_a_full_disk_calls_are_refused_and_settlements_wait_in_memory(
    sqlite_url: str, make_machine: MakeMachine, emulator: Emulator
) -> None:
    machine = make_machine(sqlite_url, emulator.url)
    machine.start_with_users()
    tokens = machine.tokens(2)
    with Load([machine.bind], tokens, in_flight=4, calls=4, stream=LONG_STREAM, stream_every=1) as streams:
        await_that(lambda: len(emulator.arrived()) >= 4, "the streams run")
        with full_disk(machine), Load([machine.bind], tokens, in_flight=8) as load:
            assert_refused_while_it_lasts(machine, emulator, load)
            whole = streams.wait(patience_s=20)
            ready = machine.http.get("/readyz")
            assert (ready.status_code, "journal" in ready.json()["reason"]) == (503, True)
        seen = load.finish() + whole
    assert [one.whole for one in whole] == [True] * 4
    await_that(machine.is_ready, "there is room, and the gateway is ready")
    await_truth(sqlite_url)
    say(f"a full disk: {reconcile(machine, emulator, seen, nobody_died=True)}")


def test_without_a_connection_to_be_had_calls_are_refused(
    own_postgres: Postgres, make_machine: MakeMachine, emulator: Emulator
) -> None:
    url = own_postgres.url(own_postgres.create())
    own_postgres.execute("ALTER SYSTEM SET max_connections = 20")
    own_postgres.stop()
    own_postgres.start()
    machine = make_machine(url, emulator.url)
    machine.start_with_users()
    with Load([machine.bind], machine.tokens(2), in_flight=16) as load:
        load.await_calls_ended(50)
        with no_connection_left(own_postgres):
            assert_refused_while_it_lasts(machine, emulator, load)
            assert machine.http.get("/readyz").status_code == 503
        since = time.time()
        await_that(lambda: any(one.whole and one.began > since for one in load.seen()), "calls are served again")
        seen = load.finish()
    await_truth(url)
    say(f"no connection left: {reconcile(machine, emulator, seen, nobody_died=True)}")
    assert children_of(machine.pid), "the gateway is still there"

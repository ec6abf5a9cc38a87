"""A worker is suspended in the middle of a transaction and of its streams, for longer than its lease lasts: the others
go on, and nothing is charged twice."""

from __future__ import annotations

import os
import signal
import time

import pytest

from bench.emulator.process import Emulator
from tests.chaos.load import Load
from tests.chaos.machines import LEASE_S, LONG, MakeMachine, await_that, say
from tests.chaos.reconcile import await_truth, ever_expired, reconcile
from tests.support.postgres import Postgres

pytestmark = pytest.mark.chaos

SUSPENDED_S = 45.0 if LONG else 2.5 * LEASE_S  # gunicorn would replace it after 60 s
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chatapi' AND state = 'idle in transaction'"


def suspend_in_a_transaction(worker: int, server: Postgres) -> None:
    """Suspend the worker at a moment at which it has a transaction open."""
    give_up_at = time.monotonic() + 60
    while True:
        os.kill(worker, signal.SIGSTOP)
        time.sleep(0.02)  # what was on its way to the server arrives
        if server.value(OPEN):
            return
        os.kill(worker, signal.SIGCONT)
        assert time.monotonic() < give_up_at, "it never had a transaction open"
        time.sleep(0.01)


def test_a_worker_that_is_suspended_amid_a_transaction_stops_nobody_and_is_not_charged_twice(
    own_postgres: Postgres, make_machine: MakeMachine, emulator: Emulator
) -> None:
    url = own_postgres.url(own_postgres.create())
    one = {"CHATAPI_WORKERS": "1"}  # so that it is the whole machine that stands still
    stopped, other = (make_machine(url, emulator.url, host=host, more=one) for host in ("127.0.0.2", "127.0.0.3"))
    stopped.start_with_users()
    other.start()
    tokens = stopped.tokens(1)  # both machines write the same user's and tenant's counters
    with Load([stopped.bind], tokens, in_flight=8) as hanging, Load([other.bind], tokens, in_flight=8) as load:
        hanging.await_calls(20)
        (worker,) = stopped.workers
        suspend_in_a_transaction(worker, own_postgres)
        since = time.time()
        try:
            time.sleep(SUSPENDED_S)
            served = [one for one in load.seen() if one.whole and one.began > since]
            await_that(lambda: ever_expired(url) > 0, "the other has taken it for dead")
        finally:
            os.kill(worker, signal.SIGCONT)
        hanging.await_calls_ended(hanging.ended + 20)
        seen = hanging.finish() + load.finish()
    await_truth(url)
    summary = reconcile(stopped, emulator, seen, nobody_died=True)
    longest_s = max(one.ended - one.began for one in served)
    say(
        f"suspended for {SUSPENDED_S:.0f} s: {len(served)} calls served meanwhile, {longest_s:.1f} s at most; {summary}"
    )
    assert len(served) > 20
    assert longest_s < 5  # a transaction that is left open is ended by the server after 2 s

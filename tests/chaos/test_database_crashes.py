"""PostgreSQL crashes under load: no settlement is lost, and calls are served again within seconds."""

from __future__ import annotations

import time

import pytest

from bench.emulator.process import Emulator
from tests.chaos.load import Load
from tests.chaos.machines import LONG, MakeMachine, rounds, say
from tests.chaos.reconcile import await_truth, reconcile
from tests.support.postgres import Postgres

pytestmark = pytest.mark.chaos

CRASHES = 20 if LONG else 2
TENANTS = 8 if LONG else 2
SERVING_AGAIN_S = 5.0


def test_a_database_that_crashes_under_load_loses_no_settlement_and_is_used_again_at_once(
    own_postgres: Postgres, make_machine: MakeMachine, emulator: Emulator
) -> None:
    url = own_postgres.url(own_postgres.create())
    machine = make_machine(url, emulator.url)
    machine.start_with_users()
    slowest_s = 0.0
    with Load([machine.bind], machine.tokens(TENANTS)) as load:
        for crash in rounds(CRASHES):
            load.await_calls_ended(load.ended + 60)
            own_postgres.crash()
            time.sleep(1.5)  # longer than an admission is tried
            own_postgres.start()
            back_at = time.time()
            load.await_calls(1, lambda one: one.whole and one.began > back_at)  # noqa: B023
            again_s = min(one.ended for one in load.seen() if one.whole and one.began > back_at) - back_at
            slowest_s = max(slowest_s, again_s)
            say(f"crash {crash}: served again after {again_s:.1f} s")
        seen = load.finish()
    await_truth(url)
    summary = reconcile(machine, emulator, seen, nobody_died=True)
    say(f"{crash} crashes of PostgreSQL: {summary}; served again after {slowest_s:.1f} s at most")
    assert slowest_s < SERVING_AGAIN_S
    assert summary.clients["refused with 503"] > 0, "no crash hit a call"

"""Workers are killed under load: what the upstream served has its row, and nothing is charged twice or stays held."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from bench.emulator.process import Emulator
from tests.chaos.load import Load
from tests.chaos.machines import LONG, TWO_WORKERS, MakeMachine, await_that, rounds, say
from tests.chaos.reconcile import await_none_held, reconcile

pytestmark = pytest.mark.chaos

CALLS, KILLS = (50_000, 200) if LONG else (240, 3)
TENANTS = 8 if LONG else 2


def test_workers_that_are_killed_under_load_leave_a_ledger_that_agrees_with_the_upstream(
    postgres_url: str, make_machine: MakeMachine, emulator: Emulator
) -> None:
    machine = make_machine(postgres_url, emulator.url, more=TWO_WORKERS)
    machine.start_with_users()
    with Load([machine.bind], machine.tokens(TENANTS), in_flight=64 if LONG else 16) as load:
        for kill in rounds(KILLS):
            load.await_calls_ended(kill * CALLS // (KILLS + 1))
            os.kill(random.choice(machine.workers), signal.SIGKILL)
            if kill % 20 == 0:
                say(f"{kill} workers killed, {load.ended} calls ended")
        load.await_calls_ended((kill + 1) * CALLS // (KILLS + 1))
        seen = load.finish()
    ended_at = time.monotonic()
    await_that(machine.is_ready, "the gateway is ready again")
    await_none_held(postgres_url)
    summary = reconcile(machine, emulator, seen)
    say(f"{kill} SIGKILLs: {summary}; nothing held {time.monotonic() - ended_at:.1f} s after the end")
    assert summary.clients["cut off"] > 0, "no kill hit a call"

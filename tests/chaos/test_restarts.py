"""The gateway is restarted by SIGTERM under load: when it has ended, every call is settled."""

from __future__ import annotations

import pytest

from bench.emulator.process import Emulator
from tests.chaos.load import Load
from tests.chaos.machines import LONG, MakeMachine, rounds, say
from tests.chaos.reconcile import held, reconcile

pytestmark = pytest.mark.chaos

RESTARTS = 100 if LONG else 1
LONG_STREAM = "tiny-emu-events500-gap20"  # 10 s: the graceful time is over before it is


def test_restarts_under_load_leave_no_call_unsettled(
    postgres_url: str, make_machine: MakeMachine, emulator: Emulator
) -> None:
    machine = make_machine(postgres_url, emulator.url)
    machine.start_with_users()
    tokens = machine.tokens(8 if LONG else 2)
    with (
        Load([machine.bind], tokens) as load,
        Load([machine.bind], tokens, in_flight=4, stream=LONG_STREAM, stream_every=1) as streams,
    ):
        for restart in rounds(RESTARTS):
            load.await_calls_ended(load.ended + 50)
            code = machine.stop(patience_s=15)
            assert code == 0
            assert held(postgres_url) is None, "a call was left unsettled"
            machine.start()
            if restart % 10 == 0:
                say(f"{restart} restarts, {load.ended + streams.ended} calls ended")
        seen = load.finish() + streams.finish()
    assert held(postgres_url) is None
    summary = reconcile(machine, emulator, seen, nobody_died=True)
    say(f"{restart} restarts by SIGTERM: {summary}")
    assert summary.clients["cut off"] > 0, "no restart hit a call"

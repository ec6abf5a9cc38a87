"""Two machines behind one balancer, on one PostgreSQL: a limit is met exactly, and losing one of them loses nothing."""

from __future__ import annotations

import json
import os
import signal

import pytest

from bench.emulator.process import Emulator
from tests.chaos.balancer import Balancer
from tests.chaos.load import Load
from tests.chaos.machines import LONG, Machine, MakeMachine, say
from tests.chaos.reconcile import await_none_held, reconcile

pytestmark = pytest.mark.chaos

LIMIT = 3_000 if LONG else 150


@pytest.fixture
def pair(postgres_url: str, make_machine: MakeMachine, emulator: Emulator) -> tuple[Machine, Machine]:
    """Two machines that share nothing but their database."""
    first = make_machine(postgres_url, emulator.url, host="127.0.0.2")
    second = make_machine(postgres_url, emulator.url, host="127.0.0.3")
    first.start_with_users()
    second.start()
    return first, second


def answered(machine: Machine, tenant: str) -> int:
    """How many requests the tenant was charged for today."""
    return sum(row["requests"] for row in json.loads(machine.cli("usage", "--json")) if row["tenant"] == tenant)


@pytest.mark.usefixtures("far_from_midnight")
def test_two_machines_meet_a_limit_exactly_though_one_of_them_is_killed_on_the_way(
    pair: tuple[Machine, Machine], postgres_url: str, emulator: Emulator
) -> None:
    first, second = pair
    user = first.users.take("many")
    first.cli("limits", "set", str(LIMIT), "--user", user.name)
    with (
        Balancer(first.bind, second.bind) as balancer,
        Load([balancer.address], [first.token(user)], in_flight=16) as load,
    ):
        load.await_calls(LIMIT // 3)
        os.killpg(second.pid, signal.SIGKILL)
        load.await_calls_ended(load.ended + 3 * LIMIT)  # the limit is reached, calls of the dead machine included
        await_none_held(postgres_url)
        load.await_calls_ended(load.ended + 50)  # and what they gave back is used
        seen = load.finish()
    await_none_held(postgres_url)
    summary = reconcile(first, emulator, seen)
    assert answered(first, user.tenant) == LIMIT
    assert summary.clients["refused with 429"] > 0
    say(f"two machines, one killed: exactly {LIMIT} answered; {summary}")

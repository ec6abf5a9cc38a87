"""Bounds of grants: how many, and how much they may add up to."""

from __future__ import annotations

from contextlib import suppress

import pytest

from chatapi.domain.calls import Grant
from chatapi.domain.effective_limits import LimitPlace
from chatapi.domain.limits import Metric, Need, Price
from chatapi.domain.money import MOST_NANODOLLARS
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput
from chatapi.logic import audit, grants, limits
from chatapi.logic.actors import command_actor
from chatapi.logic.grants import MOST_GRANTS, LimitGrant
from chatapi.logic.limits import LimitTarget
from chatapi.logic.runtime import Runtime
from chatapi.storage import leases
from tests.concurrency.world import ask
from tests.support.history import id_at
from tests.support.logins import exchange
from tests.support.runtimes import HandClock

DEMO = LimitTarget.of(user="demo")
DAILY = LimitPlace(Metric.REQUESTS, Window.DAY)
MONTHLY = LimitPlace(Metric.REQUESTS, Window.MONTH)


def grant(runtime: Runtime, value: int, place: LimitPlace = DAILY) -> LimitGrant:
    return grants.add_grant(runtime, command_actor(), DEMO, place, value)


def test_no_grants_can_add_up_to_what_the_audit_cannot_count(runtime: Runtime, clock: HandClock) -> None:
    """What was withdrawn counts there, for it may have been used before."""
    given = exchange(runtime).access_token
    claims = Claims(given.tenant_id, given.user_id, given.jti)
    daily_cost = LimitPlace(Metric.COST, Window.DAY)
    limits.set_limit(runtime, command_actor(), DEMO, daily_cost, 1)
    clock.advance(86_400)
    worker_id = id_at(clock.now)
    leases.renew(runtime.database, worker_id)
    made = grant(runtime, MOST_NANODOLLARS - 1, daily_cost)
    priced = ask(claims, worker_id, Need(10, 20, 16, price=Price(1, 1)), call_id=id_at(clock.now))
    assert isinstance(runtime.writer.submit(priced), Grant)
    for _ in range(10):
        grants.withdraw_grant(runtime, command_actor(), made.id)
        with suppress(InvalidInput):
            made = grant(runtime, MOST_NANODOLLARS - 1, daily_cost)
    assert audit.run(runtime) == []


def test_a_window_has_so_many_grants_that_admissions_read_them_in_no_time(runtime: Runtime, clock: HandClock) -> None:
    for number in range(MOST_GRANTS):
        made = grant(runtime, 1)
        if number % 2:
            grants.withdraw_grant(runtime, command_actor(), made.id)
    with pytest.raises(InvalidInput, match="larger"):
        grant(runtime, 1)
    limits.set_limit(runtime, command_actor(), DEMO, MONTHLY, 1)
    grant(runtime, 1, MONTHLY)
    clock.advance(86_400)
    grant(runtime, 1)

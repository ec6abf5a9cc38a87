"""Counters that are kept only because a limit names them: made in the middle of a window, as exact as if they had been
kept all along, whatever is in flight and however many processes call."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, func, select

from chatapi.domain.calls import Grant
from chatapi.domain.effective_limits import Unset
from chatapi.domain.limits import DenialKind, Metric
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.storage.limits import change_limits
from chatapi.storage.seeding import keep_named
from chatapi.storage.tables import calls, counters
from tests.concurrency.acme import (
    AT_HALF_PAST,
    NOON,
    change_of,
    denied,
    end,
    held,
    lose,
    numbers,
    peopled,
    set_limit,
    somewhere,
)
from tests.concurrency.model import utc
from tests.concurrency.test_race import race
from tests.concurrency.world import Clock, LastingDatabase, World, ask, world_of
from tests.support.history import id_at
from tests.support.postgres import DATABASES, FreshDatabase

EVERY_S = 0.05
QUOTA = 600


@pytest.fixture
def world(emptied: LastingDatabase) -> World:
    """Two users of one tenant, in the middle of a minute."""
    return peopled(emptied.world(AT_HALF_PAST))


# window, model, what is used and held of it by: two answered and one refused call of tiny, one answered call of large,
# and one call of each in flight, all in this minute
COUNTED = [
    (Window.MINUTE, "", (4, 2)),
    (Window.MINUTE, "tiny", (3, 1)),
    (Window.AT_ONCE, "", (0, 2)),
    (Window.AT_ONCE, "tiny", (0, 1)),
    (Window.DAY, "tiny", (2, 1)),
    (Window.MONTH, "large", (1, 1)),
]


@pytest.mark.parametrize("scope", ["access_token", "user", "each_user", "tenant"])
@pytest.mark.parametrize(("window", "model", "expected"), COUNTED)
def test_a_limit_set_in_the_middle_of_a_window_counts_what_was_there(
    world: World, scope: str, window: Window, model: str, expected: tuple[int, int]
) -> None:
    for answered in (True, True, False):
        end(world, held(world, "red"), answered=answered)
    end(world, held(world, "red", "large"))
    flying = [held(world, "red"), held(world, "red", "large")]
    if scope != "tenant":
        end(world, held(world, "blue"))
    set_limit(world, scope, window, sum(expected), model)
    denial = denied(world, "red", model or "tiny")
    assert numbers(denial) == expected
    assert (denial.standing.limit.window, denial.standing.limit.model) == (window, model)
    assert world.audit() == []
    for call in flying:
        end(world, call)
    counts = 0 if window is Window.AT_ONCE else 1
    set_limit(world, scope, window, 0, model)
    assert numbers(denied(world, "red", model or "tiny")) == (expected[0] + counts * expected[1], 0)
    assert world.audit() == []


def test_what_came_before_the_window_is_not_counted(world: World) -> None:
    assert world.clock is not None
    before = held(world, "red")
    end(world, held(world, "red"))
    world.clock.move(30)
    set_limit(world, "user", Window.MINUTE, 1)
    last = held(world, "red")
    end(world, before)
    assert numbers(denied(world, "red")) == (0, 1)
    end(world, last)
    assert numbers(denied(world, "red")) == (1, 0)
    world.clock.move(60)
    held(world, "red")
    assert world.audit() == []


def test_a_minute_counts_what_expired_once_also_when_its_truth_comes_late(world: World) -> None:
    set_limit(world, "user", Window.MINUTE, 2)
    call = held(world, "red")
    with world.database.write() as connection:
        assert world.ledger.expire(connection, [call]) == 1
    held(world, "red")
    assert numbers(denied(world, "red")) == (1, 1)
    end(world, call)
    assert numbers(denied(world, "red")) == (1, 1)
    assert world.audit() == []


@pytest.mark.parametrize(("window", "model"), [(Window.MINUTE, ""), (Window.DAY, "tiny"), (Window.AT_ONCE, "")])
def test_a_call_whose_row_was_lost_when_a_limit_was_set_counts_as_soon_as_its_truth_comes(
    world: World, window: Window, model: str
) -> None:
    call = held(world, "red")
    lose(world, call)
    set_limit(world, "user", window, 1, model)
    end(world, call)
    assert world.audit() == []
    if window is not Window.AT_ONCE:
        assert numbers(denied(world, "red")) == (1, 0)


def test_a_call_whose_row_was_lost_makes_no_counter_of_a_minute_that_is_over(world: World) -> None:
    assert world.clock is not None
    call = held(world, "red")
    lose(world, call)
    set_limit(world, "user", Window.MINUTE, 1)
    world.clock.move(60)
    end(world, call)
    with world.database.read() as connection:
        of_minutes = select(func.count()).select_from(counters).where(counters.c.window == "minute")
        assert connection.execute(of_minutes).scalar() == 0
    assert world.audit() == []


def test_the_truth_about_a_call_is_written_though_its_tenant_was_lost_with_it(world: World) -> None:
    """As when a backup is restored and the journal of later calls is kept."""
    call = held(world, "red")
    later = call._replace(call_id=id_at(call.admitted_at), claims=Claims(*(id_at(call.admitted_at) for _ in range(3))))
    end(world, later)
    with world.database.read() as connection:
        found = connection.execute(select(calls.c.state).where(calls.c.id == later.call_id)).scalar_one()
    assert found == "settled"


def test_a_limit_that_was_withdrawn_and_set_again_counts_what_was_between(world: World) -> None:
    set_limit(world, "user", Window.MINUTE, 2)
    end(world, held(world, "red"))
    set_limit(world, "user", Window.MINUTE, Unset.INHERIT)
    flying = held(world, "red")
    end(world, held(world, "red"))
    set_limit(world, "user", Window.MINUTE, 3)
    assert numbers(denied(world, "red")) == (2, 1)
    end(world, flying)
    assert numbers(denied(world, "red")) == (3, 0)
    assert world.audit() == []


def test_a_limit_lowered_while_calls_are_in_flight_holds_from_the_next_admission(world: World) -> None:
    set_limit(world, "tenant", Window.AT_ONCE, 3)
    flying = [held(world, name) for name in ("red", "blue", "red")]
    assert numbers(denied(world, "blue")) == (0, 3)
    set_limit(world, "tenant", Window.AT_ONCE, 1)
    assert world.audit() == [], "what was admitted before is no breach"
    for call in flying:
        denial = denied(world, "blue")
        assert denial.kind is DenialKind.HELD
        end(world, call)
    held(world, "blue")
    assert numbers(denied(world, "red")) == (0, 1)
    assert world.audit() == []


def test_one_own_limit_overrides_the_one_for_each_user_and_another_leaves_it(world: World) -> None:
    set_limit(world, "each_user", Window.AT_ONCE, 1)
    set_limit(world, "user", Window.AT_ONCE, 2)  # red's
    set_limit(world, "user", Window.MINUTE, 5)
    for name, most in (("red", 2), ("blue", 1)):
        for _ in range(most):
            held(world, name)
        assert numbers(denied(world, name)) == (0, most)
    set_limit(world, "user", Window.AT_ONCE, Unset.UNLIMITED)
    for _ in range(3):
        held(world, "red")
    assert denied(world, "red").standing.limit.window is Window.MINUTE
    set_limit(world, "user", Window.MINUTE, Unset.UNLIMITED)
    held(world, "red")
    set_limit(world, "user", Window.AT_ONCE, Unset.INHERIT)
    denial = denied(world, "red")
    assert (denial.standing.limit.value, numbers(denial)) == (1, (0, 6))
    assert world.audit() == []


class Steps(Clock):
    """A clock that goes on each time it is read, through these instants."""

    def __init__(self, *instants: datetime) -> None:
        super().__init__(instants[0])
        self._instants = list(instants)

    def __call__(self, connection: Connection) -> datetime:
        self.now = self._instants.pop(0) if len(self._instants) > 1 else self._instants[0]
        return self.now


def test_a_minute_that_ends_while_locks_are_waited_for_is_not_the_one_that_is_counted(database_url: str) -> None:
    with somewhere(database_url, NOON + timedelta(seconds=0.1)) as world:
        held(world, "red")
        late = Steps(NOON - timedelta(seconds=0.1), NOON + timedelta(seconds=0.2))
        change = change_of(world.users["red"], "user", Window.MINUTE, 1)
        with world_of(database_url, clock=late) as other, other.database.write() as connection:
            set_at = keep_named(connection, [change], other.database)
            change_limits(connection, [change], set_at)
        assert set_at == NOON + timedelta(seconds=0.2)
        assert numbers(denied(world, "red")) == (0, 1)
        assert world.audit() == []


def test_a_call_that_is_being_admitted_while_a_month_ends_is_counted_too(postgres_url: str) -> None:
    midnight = utc("2026-04-01T00:00:00")
    with somewhere(postgres_url, midnight - timedelta(seconds=1)) as world:
        assert world.clock is not None
        admission = ask(world.users["red"], world.worker(), call_id=id_at(world.clock.now))
        with world.database.write() as connection:
            (decision,) = world.ledger.write(connection, [admission])()
            assert isinstance(decision, Grant)
            world.clock.move(2)
            setting = threading.Thread(target=set_limit, args=(world, "tenant", Window.AT_ONCE, 1))
            setting.start()
            setting.join(0.3)
            assert setting.is_alive(), "the limit was set beside a call that it cannot know"
        setting.join()
        assert numbers(denied(world, "blue")) == (0, 1)
        end(world, decision.call)
        held(world, "blue")
        assert world.audit() == []


@pytest.mark.usefixtures("far_from_midnight")
@pytest.mark.parametrize("kind", DATABASES)
def test_limits_set_while_processes_race_count_every_call(fresh_database: FreshDatabase, kind: str) -> None:
    url = fresh_database(kind)
    with world_of(url) as world, ThreadPoolExecutor(1) as pool:
        tenant_id = world.add_tenant("acme")
        people = [world.add_user(name, "acme") for name in ("red", "blue", "green")]
        world.set_limit("tenant", tenant_id, Metric.REQUESTS, Window.DAY, QUOTA, tenant_id=tenant_id)
        racing = pool.submit(race, url, [f"{who.tenant_id}/{who.user_id}/{who.jti}" for who in people])
        settings: list[tuple[str, Window, int | Unset, str]] = [
            ("user", Window.MINUTE, Unset.UNLIMITED, ""), ("tenant", Window.AT_ONCE, 20, ""),
            ("each_user", Window.MONTH, 10**6, "tiny"), ("tenant", Window.AT_ONCE, 5, ""),
            ("access_token", Window.AT_ONCE, 3, "tiny"), ("user", Window.MINUTE, Unset.INHERIT, ""),
            ("each_user", Window.MONTH, Unset.INHERIT, "tiny"),
        ]  # fmt: skip
        changed, audited = 0, list[str]()
        while not racing.done():
            set_limit(world, *settings[changed % len(settings)])
            changed += 1
            audited += [f"{finding.invariant} {finding.rule}" for finding in world.audit()]
            time.sleep(EVERY_S)
        happened = racing.result()
        for setting in settings[:5]:
            set_limit(world, *setting)
        print(f"{kind}: {changed} changes while {dict(happened)}")
        assert changed > 2 * len(settings)
        assert audited == []
        assert happened["granted"] == QUOTA
        assert happened["falsely_denied"] == 0
        with world.database.read() as connection:
            sums = (func.sum(counters.c.requests_used), func.sum(counters.c.requests_held))
            of_model = select(*sums).where(counters.c.window == "month", counters.c.model == "tiny")
            assert connection.execute(of_model).one() == (QUOTA, 0)
            at_once = select(*sums).where(counters.c.window == "at_once")
            assert connection.execute(at_once).one() in [(0, 0), (None, None)]
        assert world.audit() == []

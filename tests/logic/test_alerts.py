"""Who looks at limits for alerts and when, and what becomes of alerts that nobody takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from chatapi.domain.calls import AttemptState, CallState, Charge, HeldCall, Settlement
from chatapi.domain.counters import Counter, CounterKey
from chatapi.domain.effective_limits import LimitPlace
from chatapi.domain.limits import Amount, Metric
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.logic import alerts as finding
from chatapi.logic import grants, users, watch
from chatapi.logic.actors import command_actor
from chatapi.logic.limit_targets import LimitTarget
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_of_name
from chatapi.logic.watch import AlertWatch
from chatapi.storage import alerts, counters, leases, touched
from chatapi.storage.ledger import new_id
from tests.support import administration
from tests.support.logins import NOON
from tests.support.runtimes import HandClock, make_runtime
from tests.support.webhooks import add_webhook, alerts_of

TENANT = "acme"
DAILY = LimitPlace(Metric.REQUESTS, Window.DAY)


@pytest.fixture
def runtime(database_url: str, clock: HandClock) -> Iterator[Runtime]:
    made = make_runtime(
        database_url, clock=clock, daily_requests=10, webhook_private_addresses=True, webhook_retry_s=10
    )
    for number in range(5):
        administration.add_user(made, f"user-{number}", tenant=TENANT)
    leases.renew(made.database, made.running.worker_id)
    yield made
    made.database.close()


@pytest.fixture
def tenant_id(runtime: Runtime) -> str:
    return tenant_of_name(runtime, TENANT).id


def claims_of(runtime: Runtime, name: str) -> Claims:
    user = users.user_of_name(runtime, name)
    return Claims(user.tenant_id, user.id, new_id())


def use(runtime: Runtime, claims: Claims, requests: int) -> None:
    """Count answered requests of today, as the ledger would."""
    key = CounterKey(claims.tenant_id, "user", claims.user_id, "day", f"{NOON:%Y-%m-%d}")
    with runtime.database.write() as connection:
        counters.add(connection, {key: Counter(Amount(requests))})


def settlement(claims: Claims) -> Settlement:
    call = HeldCall(new_id(), claims, new_id(), "chat", "m", "up", f"{NOON:%Y-%m-%d}", 1, 1, 0, NOON, NOON)
    return Settlement(call, CallState.SETTLED, Charge(), "completed", AttemptState.ANSWERED)


def test_all_users_of_a_tenant_are_looked_at_page_by_page(
    runtime: Runtime, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "AT_ONCE", 2)
    add_webhook(runtime, tenant_id)
    for number in range(5):
        use(runtime, claims_of(runtime, f"user-{number}"), 8 + number)
    looking = AlertWatch(runtime)
    assert looking.tick() == 5 + 3
    assert looking.tick() == 0
    shares = sorted((each.occasion.split(",")[-1], each.state) for each in alerts_of(runtime, tenant_id))
    assert shares == [("100]", "pending")] * 3 + [("80]", "pending")] * 5


def test_a_worker_looks_at_once_at_those_whose_calls_it_has_ended(runtime: Runtime, tenant_id: str) -> None:
    looking, claims = AlertWatch(runtime), claims_of(runtime, "user-1")
    add_webhook(runtime, tenant_id)
    for _ in range(watch.NEW_FOR + 1):  # until the tenant is not new any more
        assert looking.tick() == 0
    use(runtime, claims, 8)
    assert looking.tick() == 0  # nobody said that anything had happened
    runtime.writer.touched.note([settlement(claims)])
    assert looking.tick() == 1
    runtime.writer.touched.note([settlement(claims)])
    assert looking.tick() == 0


def test_of_too_many_to_remember_the_whole_tenant_is_looked_at(
    runtime: Runtime, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touched, "MOST", 1)
    looking = AlertWatch(runtime)
    add_webhook(runtime, tenant_id)
    for _ in range(watch.NEW_FOR + 1):
        looking.tick()
    users = [claims_of(runtime, f"user-{number}") for number in range(3)]
    for claims in users:
        use(runtime, claims, 8)
    runtime.writer.touched.note([settlement(claims) for claims in users])
    assert looking.tick() == 3


def test_one_that_is_looked_at_again_and_again_is_looked_at_to_its_last_user(
    runtime: Runtime, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(touched, "MOST", 0)
    monkeypatch.setattr(watch, "AT_ONCE", 1)
    looking = AlertWatch(runtime)
    add_webhook(runtime, tenant_id)
    for _ in range(watch.NEW_FOR + 1):
        looking.tick()
    everybody = [claims_of(runtime, f"user-{number}") for number in range(5)]
    for claims in everybody:
        use(runtime, claims, 8)
    raised = 0
    monkeypatch.setattr(time, "sleep", lambda _: monkeypatch.setattr(watch, "ROUND_S", 0.0))
    for _ in range(len(everybody)):
        monkeypatch.setattr(watch, "ROUND_S", 60.0)
        runtime.writer.touched.note([settlement(claims) for claims in everybody])
        raised += looking.tick()
    assert raised == len(everybody)


def test_a_webhook_that_takes_nothing_is_told_no_more_than_it_has_room_for(
    runtime: Runtime, tenant_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "MOST_PENDING", 3)
    webhook_id = add_webhook(runtime, tenant_id)
    for number in range(5):
        use(runtime, claims_of(runtime, f"user-{number}"), 8)
    looking = AlertWatch(runtime)
    assert [looking.tick(), looking.tick()] == [3, 0]
    with runtime.database.write() as connection:
        alerts.give_up_all(connection, tenant_id, webhook_id, NOON, "as if it had been taken")
    looking.note_expired()
    assert looking.tick() == 2
    assert len({each.occasion for each in alerts_of(runtime, tenant_id)}) == 5


def test_the_watch_looks_by_itself_and_has_what_it_raised_sent(runtime: Runtime, tenant_id: str) -> None:
    add_webhook(runtime, tenant_id)
    use(runtime, claims_of(runtime, "user-1"), 8)
    raised = threading.Event()
    looking = AlertWatch(runtime, raised.set)
    looking.start()
    assert raised.wait(10)
    looking.stop()
    assert len(alerts_of(runtime, tenant_id)) == 1


def test_nobody_is_remembered_of_tenants_without_webhooks(runtime: Runtime) -> None:
    AlertWatch(runtime).tick()
    assert runtime.writer.touched.watched == frozenset()
    runtime.writer.touched.note([settlement(claims_of(runtime, "user-1"))])
    assert runtime.writer.touched.take() == (set(), set())


def test_what_a_dead_worker_did_not_look_at_the_oldest_living_one_does(
    runtime: Runtime, tenant_id: str, clock: HandClock, database_url: str
) -> None:
    add_webhook(runtime, tenant_id)
    younger = make_runtime(database_url, clock=clock, daily_requests=10)
    leases.renew(younger.database, younger.running.worker_id)
    looking, other = AlertWatch(runtime), AlertWatch(younger)
    for _ in range(watch.NEW_FOR + 1):
        looking.tick()
        other.tick()
    use(runtime, claims_of(runtime, "user-1"), 8)
    runtime.writer.touched.note([settlement(claims_of(runtime, "user-1"))])  # and then it dies
    assert other.tick() == 0
    clock.advance(runtime.settings.lease_s + 1)
    leases.renew(younger.database, younger.running.worker_id)
    assert other.tick() == 1
    younger.database.close()


def test_what_was_granted_is_a_part_of_the_limit(runtime: Runtime, tenant_id: str) -> None:
    add_webhook(runtime, tenant_id)
    target = LimitTarget.of(user="user-1")
    grants.add_grant(runtime, command_actor(), target, DAILY, 10)
    use(runtime, claims_of(runtime, "user-1"), 15)
    looking = AlertWatch(runtime)
    assert looking.tick() == 0
    use(runtime, claims_of(runtime, "user-1"), 1)
    assert looking.tick() == 1
    (alert,) = alerts_of(runtime, tenant_id)
    assert '"limit":20,"used":16,"share":80' in alert.body

"""Who looks at limits for alerts and when, and what becomes of alerts that nobody takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from chatapi.domain.calls import AttemptState, CallState, Charge, HeldCall, Settlement
from chatapi.domain.counters import Counter, CounterKey
from chatapi.domain.effective_limits import LimitPlace
from chatapi.domain.limits import Amount, Metric
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput, NotFound
from chatapi.logic import alerts as finding
from chatapi.logic import deliveries, grants, users, watch, webhooks
from chatapi.logic.actors import command_actor
from chatapi.logic.limit_targets import LimitTarget
from chatapi.logic.runtime import Runtime
from chatapi.logic.watch import AlertWatch
from chatapi.storage import admin_tables, alerts, counters, leases, touched
from chatapi.storage.alerts import Alert
from chatapi.storage.ledger import new_id
from tests.support import administration
from tests.support.logins import NOON
from tests.support.receiver import receiving
from tests.support.runtimes import HandClock, at_once, make_runtime

TENANT = "acme"
DAILY = LimitPlace(Metric.REQUESTS, Window.DAY)
URL = "https://alerts.example/"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOON)


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
    return webhooks.tenant_id_of(runtime, TENANT)


def add_webhook(runtime: Runtime, tenant_id: str, url: str = URL) -> str:
    return webhooks.add_webhook(runtime, command_actor(), tenant_id, url)[0].id


def claims_of(runtime: Runtime, name: str) -> Claims:
    user = users.user_of_name(runtime, name)
    return Claims(user.tenant_id, user.id, new_id())


def use(runtime: Runtime, claims: Claims, requests: int) -> None:
    """Count answered requests of today, as the ledger would."""
    key = CounterKey(claims.tenant_id, "user", claims.user_id, "day", f"{NOON:%Y-%m-%d}")
    with runtime.database.write() as connection:
        counters.add(connection, {key: Counter(Amount(requests))})


def found(runtime: Runtime, tenant_id: str) -> list[Alert]:
    return webhooks.page_of_alerts(runtime, tenant_id, None, 100)


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
    shares = sorted((each.occasion.split(",")[-1], each.state) for each in found(runtime, tenant_id))
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
    assert len({each.occasion for each in found(runtime, tenant_id)}) == 5


def test_the_watch_looks_by_itself_and_has_what_it_raised_sent(runtime: Runtime, tenant_id: str) -> None:
    add_webhook(runtime, tenant_id)
    use(runtime, claims_of(runtime, "user-1"), 8)
    raised = threading.Event()
    looking = AlertWatch(runtime, raised.set)
    looking.start()
    assert raised.wait(10)
    looking.stop()
    assert len(found(runtime, tenant_id)) == 1


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
    (alert,) = found(runtime, tenant_id)
    assert '"limit":20,"used":16,"share":80' in alert.body


def test_an_alert_that_nobody_takes_is_tried_ever_more_seldom_and_given_up(
    runtime: Runtime, tenant_id: str, clock: HandClock
) -> None:
    with receiving() as receiver:
        receiver.answer("/x", 503)
        webhook_id = add_webhook(runtime, tenant_id, f"{receiver.url}/x")
        alert = webhooks.add_test_event(runtime, command_actor(), tenant_id, webhook_id)
        pauses = []
        for _ in range(4):
            assert deliveries.deliver_now(runtime, alert.id)
            assert not deliveries.deliver_now(runtime, alert.id), "it is not due yet"
            (alert,) = found(runtime, tenant_id)
            pauses.append((alert.next_try_at - clock.now).total_seconds())
            clock.now = alert.next_try_at
        assert [8 <= pause / 2**number <= 12 for number, pause in enumerate(pauses)] == [True] * 4
        clock.advance(72 * 3600)
        assert deliveries.deliver_now(runtime, alert.id)
        (alert,) = found(runtime, tenant_id)
        assert (alert.state, alert.tries, alert.problem) == ("given_up", 5, "status 503")
        assert len(receiver.at("/x")) == 5
        with runtime.database.write() as connection:
            assert alerts.forget_old(connection, tenant_id, clock.now) == 0
            assert alerts.forget_old(connection, tenant_id, clock.now + timedelta(days=93)) == 1


def test_alerts_are_claimed_once_and_a_few_of_each_webhook(runtime: Runtime, tenant_id: str, clock: HandClock) -> None:
    hooks = [add_webhook(runtime, tenant_id) for _ in range(3)]
    rows = [
        {"tenant_id": tenant_id, "id": new_id(), "webhook_id": hook, "occasion": str(number), "body": "{}"}
        for hook in hooks
        for number in range(5)
    ]
    with runtime.database.write() as connection:
        assert alerts.raise_all(connection, rows, clock.now) == 15
        assert alerts.raise_all(connection, rows, clock.now) == 0

    def claim(_: int) -> list[str]:
        with runtime.database.write() as connection:
            return [each.alert.id for each in alerts.claim(runtime.database, connection, 4, busy=hooks[:1])]

    claimed = [each for some in at_once(4, claim) for each in some]  # type: ignore[union-attr]
    assert len(claimed) == len(set(claimed)) > 0
    whose = {row["id"]: row["webhook_id"] for row in rows}
    assert {whose[each] for each in claimed} <= set(hooks[1:])
    clock.advance(61)
    again = list[Alert]()
    while len(again) < len(rows):
        with runtime.database.write() as connection:
            some = [each.alert for each in alerts.claim(runtime.database, connection, 100)]
        assert 0 < len(some) <= 2 * len(hooks)
        again += some
    clock.advance(61)
    with runtime.database.write() as connection:
        assert alerts.claim(runtime.database, connection, 100, crowded=[tenant_id]) == []
    tries = {each.id: each.tries for each in again}
    assert tries == {row["id"]: 2 if row["id"] in claimed else 1 for row in rows}


@pytest.mark.parametrize("change", ["removed", "moved"])
def test_a_receiver_that_is_gone_switches_off_nothing_but_itself(runtime: Runtime, tenant_id: str, change: str) -> None:
    actor = command_actor()
    with receiving() as receiver:
        receiver.answer("/x", 410)
        webhook_id = add_webhook(runtime, tenant_id, f"{receiver.url}/x")
        webhooks.add_test_event(runtime, actor, tenant_id, webhook_id)
        with runtime.database.write() as connection:
            (claimed,) = alerts.claim(runtime.database, connection, 1)
        if change == "removed":
            webhooks.remove_webhook(runtime, actor, tenant_id, webhook_id)
        else:
            webhooks.change_webhook(runtime, actor, tenant_id, webhook_id, url=f"{receiver.url}/y")
        assert deliveries.deliver(runtime, claimed).gone
    there = webhooks.page_of_webhooks(runtime, tenant_id, None, 10)
    assert [(each.id, each.status) for each in there] == ([(webhook_id, "active")] if change == "moved" else [])
    assert [each.state for each in found(runtime, tenant_id)] == ["pending" if change == "moved" else "given_up"]


def test_where_no_thread_is_to_be_had_it_is_sent_later(
    runtime: Runtime, tenant_id: str, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = threading.Event()

    class Scarce(threading.Thread):
        def start(self) -> None:
            if self.name == "delivery" and not refused.is_set():
                refused.set()
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(threading, "Thread", Scarce)
    monkeypatch.setattr(deliveries, "AT_ONCE", 1)
    with receiving() as receiver:
        webhook_id = add_webhook(runtime, tenant_id, f"{receiver.url}/x")
        webhooks.add_test_event(runtime, command_actor(), tenant_id, webhook_id)
        deliverer = deliveries.Deliverer(runtime)
        deliverer.start()
        assert refused.wait(10)
        clock.advance(61)  # until the claim has run out
        deliverer.wake()
        receiver.await_at("/x", 1)
        give_up_at = time.monotonic() + 10
        while found(runtime, tenant_id)[0].state != "delivered":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        deliverer.stop()


def test_what_a_webhook_that_was_switched_off_has_not_got_is_not_sent(runtime: Runtime, tenant_id: str) -> None:
    with receiving() as receiver:
        webhook_id = add_webhook(runtime, tenant_id, f"{receiver.url}/x")
        alert = webhooks.add_test_event(runtime, command_actor(), tenant_id, webhook_id)
        with runtime.database.write() as connection:  # as if it had been raised at that very moment
            connection.execute(update(admin_tables.webhooks).values(status="disabled"))
        assert deliveries.deliver_now(runtime, alert.id)
        assert receiver.at("/x") == []
    assert found(runtime, tenant_id)[0].state == "given_up"


def test_the_trail_tells_that_a_webhook_was_moved_and_not_where_to(runtime: Runtime, tenant_id: str) -> None:
    webhook_id = add_webhook(runtime, tenant_id, f"{URL}secret-1")
    for path in ("secret-2", "secret-2", "secret-3"):
        webhooks.change_webhook(runtime, command_actor(), tenant_id, webhook_id, url=f"{URL}{path}")
    with runtime.database.read() as connection:
        entries = connection.execute(select(admin_tables.trail).where(admin_tables.trail.c.subject == webhook_id)).all()
    assert [each.action for each in entries].count("webhook.change") == 2
    assert "alerts.example" in str(entries)
    assert "secret-" not in str(entries)


def test_another_tenants_webhook_is_none(runtime: Runtime, tenant_id: str) -> None:
    webhook_id = add_webhook(runtime, tenant_id)
    other = administration.add_tenant(runtime, "other").id
    with pytest.raises(NotFound):
        webhooks.find_webhook(runtime, other, webhook_id)
    with pytest.raises(NotFound):
        webhooks.remove_webhook(runtime, command_actor(), other, webhook_id)
    with pytest.raises(InvalidInput):
        webhooks.add_webhook(runtime, command_actor(), new_id(), URL)

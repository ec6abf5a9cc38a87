"""Webhooks and what becomes of alerts: sent, tried again, given up, and by whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from chatapi.domain.principals import Status
from chatapi.errors import InvalidInput, NotFound, Taken
from chatapi.logic import deliveries, tenants, webhooks
from chatapi.logic.actors import command_actor
from chatapi.logic.runtime import Runtime
from chatapi.storage import admin_tables, alerts
from chatapi.storage.alerts import Alert
from chatapi.storage.ledger import new_id
from tests.support import administration
from tests.support.receiver import receiving
from tests.support.runtimes import HandClock, at_once, make_runtime
from tests.support.webhooks import URL, add_webhook, alerts_of


@pytest.fixture
def runtime(database_url: str, clock: HandClock) -> Iterator[Runtime]:
    made = make_runtime(database_url, clock=clock, webhook_private_addresses=True, webhook_retry_s=10)
    yield made
    made.database.close()


@pytest.fixture
def tenant_id(runtime: Runtime) -> str:
    return administration.add_tenant(runtime, "acme").id


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
            (alert,) = alerts_of(runtime, tenant_id)
            pauses.append((alert.next_try_at - clock.now).total_seconds())
            clock.now = alert.next_try_at
        assert [8 <= pause / 2**number <= 12 for number, pause in enumerate(pauses)] == [True] * 4
        clock.advance(72 * 3600)
        assert deliveries.deliver_now(runtime, alert.id)
        (alert,) = alerts_of(runtime, tenant_id)
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
    assert [each.state for each in alerts_of(runtime, tenant_id)] == ["pending" if change == "moved" else "given_up"]


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
        while alerts_of(runtime, tenant_id)[0].state != "delivered":
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        deliverer.stop()


@pytest.mark.parametrize("change", ["webhook", "tenant"])
def test_what_a_webhook_that_was_switched_off_has_not_got_is_not_sent(
    runtime: Runtime, tenant_id: str, change: str
) -> None:
    with receiving() as receiver:
        webhook_id = add_webhook(runtime, tenant_id, f"{receiver.url}/x")
        alert = webhooks.add_test_event(runtime, command_actor(), tenant_id, webhook_id)
        if change == "tenant":
            tenants.change_tenant(runtime, command_actor(), tenant_id, status=Status.CLOSED)
        else:
            with runtime.database.write() as connection:  # as if it had been raised at that very moment
                connection.execute(update(admin_tables.webhooks).values(status="disabled"))
        assert deliveries.deliver_now(runtime, alert.id)
        assert receiver.at("/x") == []
    assert alerts_of(runtime, tenant_id)[0].state == "given_up"


def test_of_webhooks_that_are_added_at_once_no_more_are_kept_than_a_tenant_may_have(
    runtime: Runtime, tenant_id: str
) -> None:
    made = at_once(12, lambda _: add_webhook(runtime, tenant_id))
    refused = [each for each in made if isinstance(each, Exception)]
    assert len(made) - len(refused) == webhooks.MOST_WEBHOOKS
    assert all(isinstance(each, InvalidInput) for each in refused)


def test_a_tenant_that_is_closed_has_no_new_webhook(runtime: Runtime, tenant_id: str) -> None:
    tenants.change_tenant(runtime, command_actor(), tenant_id, status=Status.CLOSED)
    with pytest.raises(Taken):
        add_webhook(runtime, tenant_id)


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

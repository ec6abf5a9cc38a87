"""Alerts when workers are killed, gateways are two, and receivers hang."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update

from chatapi.storage.admin_tables import alerts
from tests.chaos.machines import await_that
from tests.concurrency.world import world_of
from tests.support.gateway import ONE_WORKER, Gateway, MakeGateway
from tests.support.limits import ask
from tests.support.receiver import NO_ANSWER, Receiver, receiving
from tests.support.users import User

SETTINGS = {
    **ONE_WORKER,
    "CHATAPI_WEBHOOK_PRIVATE_ADDRESSES": "true",
    "CHATAPI_WEBHOOK_RETRY_S": "0.2",
    "CHATAPI_LEASE_S": "2",
    "CHATAPI_RENEW_S": "1",
}

pytestmark = pytest.mark.usefixtures("far_from_midnight")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def add_webhook(gateway: Gateway, user: User, url: str) -> str:
    webhook_id: str = gateway.cli("webhooks", "add", url, "--tenant", user.tenant).split()[0]
    return webhook_id


def kept(gateway: Gateway, user: User) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(gateway.cli("alerts", "--tenant", user.tenant, "--json"))
    return found


def use(gateway: Gateway, user: User, times: int) -> None:
    token = gateway.token(user)
    assert [ask(gateway, token).status_code for _ in range(times)] == [200] * times


def test_what_a_killed_gateway_had_not_looked_at_or_not_written_down_is_told_by_the_next(
    database_url: str, make_gateway: MakeGateway, receiver: Receiver
) -> None:
    gateway = make_gateway(database_url, environment={**SETTINGS, "CHATAPI_RENEW_S": "0.9"}, start=False)
    gateway.start_with_users()
    unseen, unwritten = gateway.users.take("many"), gateway.users.take("many")
    receiver.answer("/unwritten", NO_ANSWER, 200)
    add_webhook(gateway, unwritten, f"{receiver.url}/unwritten")
    gateway.cli("limits", "set", "2", "--user", unwritten.name)
    use(gateway, unwritten, 2)
    receiver.await_at("/unwritten", 1)  # it is being sent: nobody has answered
    add_webhook(gateway, unseen, f"{receiver.url}/unseen")
    gateway.cli("limits", "set", "1", "--user", unseen.name)
    use(gateway, unseen, 1)
    os.killpg(gateway.pid, signal.SIGKILL)
    gateway.stop()
    with world_of(database_url) as world, world.database.write() as connection:  # as if the time of the claim were over
        now = world.database.now(connection)
        connection.execute(update(alerts).where(alerts.c.state == "pending").values(next_try_at=now))
    gateway.start()
    receiver.await_at("/unseen", 2)
    first, *others = receiver.await_at("/unwritten", 3)
    assert first.body in {each.body for each in others}

    def states() -> list[str]:
        return [each["state"] for user in (unseen, unwritten) for each in kept(gateway, user)]

    await_that(lambda: states() == ["delivered"] * 4, "all is told")
    assert len(receiver.at("/unseen")) == 2
    assert gateway.run("audit").returncode == 0


def test_two_gateways_tell_each_occasion_once_and_one_that_hangs_delays_no_lease(
    postgres_url: str, make_gateway: MakeGateway, receiver: Receiver
) -> None:
    made = [make_gateway(postgres_url, environment=SETTINGS, start=False) for _ in range(2)]
    made[0].start_with_users()
    made[1].start()
    user, other = made[0].users.take("many"), made[0].users.take("many")
    receiver.answer("/hangs", NO_ANSWER)
    for name, user_ in (("/counts", user), ("/hangs", user), ("/other", other)):
        add_webhook(made[0], user_, f"{receiver.url}{name}")
    for user_ in (user, other):
        made[0].cli("limits", "set", "20", "--user", user_.name)
        made[0].cli("limits", "set", "20", "--tenant", user_.tenant, "--window", "month")
    with ThreadPoolExecutor(4) as pool:
        tokens = [made[0].token(each) for each in (user, other)]
        asked = [pool.submit(ask, made[number % 2], tokens[number % 4 // 2]) for number in range(40)]
        assert [each.result().status_code for each in asked] == [200] * 40
    told = receiver.await_at("/counts", 4)
    receiver.await_at("/hangs", 2)
    receiver.await_at("/other", 4)
    assert {each.key for each in told} == {
        (scope, "requests", window, share)
        for scope, window in (("user", "day"), ("tenant", "month"))
        for share in (80, 100)
    }
    third = made[0].users.take("many")
    give_up_at = time.monotonic() + 4  # two leases
    while time.monotonic() < give_up_at:
        assert [ask(each, made[0].token(third)).status_code for each in made] == [200, 200]
        time.sleep(0.2)
    assert len(receiver.at("/counts")) == len(receiver.at("/other")) == 4
    hanging = [each for each in kept(made[0], user) if each["state"] == "pending"]
    assert len(hanging) == 4
    assert made[0].run("audit").returncode == 0

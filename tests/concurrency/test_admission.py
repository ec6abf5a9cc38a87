"""What an admission does near the end of a quota: wait for holds, shorten the completion, count the prompt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text

from chatapi.domain.bounds import prompt_bound_of
from chatapi.domain.calls import Decision, Refusal
from chatapi.domain.limits import Denial, Limit, Metric, Scope, Standing
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Window
from chatapi.logic.turns import Turns
from chatapi.storage.tables import calls
from tests.concurrency.model import utc
from tests.concurrency.world import World, world_of
from tests.support.faults import FaultyUpstream
from tests.support.gateway import Gateway, MakeGateway
from tests.support.routes import API, messages
from tests.support.users import User

NOON = utc("2026-11-21T12:00:00")
LIMIT = Limit(Scope.USER, Metric.REQUESTS, Window.DAY, 1)
IN_FLIGHT = Denial(Standing(LIMIT, 0, 1, utc("2026-11-22T00:00:00"), NOON), 1, 1)
SOMEBODY = Claims("tenant", "user", "jti")
PATH = "/v1/chat/completions"


class Quota:
    """A quota that is held until it is given back; it notes who got in, in order."""

    def __init__(self) -> None:
        self.free = False
        self.entered: list[int] = []
        self._taking = threading.Lock()

    def ask(self, number: int) -> Callable[[], Decision]:
        """How call `number` asks for it."""

        def ask() -> Decision:
            with self._taking:
                if not self.free:
                    return IN_FLIGHT
                self.free = False
                self.entered.append(number)
                return Refusal.LEASE_EXPIRED  # stands for any decision that is none about holds

        return ask


def test_who_waits_for_holds_gets_in_first_come_first_served() -> None:
    turns, quota = Turns(wait_s=10, most=10), Quota()
    with ThreadPoolExecutor(5) as pool:
        waiting = []
        for number in range(5):
            waiting.append(pool.submit(turns.take, SOMEBODY, quota.ask(number)))
            time.sleep(0.02)
        while len(quota.entered) < 5:
            quota.free = True
            time.sleep(0.01)
        assert {done.result() for done in waiting} == {Refusal.LEASE_EXPIRED}
    assert quota.entered == [0, 1, 2, 3, 4]


def test_a_wait_for_holds_ends_with_the_denial_and_leaves_no_line_behind() -> None:
    turns, quota = Turns(wait_s=0.25, most=10), Quota()
    started = time.monotonic()
    assert turns.take(SOMEBODY, quota.ask(0)) is IN_FLIGHT
    assert 0.25 <= time.monotonic() - started < 1
    quota.free = True
    started = time.monotonic()
    assert turns.take(SOMEBODY, quota.ask(1)) is Refusal.LEASE_EXPIRED
    assert time.monotonic() - started < 0.1


def test_no_more_than_so_many_wait() -> None:
    turns, quota = Turns(wait_s=1, most=1), Quota()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(turns.take, SOMEBODY, quota.ask(0))
        time.sleep(0.1)
        started = time.monotonic()
        assert turns.take(SOMEBODY, quota.ask(1)) is IN_FLIGHT
        assert time.monotonic() - started < 0.1
        assert first.result() is IN_FLIGHT


@pytest.fixture
def gateway(sqlite_url: str, make_gateway: MakeGateway) -> Iterator[Gateway]:
    """A gateway whose upstream is given up after half a second."""
    settings = {"CHATAPI_FIRST_BYTE_TIMEOUT_S": "0.5", "CHATAPI_WORKERS": "1", "CHATAPI_MODEL": "tiny"}
    made = make_gateway(sqlite_url, environment=settings, start=False)
    made.start_with_users()
    yield made


def limited(gateway: Gateway, tokens: int) -> tuple[User, str]:
    """A user with so many tokens a day, and its access token."""
    user = gateway.users.take("many")
    gateway.cli("limits", "set", "--user", user.name, "--metric", "tokens", str(tokens))
    return user, gateway.token(user)


@pytest.mark.usefixtures("far_from_midnight")
def test_near_its_end_a_quota_is_waited_for_shortens_completions_and_has_prompts_counted(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    _waits(gateway, faults, marker)
    _shortens(gateway, faults, f"{marker}-short")
    _counts(gateway, faults, f"{marker}-counted")
    _disbelieves(gateway, marker)
    assert gateway.run("audit").returncode == 0


def _waits(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    token = gateway.sign_in("one")
    with ThreadPoolExecutor(4) as pool:
        asked = []
        for number in range(4):
            asked.append(pool.submit(API.ask, gateway, f"{marker} fault:hang {number}", token))
            time.sleep(0.15)
        assert [answer.result().status_code for answer in asked] == [500] * 4
    assert [served.text[-1] for served in faults.about(marker)] == ["0", "1", "2", "3"]


def _disbelieves(gateway: Gateway, marker: str) -> None:
    """A usage that no database could hold is counted instead; the call does not stay held."""
    user, token = limited(gateway, 10_000)
    assert API.ask(gateway, f"{marker} fault:usage-{10**20}", token).status_code == 200
    (row,) = gateway.usage(user.tenant)
    assert (row["requests"], row["total_tokens"] < 1000) == (1, True)


def _shortens(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    body = {"model": "tiny", "messages": messages(marker), "max_tokens": 500}
    bound = prompt_bound_of(body)
    _, token = limited(gateway, bound + 123)
    assert gateway.http.post(PATH, json=body, access_token=token).status_code == 200
    (served,) = faults.about(marker)
    assert served.body["max_tokens"] == 123
    answer = gateway.http.post(PATH, json={**body, "messages": messages("x" * 600)}, access_token=token)
    assert answer.status_code == 429
    assert len(faults.served) and not faults.about("x" * 600)


def _counts(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    text = f"{marker} " + "internationalisation " * 100  # 2,100 bytes, some 300 tokens
    body = {"model": "gpt-4o-mini", "messages": messages(text), "max_tokens": 20}
    assert prompt_bound_of(body) > 2000
    _, token = limited(gateway, 1500)
    with ThreadPoolExecutor(1) as pool:
        held = {"model": "tiny", "messages": messages(f"{marker} fault:gate-{marker}"), "max_tokens": 300}
        holding = pool.submit(gateway.http.post, PATH, json=held, access_token=token)
        faults.await_about(marker)
        started = time.monotonic()
        assert gateway.http.post(PATH, json=body, access_token=token).status_code == 200
        assert time.monotonic() - started < 3, "it was counted beside the hold, and did not wait for it"
        faults.open_gate(marker)
        holding.result()
    assert faults.about(marker)[-1].body["max_tokens"] == 20


def test_while_the_upstream_is_asked_the_calls_row_is_there_and_nothing_is_locked(
    database_url: str, make_gateway: MakeGateway, faults: FaultyUpstream, marker: str
) -> None:
    gateway = make_gateway(database_url, environment={"CHATAPI_RENEW_S": "60", "CHATAPI_LEASE_S": "120"}, start=False)
    gateway.start_with_users()
    token = gateway.somebody
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(API.ask, gateway, f"{marker} fault:gate-{marker}", token)
        (served,) = faults.await_about(marker)
        with world_of(database_url) as world:
            assert (served.call_id, "held") in states(world)
            assert open_transactions(world) == 0
        faults.open_gate(marker)
        assert asked.result().status_code == 200


def states(world: World) -> list[tuple[str, str]]:
    """The calls in the ledger, with their states."""
    with world.database.read() as connection:
        return [(row.id, row.state) for row in connection.execute(select(calls.c.id, calls.c.state))]


def open_transactions(world: World) -> int:
    """How many transactions others have open. SQLite does not say, but lets nobody write beside one that writes."""
    if world.database.is_sqlite:
        with world.database.write(wait_s=0):
            return 0
    others = "datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
    others += " AND backend_type = 'client backend'"  # and not the server's own, which analyses tables at any time
    with world.database.read() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")).scalar_one())

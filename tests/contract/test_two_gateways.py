"""Limits that two gateways on one database serve by, and what a gateway does that waits shortly for calls in flight."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import httpx2
import pytest

from tests.support.faults import FaultyUpstream
from tests.support.gateway import ONE_WORKER, Gateway, MakeGateway
from tests.support.http import Http
from tests.support.limits import PATH, ask, limit, rate_limited, statuses
from tests.support.office import open_office
from tests.support.routes import API, LIMIT_REACHED, messages, refused_envelope

pytestmark = pytest.mark.usefixtures("far_from_midnight")

DEFAULT_QUOTA = 10
SHORTEST_DAY_S, LONGEST_DAY_S = 1, 25 * 3600
WAIT_S = 0.6
MANY_WORDS = "word " * 100  # ten seconds of a slow stream


@pytest.fixture(scope="module")
def gateways(lasting_database_url: str, make_lasting_gateway: MakeGateway) -> list[Gateway]:
    """Two that share nothing but their database, and wait only shortly for calls in flight."""
    settings = {**ONE_WORKER, "CHATAPI_WAIT_S": str(WAIT_S)}
    made = [make_lasting_gateway(lasting_database_url, environment=settings, start=False) for _ in range(2)]
    made[0].start_with_users()
    made[1].start()
    return made


def test_the_eleventh_question_of_a_day_is_denied_by_two_gateways_at_the_same_instant(
    gateways: list[Gateway], faults: FaultyUpstream, marker: str
) -> None:
    token = gateways[0].sign_in("plain")
    answers = [API.ask(gateways[number % 2], f"{marker} {number}", token) for number in range(DEFAULT_QUOTA)]
    assert [answer.status_code for answer in answers] == [200] * DEFAULT_QUOTA
    with ThreadPoolExecutor(2) as pool:
        denials = list(pool.map(lambda gateway: API.ask(gateway, marker, token), gateways))
    assert [denial.status_code for denial in denials] == [429, 429]
    assert [refused_envelope(denial) for denial in denials] == [LIMIT_REACHED] * 2
    waits = [int(denial.headers["retry-after"]) for denial in denials]
    assert all(SHORTEST_DAY_S <= wait <= LONGEST_DAY_S for wait in waits)
    assert abs(waits[0] - waits[1]) <= 1
    assert len(faults.about(marker)) == DEFAULT_QUOTA


@pytest.mark.usefixtures("early_in_a_minute")
def test_a_limit_set_while_two_gateways_serve_admits_exactly_as_many_as_it_says(
    gateways: list[Gateway],
) -> None:
    user = gateways[0].users.take("many")
    token = gateways[0].token(user)
    most, answered, enough = 200, list[int](), threading.Event()  # so many are not answered while the limit is set

    def call(number: int) -> None:
        http = Http(gateways[number % 2].base_url)
        body = {"model": "tiny", "messages": messages("hello")}
        while (status := http.post(PATH, json=body, access_token=token).status_code) == 200:
            answered.append(status)
            if len(answered) >= most // 10:
                enough.set()
        assert status == 429
        http.close()

    with ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(call, number) for number in range(8)]
        assert enough.wait(30)
        limit(gateways[0], str(most), "--user", user.name, "--window", "minute")
        for caller in callers:
            caller.result()
    assert len(answered) == most
    assert f"{most} used, 0 held" in rate_limited(ask(gateways[1], token))
    assert gateways[0].run("audit").returncode == 0


def test_a_role_and_a_disabled_user_hold_at_the_next_request_to_either_gateway(gateways: list[Gateway]) -> None:
    first, office = gateways[0], open_office(gateways[0])
    second = replace(office, gateway=gateways[1])
    office.add("other", role="admin")
    office.enter("other")
    for each in (office, second):
        assert each.get("other", "users")["data"]
    office.do("admin", "PATCH", f"users/{office.ids['other']}", role="user")
    assert [each.ask("other", "GET", "users").status_code for each in (second, office)] == [403, 403]
    second.do("admin", "PATCH", f"users/{office.ids['other']}", status="disabled")
    assert [each.ask("other", "GET", "users").status_code for each in (office, second)] == [401, 401]
    assert API.ask(first, "hello", office.tokens["other"]).status_code == 401


@contextmanager
def slow_stream(gateway: Gateway, token: str, marker: str) -> Iterator[None]:
    """A stream that has begun and goes on for seconds; the client leaves it at the end of the block."""
    body = {"model": "tiny", "messages": messages(f"{marker} fault:slow {MANY_WORDS}"), "stream": True}
    with gateway.http.stream(PATH, json=body, access_token=token) as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()  # which closes the answer when nobody has it any more
        next(lines)
        yield


def test_of_calls_at_once_the_third_waits_shortly_and_is_admitted_when_one_ends(
    gateways: list[Gateway], marker: str
) -> None:
    gateway = gateways[0]
    user, other = gateway.users.take("many"), gateway.users.take("many")
    token = gateway.token(user)
    limit(gateway, "2", "--user", user.name, "--window", "at-once")
    with slow_stream(gateway, token, marker):
        with slow_stream(gateway, token, marker):
            asked_at = time.monotonic()
            said = rate_limited(ask(gateway, token))
            assert WAIT_S * 0.9 < time.monotonic() - asked_at < WAIT_S + 3
            assert said == (
                "The limit of 2 requests at once for this user does not allow this call: 0 used, 2 held by calls in "
                "flight, 1 needed. There is room again when one of them ends."
            )
            assert statuses(gateway, gateway.token(other), 3) == [200] * 3
            assert gateway.run("audit").returncode == 0
        assert await_admission(gateway, token).status_code == 200
        limit(gateway, "1", "--user", user.name, "--window", "at-once")
        assert "2 requests" not in rate_limited(ask(gateway, token))
        limit(gateway, "2", "--user", user.name, "--window", "at-once")
        assert ask(gateway, token).status_code == 200
    limit(gateway, "1", "--user", user.name, "--window", "at-once")
    assert await_admission(gateway, token).status_code == 200
    assert gateway.run("audit").returncode == 0


def await_admission(gateway: Gateway, token: str) -> httpx2.Response:
    """Ask again until a client that left has been noticed, which may take a second."""
    give_up_at = time.monotonic() + 5
    while (answer := ask(gateway, token)).status_code == 429 and time.monotonic() < give_up_at:
        pass
    return answer

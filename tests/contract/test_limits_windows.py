"""Limits per minute, of calls at once and of one model, as clients and administrators meet them."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from tests.concurrency.test_windows import served
from tests.concurrency.world import Clock
from tests.support.commands import run_here
from tests.support.faults import FaultyUpstream
from tests.support.gateway import JWT_SECRET, Gateway
from tests.support.limits import A_MINUTE_S, PATH, ask, limit, rate_limited, statuses
from tests.support.routes import API, LIMIT_REACHED, messages, refused_envelope, refused_error
from tests.support.users import CHEAP_HASH, User

pytestmark = pytest.mark.usefixtures("far_from_midnight")


@pytest.mark.usefixtures("early_in_a_minute")
def test_a_limit_per_minute_says_which_it_is_and_when_to_come_back(gateway: Gateway, faults: FaultyUpstream) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    limit(gateway, "2", "--user", user.name, "--window", "minute")
    assert statuses(gateway, token, 2) == [200, 200]
    seen = len(faults.served)
    said = rate_limited(ask(gateway, token))
    assert said.startswith(
        "The limit of 2 requests per minute for this user does not allow this call: "
        "2 used, 0 held by calls in flight, 1 needed. It resets at "
    )
    assert said.endswith(":00Z.")
    denial = API.ask(gateway, "hello", token)
    assert (denial.status_code, refused_envelope(denial)) == (429, LIMIT_REACHED)
    assert 1 <= int(denial.headers["retry-after"]) <= A_MINUTE_S
    assert len(faults.served) == seen
    assert gateway.run("audit").returncode == 0


@pytest.mark.usefixtures("early_in_a_minute")
def test_a_minute_counts_failed_attempts_and_a_day_only_answers(gateway: Gateway) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    limit(gateway, "3", "--user", user.name, "--window", "minute")
    limit(gateway, "2", "--user", user.name)
    fault = {"text": "fault:status-500"}
    answers = [ask(gateway, token, **fault), ask(gateway, token), ask(gateway, token, **fault)]
    assert [answer.status_code for answer in answers] == [502, 200, 502]
    assert "3 used" in rate_limited(ask(gateway, token))
    limit(gateway, "inherit", "--user", user.name, "--window", "minute")
    assert statuses(gateway, token, 2) == [200, 429]
    denial = ask(gateway, token)
    assert denial.json()["error"]["type"] == "insufficient_quota"
    assert "2 used" in refused_error(denial)
    assert [row["requests"] for row in gateway.usage(user.tenant)] == [2]


@pytest.mark.usefixtures("early_in_a_minute")
def test_a_limit_on_tokens_per_minute_shortens_and_then_denies(gateway: Gateway, faults: FaultyUpstream) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    limit(gateway, "400", "--user", user.name, "--metric", "tokens", "--window", "minute")
    marker = f"tokens of {user.name}"
    assert ask(gateway, token, marker).status_code == 200
    assert faults.about(marker)[0].body["max_tokens"] < 400
    assert ask(gateway, token, "fault:usage-380").status_code == 200
    assert "tokens per minute for this user" in rate_limited(ask(gateway, token))


@pytest.mark.usefixtures("early_in_a_minute")
def test_a_limit_on_one_model_names_it_and_leaves_the_others_alone(gateway: Gateway) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    limit(gateway, "1", "--tenant", user.tenant, "--window", "minute", "--model", "large")
    limit(gateway, "2", "--user", user.name, "--model", "tiny")
    assert statuses(gateway, token, 1, model="large") == [200]
    assert "1 requests of large per minute for this tenant" in rate_limited(ask(gateway, token, model="large"))
    assert statuses(gateway, token, 3, model="tiny") == [200, 200, 429]
    denial = ask(gateway, token, model="tiny")
    assert denial.json()["error"]["type"] == "insufficient_quota"
    assert "2 requests of tiny per day for this user" in refused_error(denial)
    assert statuses(gateway, token, 4, model="other") == [200] * 4


@pytest.mark.usefixtures("early_in_a_minute")
def test_a_limit_for_each_user_holds_for_those_that_have_none_of_their_own(
    gateway: Gateway, users_csv: Path, marker: str
) -> None:
    names = [f"{marker}-{number}" for number in range(3)]
    rows = "".join(f'{name},"{CHEAP_HASH}",{marker}\n' for name in names)
    users_csv.write_text("username,password_hash,tenant\n" + rows)
    gateway.cli("users", "import", str(users_csv))
    limit(gateway, "1", "--each-user-of", marker, "--window", "minute")
    limit(gateway, "2", "--user", names[1], "--window", "minute")
    limit(gateway, "unlimited", "--user", names[2], "--window", "minute")
    tokens = [gateway.token(User(name, marker)) for name in names]
    assert [statuses(gateway, token, 3) for token in tokens] == [[200, 429, 429], [200, 200, 429], [200] * 3]
    limit(gateway, "inherit", "--user", names[2], "--window", "minute")
    assert "3 used" in rate_limited(ask(gateway, tokens[2]))
    limit(gateway, "6", "--tenant", marker, "--window", "minute")
    limit(gateway, "10", "--each-user-of", marker, "--window", "minute")
    assert "The limit of 6 requests per minute for this tenant" in rate_limited(ask(gateway, tokens[0]))


@pytest.mark.usefixtures("early_in_a_minute")
def test_a_limit_set_in_the_middle_of_a_minute_counts_what_was_there_and_what_is_in_flight(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    assert statuses(gateway, token, 2) == [200, 200]
    with ThreadPoolExecutor(1) as pool:
        flying = pool.submit(ask, gateway, token, f"fault:gate-{marker}")
        faults.await_about(f"gate-{marker}")
        limit(gateway, "4", "--user", user.name, "--window", "minute")
        assert ask(gateway, token).status_code == 200
        limit(gateway, "3", "--user", user.name, "--window", "minute")
        assert "3 used, 1 held" in rate_limited(ask(gateway, token))
        faults.open_gate(marker)
        assert flying.result().status_code == 200
    assert "4 used, 0 held" in rate_limited(ask(gateway, token))
    limit(gateway, "5", "--user", user.name, "--window", "minute")
    assert statuses(gateway, token, 2) == [200, 429]
    assert gateway.run("audit").returncode == 0


def test_who_waits_for_a_place_at_once_gets_it_when_a_call_ends(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    user = gateway.users.take("many")
    token = gateway.token(user)
    limit(gateway, "1", "--tenant", user.tenant, "--window", "at-once")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, gateway, token, f"fault:gate-{marker}")
        faults.await_about(f"gate-{marker}")
        second = pool.submit(ask, gateway, token, f"second {marker}")
        time.sleep(0.5)
        assert not second.done() and not faults.about(f"second {marker}")
        faults.open_gate(marker)
        assert [first.result().status_code, second.result().status_code] == [200, 200]


def test_when_the_minute_has_passed_calls_are_admitted_again(
    database_url: str, faults: FaultyUpstream, tmp_path: Path
) -> None:
    clock = Clock(datetime.now(UTC).replace(second=20, microsecond=0))
    environment = {
        "CHATAPI_DATABASE_URL": database_url, "CHATAPI_VAR_DIR": str(tmp_path), "CHATAPI_JWT_SECRET_KEY": JWT_SECRET,
    }  # fmt: skip
    with served(database_url, clock, faults, tmp_path) as (http, token):
        for arguments in (("unlimited",), ("2", "--window", "minute")):
            done = run_here(("limits", "set", *arguments, "--user", "somebody"), environment)
            assert done.returncode == 0, done.stderr
        body = {"model": "tiny", "messages": messages("hello")}

        def call() -> httpx2.Response:
            return http.post(PATH, json=body, access_token=token)

        for _ in range(3):
            assert [call().status_code for _ in range(3)] == [200, 200, 429]
            denial = call()
            assert "per minute" in rate_limited(denial)
            assert denial.headers["retry-after"] == str(A_MINUTE_S - clock.now.second)
            assert denial.headers["x-ratelimit-remaining-requests"] == "0"
            clock.move(A_MINUTE_S - clock.now.second - 1)
            assert call().headers["retry-after"] == "1"
            clock.move(1)

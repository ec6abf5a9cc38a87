"""CONTRACT §1: `POST /token`, a password for an access token."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import httpx2
import jwt
import pytest
import sqlalchemy

from tests.support.gateway import JWT_SECRET, ONE_WORKER, Gateway, MakeGateway
from tests.support.routes import API, NO_SUCH_TOKEN, WRONG_CREDENTIALS, answered_envelope, refused_envelope
from tests.support.users import PASSWORD

PAIR_FAILURES = 5  # CHATAPI_LOGIN_PAIR_FAILURES by default
ADDRESS_FAILURES = 12  # what the shared gateways are set to


def read_token(response: httpx2.Response, username: str) -> dict[str, str]:
    message = answered_envelope(response)
    assert message.keys() == {"username", "token", "expiration_time"}
    assert message["username"] == username
    return dict(message)


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, JWT_SECRET, algorithms=["HS256"], audience="chatapi", issuer="chatapi")


def fail_to_log_in(gateway: Gateway, username: str, address: str, times: int) -> list[httpx2.Response]:
    return [gateway.exchange(username, f"wrong {number}", address=address) for number in range(times)]


def test_the_first_exchange_creates_an_access_token(gateway: Gateway) -> None:
    user = gateway.users.take()
    answer = gateway.exchange(user.name)
    assert answer.status_code == 201
    token = read_token(answer, user.name)["token"]
    assert API.ask(gateway, "hello", token).status_code == 200


def test_a_second_exchange_gives_the_same_jwt_byte_for_byte(gateway: Gateway) -> None:
    user = gateway.users.take()
    first, second, third = (gateway.exchange(user.name) for _ in range(3))
    assert [first.status_code, second.status_code, third.status_code] == [201, 200, 200]
    assert read_token(first, user.name) == read_token(second, user.name) == read_token(third, user.name)


def test_of_concurrent_first_exchanges_one_creates_and_all_get_the_same_jwt(gateway: Gateway) -> None:
    user = gateway.users.take()
    callers = 12
    barrier = Barrier(callers)

    def exchange(_: int) -> httpx2.Response:
        barrier.wait()
        return gateway.exchange(user.name)

    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(exchange, range(callers)))
    assert sorted(answer.status_code for answer in answers) == [200] * (callers - 1) + [201]
    assert len({answer.json()["message"]["token"] for answer in answers}) == 1


def test_after_a_revocation_a_new_access_token_is_created(gateway: Gateway) -> None:
    user = gateway.users.take()
    old = read_token(gateway.exchange(user.name), user.name)["token"]
    gateway.cli("users", "set-password", user.name, "--password-stdin", stdin="another password\n")
    refused = API.ask(gateway, "hello", old)
    assert refused.status_code == 401
    assert refused_envelope(refused) == NO_SUCH_TOKEN
    again = gateway.exchange(user.name, "another password")
    assert again.status_code == 201
    assert read_token(again, user.name)["token"] != old
    assert gateway.exchange(user.name, PASSWORD, address=gateway.address()).status_code == 401


def test_the_expiration_time_is_thirty_days_ahead_in_utc_by_default(gateway: Gateway) -> None:
    user = gateway.users.take()
    message = read_token(gateway.exchange(user.name), user.name)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", message["expiration_time"])
    expires = datetime.strptime(message["expiration_time"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert abs(expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=2)
    claims = claims_of(message["token"])
    assert claims["exp"] == int(expires.timestamp())
    assert claims["exp"] - claims["iat"] == timedelta(days=30).total_seconds()


def test_the_jwt_is_that_of_an_access_token_and_carries_no_role(gateway: Gateway) -> None:
    token = gateway.sign_in("plain")
    assert jwt.get_unverified_header(token)["alg"] == "HS256"
    claims = claims_of(token)
    assert claims["type"] == "access"
    assert "role" not in claims


def test_the_jwt_itself_is_not_stored(gateway: Gateway) -> None:
    token = gateway.sign_in("plain")
    jti = claims_of(token)["jti"]
    engine = sqlalchemy.create_engine(gateway.database_url.replace("postgresql://", "postgresql+psycopg://"))
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    stored = []
    with engine.connect() as connection:
        for table in tables.tables.values():
            stored += [repr(tuple(row)) for row in connection.execute(sqlalchemy.select(table))]
    engine.dispose()
    everything = "\n".join(stored)
    assert jti in everything or jti.replace("-", "") in everything
    assert not any(part in everything for part in token.split("."))


def test_an_unknown_user_and_a_wrong_password_are_not_told_apart(gateway: Gateway) -> None:
    user = gateway.users.take()
    wrong = gateway.exchange(user.name, "wrong", address=gateway.address())
    unknown = gateway.exchange("nobody-of-this-name", "wrong", address=gateway.address())
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.content == unknown.content
    assert refused_envelope(wrong) == WRONG_CREDENTIALS
    assert {name for name in wrong.headers if name != "x-request-id"} == {
        name for name in unknown.headers if name != "x-request-id"
    }


@pytest.mark.parametrize("password", ["", "a" * 5000, "nul\x00byte", "ünïcödé wröng"])
def test_an_odd_password_is_merely_a_wrong_one(gateway: Gateway, password: str) -> None:
    user = gateway.users.take()
    answer = gateway.exchange(user.name, password, address=gateway.address())
    assert answer.status_code in (400, 401)
    refused_envelope(answer)


@pytest.mark.parametrize("username", ["nul\x00byte", "u" * 5000, "' OR 1=1 --"])
def test_an_odd_username_is_merely_unknown(gateway: Gateway, username: str) -> None:
    answer = gateway.exchange(username, "wrong", address=gateway.address())
    assert answer.status_code in (400, 401)
    refused_envelope(answer)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'"text"', b"1", b"null", b"{}", b'{"u": "someone"}', b'{"p": "secret"}',
        b'{"u": 1, "p": "secret"}', b'{"u": "someone", "p": 1}', b'{"u": null, "p": "secret"}',
        b'{"u": "someone", "p": ["secret"]}', b'{"u": {}, "p": true}',
    ],
)  # fmt: skip
def test_a_body_without_both_strings_is_refused_with_a_reason(gateway: Gateway, body: bytes) -> None:
    headers = {"Content-Type": "application/json", "X-Forwarded-For": gateway.address()}
    answer = gateway.http.post("/token", content=body, headers=headers)
    assert answer.status_code == 400
    assert refused_envelope(answer) != WRONG_CREDENTIALS


def test_too_many_failures_of_one_user_from_one_address_must_wait(gateway: Gateway) -> None:
    user, address = gateway.users.take(), gateway.address()
    failures = fail_to_log_in(gateway, user.name, address, PAIR_FAILURES)
    assert [answer.status_code for answer in failures] == [401] * PAIR_FAILURES
    for password in ("wrong", PASSWORD):
        answer = gateway.exchange(user.name, password, address=address)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        refused_envelope(answer)


def test_a_stranger_cannot_lock_a_user_out(gateway: Gateway) -> None:
    user, stranger = gateway.users.take(), gateway.address()
    fail_to_log_in(gateway, user.name, stranger, PAIR_FAILURES + 1)
    assert gateway.exchange(user.name, address=stranger).status_code == 429
    assert gateway.exchange(user.name, address=gateway.address()).status_code == 201


def test_failures_of_one_user_do_not_keep_others_of_the_same_address_waiting(gateway: Gateway) -> None:
    user, other, address = gateway.users.take(), gateway.users.take(), gateway.address()
    fail_to_log_in(gateway, user.name, address, PAIR_FAILURES + 1)
    assert gateway.exchange(other.name, address=address).status_code == 201


def test_unknown_users_are_throttled_as_known_ones_are(gateway: Gateway) -> None:
    address = gateway.address()
    failures = fail_to_log_in(gateway, "nobody-at-all", address, PAIR_FAILURES + 1)
    assert [answer.status_code for answer in failures] == [401] * PAIR_FAILURES + [429]


def test_too_many_failures_from_one_address_must_wait_whoever_they_name(gateway: Gateway) -> None:
    address = gateway.address()
    for number in range(ADDRESS_FAILURES):
        assert gateway.exchange(f"guess-{number}", "wrong", address=address).status_code == 401
    answer = gateway.exchange("yet-another-guess", "wrong", address=address)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0


@pytest.fixture(scope="module")
def in_tokyo(lasting_database_url: str, make_lasting_gateway: MakeGateway) -> Gateway:
    """A gateway in another time zone that trusts no proxy, with the secret that it made when it first started."""
    environment = {"CHATAPI_TIMEZONE": "Asia/Tokyo", "CHATAPI_JWT_SECRET_KEY": "", **ONE_WORKER}
    gateway = make_lasting_gateway(lasting_database_url, environment=environment, start=False)
    gateway.start_with_users()
    return gateway


def test_an_address_that_a_client_invents_is_not_believed(in_tokyo: Gateway) -> None:
    someone = in_tokyo.users.take()
    answers = [
        in_tokyo.exchange(someone.name, "wrong", address=in_tokyo.address()).status_code
        for _ in range(PAIR_FAILURES + 1)
    ]
    assert answers == [401] * PAIR_FAILURES + [429]


def test_the_time_zone_of_the_installation_is_that_of_the_expiration_time(in_tokyo: Gateway) -> None:
    user = in_tokyo.users.take()
    message = read_token(in_tokyo.exchange(user.name), user.name)
    claims = jwt.decode(message["token"], options={"verify_signature": False})
    there = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(hours=9)
    assert message["expiration_time"] == there.strftime("%Y-%m-%d %H:%M:%S")


def test_the_jwt_survives_a_restart_byte_for_byte(in_tokyo: Gateway) -> None:
    user = in_tokyo.users.take()
    before = in_tokyo.exchange(user.name)
    in_tokyo.stop()
    in_tokyo.start()
    after = in_tokyo.exchange(user.name)
    assert [before.status_code, after.status_code] == [201, 200]
    assert before.json() == after.json()


def test_a_disabled_user_gets_no_access_token_and_loses_the_one_it_has(gateway: Gateway) -> None:
    user = gateway.users.take()
    token = gateway.token(user)
    gateway.cli("users", "disable", user.name)
    answer = gateway.exchange(user.name, address=gateway.address())
    assert answer.status_code == 401
    assert refused_envelope(answer) == WRONG_CREDENTIALS
    refused = API.ask(gateway, "hello", token)
    assert refused.status_code == 401
    assert refused_envelope(refused) == NO_SUCH_TOKEN

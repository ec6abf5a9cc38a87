"""CONTRACT §2: `GET /api?q=`, one question and its answer in an envelope."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.faults import SECRET, FaultyUpstream, reply_to
from tests.support.gateway import Gateway, MakeGateway
from tests.support.routes import API, LIMIT_REACHED, answered_envelope, refused_envelope

DEFAULT_QUOTA = 10
SECONDS_OF_THE_LONGEST_DAY = 25 * 3600
FAULTS = [
    "status-400", "status-401", "status-403", "status-404", "status-429", "status-500", "status-503",
    "hang", "disconnect", "garbage", "cut",
]  # fmt: skip
PREFIX = "An error occurred in the chatgpt request, "


def test_a_question_is_answered_with_the_text_of_the_reply(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    question = f"¿{marker}? 日本語 & more=1 + 🙂"
    answer = API.ask(gateway, question, gateway.somebody)
    assert answer.status_code == 200
    assert answered_envelope(answer) == reply_to(question)
    (served,) = faults.about(marker)
    assert served.text == question
    assert served.body["model"] == "tiny"
    assert served.headers["authorization"] == "Bearer sk-of-the-tests"
    assert served.call_id


@pytest.mark.parametrize("path", ["/api", "/api?q=", "/api?question=hello"])
def test_a_missing_or_empty_question_is_refused(gateway: Gateway, path: str) -> None:
    answer = gateway.http.get(path, access_token=gateway.somebody)
    assert answer.status_code == 400
    refused_envelope(answer)


def test_the_access_token_is_looked_at_before_the_question(gateway: Gateway) -> None:
    answer = gateway.http.get("/api")
    assert answer.status_code == 401
    refused_envelope(answer)


@pytest.mark.parametrize("fault", FAULTS)
def test_when_the_upstream_fails_the_reason_is_given_without_secrets(
    gateway: Gateway, fault: str, faults: FaultyUpstream, marker: str
) -> None:
    answer = API.ask(gateway, f"{marker} fault:{fault}", gateway.somebody)
    assert answer.status_code == 500
    message = refused_envelope(answer)
    assert message.startswith(PREFIX)
    assert len(message) > len(PREFIX)
    assert SECRET not in answer.text
    assert "sk-of-the-tests" not in answer.text
    assert len(faults.about(marker)) == 1, "one call is one request to the upstream: nothing is retried unaccounted"


def test_an_upstream_that_cannot_be_reached_is_an_upstream_that_failed(
    sqlite_url: str, make_gateway: MakeGateway
) -> None:
    gateway = make_gateway(sqlite_url, upstream_url="http://127.0.0.1:9/v1", start=False)
    gateway.start_with_users()
    answer = API.ask(gateway, "hello", gateway.somebody)
    assert answer.status_code == 500
    assert refused_envelope(answer).startswith(PREFIX)


@pytest.mark.usefixtures("far_from_midnight")
def test_the_eleventh_question_of_a_day_is_denied(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    token = gateway.sign_in("plain")
    for number in range(DEFAULT_QUOTA):
        assert API.ask(gateway, f"{marker} {number}", token).status_code == 200
    answer = API.ask(gateway, marker, token)
    assert answer.status_code == 429
    assert refused_envelope(answer) == LIMIT_REACHED
    assert 0 < int(answer.headers["retry-after"]) <= SECONDS_OF_THE_LONGEST_DAY
    assert len(faults.about(marker)) == DEFAULT_QUOTA


@pytest.mark.usefixtures("far_from_midnight")
def test_questions_that_were_not_answered_do_not_count(gateway: Gateway) -> None:
    token = gateway.sign_in("plain")
    for fault in ("status-500", "status-429", "status-400", "disconnect", "garbage"):
        assert API.ask(gateway, f"fault:{fault}", token).status_code == 500
    assert gateway.http.get("/api", access_token=token).status_code == 400
    answers = [API.ask(gateway, "hello", token).status_code for _ in range(DEFAULT_QUOTA + 1)]
    assert answers == [200] * DEFAULT_QUOTA + [429]


@pytest.mark.usefixtures("far_from_midnight")
def test_one_users_quota_is_not_anothers(gateway: Gateway) -> None:
    tokens = [gateway.sign_in("one") for _ in range(2)]
    assert [API.ask(gateway, "hello", token).status_code for token in tokens] == [200, 200]
    assert [API.ask(gateway, "hello", token).status_code for token in tokens] == [429, 429]


def test_a_quota_of_nothing_allows_nothing(gateway: Gateway, faults: FaultyUpstream, marker: str) -> None:
    answer = API.ask(gateway, marker, gateway.sign_in("none"))
    assert answer.status_code == 429
    assert refused_envelope(answer) == LIMIT_REACHED
    assert not faults.about(marker)


@pytest.mark.usefixtures("far_from_midnight")
def test_of_concurrent_questions_exactly_as_many_are_answered_as_the_quota_allows(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    token = gateway.sign_in("plain")
    callers = 24
    with ThreadPoolExecutor(callers) as pool:
        answers = list(pool.map(lambda _: API.ask(gateway, marker, token), range(callers)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * DEFAULT_QUOTA + [429] * (callers - DEFAULT_QUOTA)
    assert len(faults.about(marker)) == DEFAULT_QUOTA


@pytest.mark.usefixtures("far_from_midnight")
def test_what_is_held_by_a_question_in_flight_comes_back_when_it_fails(
    gateway: Gateway, faults: FaultyUpstream, marker: str
) -> None:
    token = gateway.sign_in("one")
    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(API.ask, gateway, f"{marker} fault:hang", token)
        faults.await_about(marker)
        waiting = pool.submit(API.ask, gateway, "hello", token)
        assert failing.result().status_code == 500
        assert waiting.result().status_code == 200
    assert API.ask(gateway, "hello", token).status_code == 429

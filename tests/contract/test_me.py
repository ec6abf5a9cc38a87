"""`/v1/me`: what users are told of themselves, and what nobody is told of others."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx2
import jsonschema_rs
import jwt
import openai
import pytest

from chatapi.storage import me as storage
from tests.concurrency.world import world_of
from tests.support.faults import PROMPT_TOKENS, pieces_of, reply_to
from tests.support.gateway import Gateway
from tests.support.limits import ask, limit
from tests.support.me import ROUTES, Reader, add_neighbour, claims_of, limits_of
from tests.support.openai_sdk import Sdk
from tests.support.routes import refused_error
from tests.support.users import PASSWORD, User

PRICED = "gpt-4o-mini"  # by the price list


def test_users_are_told_who_they_are_and_how_each_limit_stands(
    gateway: Gateway, user: User, token: str, read: Reader, far_from_midnight: None
) -> None:
    limit(gateway, "5000", "--tenant", user.tenant, "--metric", "tokens", "--window", "month")
    limit(gateway, "9", "--each-user-of", user.tenant, "--model", "tiny")
    limit(gateway, "unlimited", "--user", user.name, "--metric", "cost")
    limit(gateway, "3", "--user", user.name, "--window", "at-once")
    gateway.cli("models", "allow", "g*", "tiny", "--tenant", user.tenant)
    assert ask(gateway, token, "hello").status_code == 200
    found = read()
    claims = claims_of(token)
    assert (found["username"], found["tenant"], found["role"]) == (user.name, user.tenant, "user")
    assert (found["user_id"], found["tenant_id"]) == (claims.user_id, claims.tenant_id)
    assert found["access_token"]["id"] == claims.jti
    expiry = jwt.decode(token, options={"verify_signature": False})["exp"]
    assert datetime.fromisoformat(found["access_token"]["expires_at"]).timestamp() == expiry
    assert found["models"] == {"tenant": ["g*", "tiny"], "user": None, "access_token": None}
    limits = limits_of(found)
    used = PROMPT_TOKENS + len(pieces_of(reply_to("hello")))
    told = {place: (each["value"], each["source"], each["used"], each["left"]) for place, each in limits.items()}
    assert told == {
        ("user", "requests", "day", None): (100000, "own", 1, 99999),
        ("user", "requests", "day", "tiny"): (9, "each_user", 1, 8),
        ("user", "requests", "at_once", None): (3, "own", 0, 3),
        ("user", "cost", "day", None): (None, "own", 0, None),
        ("tenant", "tokens", "month", None): (5000, "own", used, 5000 - used),
    }
    assert limits["user", "requests", "at_once", None]["resets_at"] is None
    day = limits["user", "requests", "day", None]
    midnight = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    assert found["timezone"] == "UTC" and day["resets_at"] == f"{midnight:%Y-%m-%dT%H:%M:%SZ}"
    assert 0 <= day["resets_after_s"] - (midnight - datetime.now(UTC)).total_seconds() < 5


def test_usage_is_told_by_day_and_model_and_an_unknown_cost_is_null(
    gateway: Gateway, user: User, token: str, read: Reader
) -> None:
    assert read("/v1/me/usage")["data"] == []
    for model in (PRICED, "tiny", PRICED):
        assert ask(gateway, token, "hello", model=model).status_code == 200
    completion = len(pieces_of(reply_to("hello")))
    found = read("/v1/me/usage")
    rows = {row["model"]: row for row in found["data"]}
    cost = sum(each["cost_nanodollars"] for each in read("/v1/me/calls", model=PRICED)["data"])
    assert (rows[PRICED]["requests"], rows[PRICED]["cost_nanodollars"]) == (2, cost) and cost > 0
    assert (rows["tiny"]["cost_nanodollars"], rows["tiny"]["unpriced_calls"]) == (None, 1)
    assert found["total"]["requests"] == 3 and found["total"]["cost_nanodollars"] is None
    assert found["total"]["total_tokens"] == 3 * (PROMPT_TOKENS + completion)
    reported = {row["model"]: row["total_tokens"] for row in gateway.usage(user.tenant)}
    assert reported == {model: row["total_tokens"] for model, row in rows.items()}
    only = read("/v1/me/usage", model=PRICED)
    assert [row["model"] for row in only["data"]] == [PRICED] and only["total"]["cost_nanodollars"] == cost
    yesterday = (date.fromisoformat(read()["today"]) - timedelta(days=1)).isoformat()
    assert read("/v1/me/usage", **{"from": yesterday, "to": yesterday})["data"] == []


def test_calls_are_listed_newest_first_in_pages_that_neither_miss_nor_repeat_one(
    gateway: Gateway, user: User, token: str, read: Reader
) -> None:
    neighbour = add_neighbour(gateway, user, f"beside-{user.name}")
    for number in range(7):
        assert ask(gateway, token, model=PRICED if number % 2 else "tiny").status_code == 200
        assert ask(gateway, neighbour).status_code == 200
    assert ask(gateway, token, "fault:status-400").status_code == 400
    whole = read("/v1/me/calls")
    assert (whole["has_more"], whole["after"], whole["calls_since"]) == (False, None, None)
    ids = [each["id"] for each in whole["data"]]
    assert len(ids) == 8 and ids == sorted(ids, reverse=True)
    paged, after = list[str](), dict[str, str]()
    while True:
        page = read("/v1/me/calls", limit="3", **after)
        paged += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["after"]}
    assert paged == ids
    assert [each["id"] for each in read("/v1/me/calls", model=PRICED)["data"]] == [
        each["id"] for each in whole["data"] if each["model"] == PRICED
    ]
    [released] = read("/v1/me/calls", state="released")["data"]
    assert (released["id"], released["cost_nanodollars"], released["ended"]) == (ids[0], 0, "upstream_error")
    assert "fault:status-400" not in json.dumps(whole), "nothing that was said"


def test_a_page_looks_at_a_bounded_number_of_calls_and_goes_on_after_them(
    gateway: Gateway, user: User, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = add_neighbour(gateway, user, f"busy-{user.name}")
    assert ask(gateway, token).status_code == 200
    for _ in range(3):
        assert ask(gateway, neighbour).status_code == 200
    monkeypatch.setattr(storage, "LOOKED_AT", {"sqlite": 2, "postgresql": 2})
    found, wanted = list[int](), storage.Wanted(limit=5)
    with world_of(gateway.database_url) as world, world.database.read() as connection:
        while True:
            page = storage.page_of_calls(connection, claims_of(token), wanted)
            found.append(len(page.calls))
            if page.last is None:
                break
            wanted = storage.Wanted(limit=5, before=page.last)
    assert found == [0, 1, 0]


def test_nobody_sees_a_call_of_anybody_else_by_any_route(
    gateway: Gateway, user: User, token: str, read: Reader
) -> None:
    assert ask(gateway, token, "mine", model=PRICED).status_code == 200
    page = read("/v1/me/calls", limit="1")
    mine, claims = page["data"][0]["id"], claims_of(token)
    gateway.cli(
        "users", "add", f"admin-{user.name}", "--tenant", user.tenant, "--role", "admin", "--password-stdin",
        stdin=f"{PASSWORD}\n",
    )  # fmt: skip
    foreign = {
        "same tenant": add_neighbour(gateway, user, f"next-{user.name}"),
        "its admin": gateway.token(User(f"admin-{user.name}", user.tenant)),
        "other tenant": gateway.sign_in(),
    }
    telling = {mine, claims.user_id, claims.jti, user.name}
    for who, their_token in foreign.items():
        for route in ROUTES:
            answer = gateway.http.get(route.format(call=mine), access_token=their_token)
            assert answer.status_code == (404 if "{call}" in route else 200), (who, route)
            others = telling - {user.name} if route == "/v1/me" else telling  # their own names are made of it
            assert not [word for word in others if word in answer.text], (who, route)
        never = gateway.http.get(f"/v1/me/calls/{uuid.uuid4()}", access_token=their_token)
        there = gateway.http.get(f"/v1/me/calls/{mine}", access_token=their_token)
        assert (there.status_code, there.json()) == (never.status_code, never.json())
    assert read("/v1/me/calls/{call}", mine)["id"] == mine
    gateway.cli("users", "disable", user.name)
    for route in ROUTES:
        answer = gateway.http.get(route.format(call=mine), access_token=token)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key"), route
    assert gateway.cli("explain", mine)


WRONG = [
    ("/v1/me", {"who": "me"}, "who"),
    ("/v1/me/usage", {"user": "somebody"}, "user"),
    ("/v1/me/usage", {"from": "2026-02-30"}, "from"),
    ("/v1/me/usage", {"to": "20260201"}, "to"),
    ("/v1/me/usage", {"from": "2026-02-01", "to": "2026-01-01"}, "from"),
    ("/v1/me/usage", {"from": "2024-01-01", "to": "2026-01-01"}, "from"),
    ("/v1/me/usage", {"model": ""}, "model"),
    ("/v1/me/calls", {"limit": "0"}, "limit"),
    ("/v1/me/calls", {"limit": "101"}, "limit"),
    ("/v1/me/calls", {"limit": "1e1"}, "limit"),
    ("/v1/me/calls", {"after": "AAAA"}, "after"),
    ("/v1/me/calls", {"after": str(uuid.UUID(int=0))}, "after"),
    ("/v1/me/calls", {"after": "________________-____B"}, "after"),
    ("/v1/me/calls", {"state": "lost"}, "state"),
    ("/v1/me/calls", {"model": "a\0b"}, "model"),
    ("/v1/me/calls", {"tenant_id": "x"}, "tenant_id"),
]


def test_what_is_asked_wrongly_is_refused_by_name(gateway: Gateway, read: Reader) -> None:
    for path, query, param in WRONG:
        assert read.refused(path, 400, **query)["param"] == param, (path, query)
    assert read.refused("/v1/me/calls?limit=1&limit=2", 400)["param"] == "limit"
    for call in ("x", "%00", str(uuid.UUID(int=0)), str(uuid.UUID(int=2**128 - 1)), str(uuid.uuid4()).upper()):
        assert read.refused(f"/v1/me/calls/{call}", 404)["code"] == "call_not_found"
    assert read.refused(f"/v1/me/calls/{uuid.uuid4()}", 400, verbose="1")["param"] == "verbose"
    refused = gateway.run("explain", str(uuid.uuid4()))
    assert refused.returncode == 1 and "There is no call" in refused.stderr


DENIALS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "used_up": (("2", "--model", "tiny"), {"metric": "requests", "window": "day", "model": "tiny", "value": 2}),
    "too_large": (("20", "--metric", "tokens"), {"metric": "tokens", "window": "day", "model": None, "value": 20}),
}


@pytest.mark.parametrize("kind", DENIALS)
def test_a_denial_explains_itself_to_programs(gateway: Gateway, user: User, token: str, kind: str) -> None:
    assert [ask(gateway, token).status_code for _ in range(2)] == [200, 200]
    arguments, told = DENIALS[kind]
    limit(gateway, *arguments[:1], "--user", user.name, *arguments[1:])

    def denied(sdk: Sdk) -> dict[str, Any]:
        with pytest.raises(openai.RateLimitError) as caught:
            said = [{"role": "user", "content": "hello"}]
            sdk.ask(lambda client: client.chat.completions.create(model="tiny", messages=said), token)
        assert isinstance(caught.value.body, dict)
        assert caught.value.code == caught.value.body["code"] == "insufficient_quota"
        found: dict[str, Any] = caught.value.body["chatapi"]
        return found

    for asynchronous in (False, True):
        sdk = Sdk(gateway.base_url, asynchronous=asynchronous)
        try:
            found = denied(sdk)
        finally:
            sdk.close()
        assert (found["kind"], found["held"], found["limit"]) == (kind, 0, {"scope": "user", "granted": 0} | told)
        assert found["used"] + found["needed"] > told["value"]
        assert datetime.fromisoformat(found["resets_at"]) > datetime.now(UTC)


def test_what_holds_a_limit_at_once_has_no_reset(gateway: Gateway, user: User, token: str, read: Reader) -> None:
    limit(gateway, "0", "--user", user.name, "--window", "at-once")
    answer: httpx2.Response = ask(gateway, token)
    refused_error(answer)
    schema = {"$ref": "#/components/schemas/Error", "components": read.components}
    jsonschema_rs.validator_for(schema).validate(answer.json())
    told = answer.json()["error"]["chatapi"]
    assert (answer.status_code, told["resets_at"], told["limit"]["window"]) == (429, None, "at_once")

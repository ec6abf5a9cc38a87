"""`/v1/me` and `chatapi explain`: what users are told of themselves, and what nobody is told of others."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import jsonschema_rs
import jwt
import openai
import pytest
from sqlalchemy import update

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.principals import Claims
from chatapi.domain.retention import first_id
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage import me as storage
from chatapi.storage.tables import installation
from tests.concurrency.world import ask as asking
from tests.concurrency.world import world_of
from tests.support.faults import PROMPT_TOKENS, FaultyUpstream, pieces_of, reply_to
from tests.support.gateway import Gateway, MakeGateway
from tests.support.limits import ask, limit
from tests.support.openai_sdk import Sdk
from tests.support.routes import refused_error
from tests.support.users import PASSWORD, User

FILE = """
[[upstreams]]
name = "first"
kind = "compatible"
base_url = "{url}"
models = ["dear", "tiny", "failing"]
names.failing = "fault:status-500"

[[upstreams]]
name = "spare"
kind = "compatible"
base_url = "{url}"
models = ["failing"]
names.failing = "spare-model"
weight = 0

[retries]
share = 1.0
reserve = 1000

[[models]]
name = "dear"

[[models.prices]]
prompt = "1000"
completion = "2000.5"
"""
PROMPT_PRICE, COMPLETION_PRICE = 1_000_000, 2_000_500  # nano-dollars per token
ROUTES = ("/v1/me", "/v1/me/usage", "/v1/me/calls", "/v1/me/calls/{call}")
SCHEMAS = dict(zip(ROUTES, ("Me", "Usage", "Calls", "ExplainedCall"), strict=True))


@pytest.fixture(scope="module")
def gateway(
    lasting_database_url: str,
    make_lasting_gateway: MakeGateway,
    faults: FaultyUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Gateway:
    path: Path = tmp_path_factory.mktemp("upstreams") / "upstreams.toml"
    path.write_text(FILE.format(url=faults.url))
    environment = {"CHATAPI_UPSTREAMS_FILE": str(path)}
    made = make_lasting_gateway(lasting_database_url, upstream_url=None, environment=environment, start=False)
    made.start_with_users()
    return made


@pytest.fixture
def user(gateway: Gateway) -> User:
    return gateway.users.take("many")


@pytest.fixture
def token(gateway: Gateway, user: User) -> str:
    return gateway.token(user)


@pytest.fixture(scope="module")
def components(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.http.get("/openapi.json").json()["components"]
    return found


@dataclass(frozen=True)
class Reader:
    """Reads what a user is told, and holds it against the OpenAPI document."""

    gateway: Gateway
    components: dict[str, Any]
    token: str

    def __call__(self, route: str = "/v1/me", call: str = "", **query: str) -> dict[str, Any]:
        answer = self.gateway.http.get(route.format(call=call), params=query, access_token=self.token)
        assert answer.status_code == 200, answer.text
        schema = {"$ref": f"#/components/schemas/{SCHEMAS[route]}", "components": self.components}
        jsonschema_rs.validator_for(schema).validate(answer.json())
        found: dict[str, Any] = answer.json()
        return found

    def refused(self, path: str, status: int, **query: str) -> dict[str, Any]:
        answer = self.gateway.http.get(path, params=query or None, access_token=self.token)
        assert answer.status_code == status, answer.text
        refused_error(answer)
        found: dict[str, Any] = answer.json()["error"]
        return found


@pytest.fixture
def read(gateway: Gateway, components: dict[str, Any], token: str) -> Reader:
    return Reader(gateway, components, token)


def claims_of(token: str) -> Claims:
    signed = jwt.decode(token, options={"verify_signature": False})
    return Claims(signed["tid"], signed["sub"], signed["jti"])


def add_neighbour(gateway: Gateway, user: User, name: str) -> str:
    """The JWT of another user of the same tenant."""
    gateway.cli("users", "add", name, "--tenant", user.tenant, "--password-stdin", stdin=f"{PASSWORD}\n")
    return gateway.token(User(name, user.tenant))


def limits_of(found: dict[str, Any]) -> dict[tuple[str, str, str, str | None], dict[str, Any]]:
    return {(each["scope"], each["metric"], each["window"], each["model"]): each for each in found["limits"]}


def test_users_are_told_who_they_are_and_how_each_limit_stands(
    gateway: Gateway, user: User, token: str, read: Reader, far_from_midnight: None
) -> None:
    limit(gateway, "5000", "--tenant", user.tenant, "--metric", "tokens", "--window", "month")
    limit(gateway, "9", "--each-user-of", user.tenant, "--model", "tiny")
    limit(gateway, "unlimited", "--user", user.name, "--metric", "cost")
    limit(gateway, "3", "--user", user.name, "--window", "at-once")
    gateway.cli("models", "allow", "d*", "tiny", "--tenant", user.tenant)
    assert ask(gateway, token, "hello").status_code == 200
    found = read()
    claims = claims_of(token)
    assert (found["username"], found["tenant"], found["role"]) == (user.name, user.tenant, "user")
    assert found["access_token"]["id"] == claims.jti
    expiry = jwt.decode(token, options={"verify_signature": False})["exp"]
    assert datetime.fromisoformat(found["access_token"]["expires_at"]).timestamp() == expiry
    assert found["models"] == {"tenant": ["d*", "tiny"], "user": None}
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


def test_what_a_call_in_flight_holds_is_shown_until_it_ends(
    gateway: Gateway, user: User, token: str, read: Reader
) -> None:
    with world_of(gateway.database_url) as world:
        grant = world.writer.submit(asking(claims_of(token), world.worker()))
        assert isinstance(grant, Grant)
        day = limits_of(read())["user", "requests", "day", None]
        assert (day["used"], day["held"], day["left"]) == (0, 1, 99999)
        told = read("/v1/me/calls/{call}", grant.call.call_id)
        assert told["cost_nanodollars"] is None and told["counters"][0]["charged"] is None
        assert "in flight" in " ".join(told["sentences"])
        charge = Charge(True, Usage(10, 0, 5, 0, UsageSource.UPSTREAM), None)
        world.writer.submit(Settlement(grant.call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
    day = limits_of(read())["user", "requests", "day", None]
    assert (day["used"], day["held"]) == (1, 0)


def test_usage_is_told_by_day_and_model_and_an_unknown_cost_is_null(
    gateway: Gateway, user: User, token: str, read: Reader
) -> None:
    assert read("/v1/me/usage")["data"] == []
    for model in ("dear", "tiny", "dear"):
        assert ask(gateway, token, "hello", model=model).status_code == 200
    completion = len(pieces_of(reply_to("hello")))
    found = read("/v1/me/usage")
    rows = {row["model"]: row for row in found["data"]}
    cost = 2 * (PROMPT_TOKENS * PROMPT_PRICE + completion * COMPLETION_PRICE)
    assert (rows["dear"]["requests"], rows["dear"]["cost_nanodollars"]) == (2, cost)
    assert (rows["tiny"]["cost_nanodollars"], rows["tiny"]["unpriced_calls"]) == (None, 1)
    assert found["total"]["requests"] == 3 and found["total"]["cost_nanodollars"] is None
    assert found["total"]["total_tokens"] == 3 * (PROMPT_TOKENS + completion)
    reported = {row["model"]: row["total_tokens"] for row in gateway.usage(user.tenant)}
    assert reported == {model: row["total_tokens"] for model, row in rows.items()}
    only = read("/v1/me/usage", model="dear")
    assert [row["model"] for row in only["data"]] == ["dear"] and only["total"]["cost_nanodollars"] == cost
    yesterday = (date.fromisoformat(read()["today"]) - timedelta(days=1)).isoformat()
    assert read("/v1/me/usage", **{"from": yesterday, "to": yesterday})["data"] == []


def test_calls_are_listed_newest_first_in_pages_that_neither_miss_nor_repeat_one(
    gateway: Gateway, user: User, token: str, read: Reader
) -> None:
    neighbour = add_neighbour(gateway, user, f"beside-{user.name}")
    for number in range(7):
        assert ask(gateway, token, model="dear" if number % 2 else "tiny").status_code == 200
        assert ask(gateway, neighbour).status_code == 200
    assert ask(gateway, token, "fault:status-400").status_code == 400
    whole = read("/v1/me/calls")
    assert (whole["has_more"], whole["after"], whole["calls_since"]) == (False, None, None)
    ids = [each["id"] for each in whole["data"]]
    assert len(ids) == 8 and ids == sorted(ids, reverse=True)
    paged, after = list[str](), {}
    while True:
        page = read("/v1/me/calls", limit="3", **after)
        paged += [each["id"] for each in page["data"]]
        if not page["has_more"]:
            break
        after = {"after": page["after"]}
    assert paged == ids
    assert [each["id"] for each in read("/v1/me/calls", model="dear")["data"]] == [
        each["id"] for each in whole["data"] if each["model"] == "dear"
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


def test_a_call_is_explained_from_its_bound_to_its_price(
    gateway: Gateway, user: User, token: str, read: Reader
) -> None:
    limit(gateway, "100", "--user", user.name, "--window", "minute", "--model", "dear")
    assert ask(gateway, token, "hello", model="dear", max_tokens=50).status_code == 200
    [listed] = read("/v1/me/calls")["data"]
    told = read("/v1/me/calls/{call}", listed["id"])
    assert {name: told[name] for name in listed} == listed
    completion = len(pieces_of(reply_to("hello")))
    cost = PROMPT_TOKENS * PROMPT_PRICE + completion * COMPLETION_PRICE
    bound, claims = told["bound"], claims_of(token)
    assert bound["completion_tokens"] == 50 and bound["prompt_tokens"] >= PROMPT_TOKENS
    assert bound["cost_nanodollars"] == bound["prompt_tokens"] * PROMPT_PRICE + 50 * COMPLETION_PRICE
    held = {"requests": 1, "tokens": bound["total_tokens"], "cost_nanodollars": bound["cost_nanodollars"]}
    charged = {"requests": 1, "tokens": PROMPT_TOKENS + completion, "cost_nanodollars": cost}
    assert all(each["held"] == held and each["charged"] == charged for each in told["counters"])
    places = {(each["scope"], each["window"], each["model"]) for each in told["counters"]}
    scopes = ("access_token", "user", "tenant")
    kept = {(scope, window, None) for scope in scopes for window in ("day", "month")}
    assert places == kept | {("user", "minute", "dear")}
    assert (told["cost_nanodollars"], told["usage"]["source"]) == (cost, "upstream")
    price = told["price"]
    assert (price["source"], price["adds_up"]) == ("configuration", True)
    assert price["nanodollars_per_million_tokens"]["completion"] == COMPLETION_PRICE * 10**6
    [attempt] = told["attempts"]
    assert (attempt["upstream"], attempt["model"], attempt["state"], attempt["at_risk"]) == (
        "first", "dear", "answered", False,
    )  # fmt: skip
    assert [(each["state"], each["late"]) for each in told["states"]] == [("held", False), ("settled", False)]
    assert (told["username"], told["tenant"], told["access_token"]) == (user.name, user.tenant, claims.jti)
    said = " ".join(told["sentences"])
    for part in ("1 request", "as the upstream reported them", "$2,000.50 completion", "(configuration)", "to the end"):
        assert part in said, said
    by_command = gateway.cli("explain", listed["id"])
    assert by_command.splitlines() == told["sentences"]
    assert json.loads(gateway.cli("explain", listed["id"], "--json")) == told


def test_each_attempt_is_told_with_the_name_that_its_upstream_has_for_the_model(
    gateway: Gateway, token: str, read: Reader
) -> None:
    assert ask(gateway, token, model="failing").status_code == 200
    [listed] = read("/v1/me/calls")["data"]
    told = read("/v1/me/calls/{call}", listed["id"])
    attempts = [(each["upstream"], each["model"], each["state"]) for each in told["attempts"]]
    assert attempts == [("first", "fault:status-500", "refused"), ("spare", "spare-model", "answered")]
    assert (told["cost_nanodollars"], told["price"], told["bound"]["cost_nanodollars"]) == (None, None, None)
    assert any("not known" in sentence for sentence in told["sentences"])


def test_a_call_that_expired_and_was_settled_late_is_told_so(gateway: Gateway, token: str, read: Reader) -> None:
    with world_of(gateway.database_url) as world:
        grant = world.writer.submit(asking(claims_of(token), world.worker()))
        assert isinstance(grant, Grant)
        call = grant.call
        with world.database.write() as connection:
            assert world.ledger.expire(connection, [call]) == 1
        expired = read("/v1/me/calls/{call}", call.call_id)
        assert (expired["state"], expired["answered"], expired["usage"]["source"]) == ("expired", False, "hold")
        assert expired["counters"][0]["charged"]["tokens"] == 30
        assert [each["at_risk"] for each in expired["attempts"]] == [True]
        charge = Charge(True, Usage(10, 0, 5, 0, UsageSource.UPSTREAM), None)
        world.writer.submit(Settlement(call, CallState.SETTLED, charge, "completed", AttemptState.ANSWERED))
    told = read("/v1/me/calls/{call}", call.call_id)
    states = [(each["state"], each["late"]) for each in told["states"]]
    assert states == [("held", False), ("expired", False), ("settled", True)]
    assert told["counters"][0]["charged"]["tokens"] == 15
    assert any("late" in sentence for sentence in told["sentences"])
    gateway.cli("audit")


def test_nobody_sees_a_call_of_anybody_else_by_any_route(
    gateway: Gateway, user: User, token: str, components: dict[str, Any]
) -> None:
    assert ask(gateway, token, "mine", model="dear").status_code == 200
    owner = Reader(gateway, components, token)
    page = owner("/v1/me/calls", limit="1")
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
    assert owner("/v1/me/calls/{call}", mine)["id"] == mine
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


def test_what_retention_has_deleted_is_said_to_be_gone(gateway: Gateway, read: Reader) -> None:
    old, since = str(first_id(datetime(2026, 1, 31, 12, tzinfo=UTC))), "2026-02-01"
    row = {"singleton": 1, "id": str(uuid.uuid4()), "created_at": datetime.now(UTC)}

    def set_since(day: str | None) -> None:
        with world_of(gateway.database_url) as world, world.database.write() as connection:
            if connection.execute(update(installation).values(calls_since=day)).rowcount == 0:
                connection.execute(installation.insert().values(**row, calls_since=day))

    set_since(since)
    try:
        assert since in read.refused(f"/v1/me/calls/{old}", 404)["message"]
        new = str(first_id(datetime.now(UTC)))
        assert since not in read.refused(f"/v1/me/calls/{new}", 404)["message"]
        assert read("/v1/me/calls")["calls_since"] == since
        assert since in gateway.run("explain", old).stderr
    finally:
        set_since(None)


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
        assert (found["kind"], found["held"], found["limit"]) == (kind, 0, {"scope": "user"} | told)
        assert found["used"] + found["needed"] > told["value"]
        assert datetime.fromisoformat(found["resets_at"]) > datetime.now(UTC)


def test_what_holds_a_limit_at_once_has_no_reset(
    gateway: Gateway, user: User, token: str, components: dict[str, Any]
) -> None:
    limit(gateway, "0", "--user", user.name, "--window", "at-once")
    answer: httpx2.Response = ask(gateway, token)
    refused_error(answer)
    schema = {"$ref": "#/components/schemas/Error", "components": components}
    jsonschema_rs.validator_for(schema).validate(answer.json())
    told = answer.json()["error"]["chatapi"]
    assert (answer.status_code, told["resets_at"], told["limit"]["window"]) == (429, None, "at_once")

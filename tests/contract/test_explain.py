"""`GET /v1/me/calls/{id}` and `chatapi explain`: how a call was bounded, held, tried and charged, and why it ended."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest
from sqlalchemy import update

from chatapi.domain.calls import AttemptState, CallState, Charge, Grant, Settlement
from chatapi.domain.retention import first_id
from chatapi.domain.usage import Usage, UsageSource
from chatapi.storage.tables import installation
from tests.concurrency.world import ask as asking
from tests.concurrency.world import world_of
from tests.support.faults import PROMPT_TOKENS, FaultyUpstream, pieces_of, reply_to
from tests.support.gateway import Gateway, MakeGateway
from tests.support.limits import ask, limit
from tests.support.me import Reader, claims_of, limits_of
from tests.support.upstreams_files import with_upstreams
from tests.support.users import User

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


@pytest.fixture(scope="module")
def gateway(
    lasting_database_url: str,
    make_lasting_gateway: MakeGateway,
    faults: FaultyUpstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Gateway:
    path = tmp_path_factory.mktemp("upstreams") / "upstreams.toml"
    return with_upstreams(make_lasting_gateway, lasting_database_url, path, FILE.format(url=faults.url))


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
    for part in (
        "1 request",
        "its user's of the minute",
        "as the upstream reported them",
        "$2,000.50 completion",
        "(configuration)",
        "to the end",
    ):
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

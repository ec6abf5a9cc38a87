"""Limits and grants over HTTP and by command: set, listed, removed, granted, withdrawn, and what users notice of it."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.limits import ask, limit
from tests.support.me import Reader, claims_of
from tests.support.users import PASSWORD, User

pytestmark = pytest.mark.usefixtures("far_from_midnight")


@dataclass(frozen=True)
class Asker:
    """Somebody who administers the tenant of one user."""

    gateway: Gateway
    token: str
    tenant_id: str

    def __call__(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        """What a route below the tenant's answers."""
        found = f"/admin/tenants/{self.tenant_id}{path}"
        answer = self.gateway.http.request(method, found, access_token=self.token, **more)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def put(self, value: int | str, status: int = 200, **limit: str) -> Any:
        """Set a limit; on requests per day unless said."""
        body = {"metric": "requests", "window": "day", "value": value, **limit}
        return self("PUT", "/limits", status, json=body)

    def grant(self, value: int, status: int = 201, **more: str) -> Any:
        """Grant more."""
        body = {"metric": "requests", "window": "day", "value": value, **more}
        return self("POST", "/grants", status, json=body)


def sign_in(gateway: Gateway, name: str, tenant: str, role: str) -> str:
    """The JWT of a new user."""
    gateway.cli("users", "add", name, "--tenant", tenant, "--role", role, "--password-stdin", stdin=f"{PASSWORD}\n")
    return gateway.token(User(name, tenant))


@pytest.fixture(scope="module")
def operators() -> dict[str, str]:
    """The JWT of an operator of each gateway."""
    return {}


@pytest.fixture
def operator(gateway: Gateway, user: User, token: str, operators: dict[str, str]) -> Asker:
    if gateway.base_url not in operators:
        operators[gateway.base_url] = sign_in(gateway, f"operator-{uuid.uuid4().hex}", "operations", "operator")
    return Asker(gateway, operators[gateway.base_url], claims_of(token).tenant_id)


@pytest.fixture
def admin(gateway: Gateway, user: User, token: str) -> Asker:
    """An admin of the user's tenant."""
    boss = sign_in(gateway, f"admin-{uuid.uuid4().hex}", user.tenant, "admin")
    return Asker(gateway, boss, claims_of(token).tenant_id)


def test_limits_of_every_scope_are_set_listed_and_removed(
    gateway: Gateway, user: User, token: str, operator: Asker
) -> None:
    claims = claims_of(token)
    gateway.cli("limits", "set", "inherit", "--user", user.name)
    made = [
        operator.put(2, scope="access_token", access_token_id=claims.jti),
        operator.put(7, scope="each_user", model="tiny"),
        operator.put(4000, scope="tenant", metric="tokens", window="month"),
        operator.put("unlimited", scope="user", user_id=claims.user_id, metric="cost"),
        operator.put(3, scope="user", user_id=claims.user_id, window="at_once"),
    ]
    assert made[0]["access_token_id"] == claims.jti and made[3]["value"] == "unlimited"
    assert operator("GET", "/limits") == {"object": "list", "data": made, "has_more": False, "after": None}
    assert operator("GET", "/limits", params={"user_id": claims.user_id})["data"] == made[3:]
    assert operator("GET", "/limits", params={"access_token_id": claims.jti})["data"] == made[:1]
    assert operator("GET", "/limits", params={"model": "tiny", "scope": "each_user"})["data"] == made[1:2]
    assert operator("GET", "/limits", params={"metric": "requests", "window": "day"})["data"] == made[:2]
    listed: list[Any] = []
    after = None
    while len(listed) < len(made):
        page = operator("GET", "/limits", params={"limit": "2"} | ({"after": after} if after else {}))
        listed, after = listed + page["data"], page["after"]
        assert page["has_more"] is (after is not None)
    assert listed == made and after is None
    assert [ask(gateway, token).status_code for _ in range(3)] == [200, 200, 429]
    place = {"scope": "access_token", "access_token_id": claims.jti, "metric": "requests", "window": "day"}
    operator("DELETE", "/limits", 204, params=place)
    assert ask(gateway, token).status_code == 200
    operator("DELETE", "/limits", 404, params=place)
    assert operator("GET", "/limits")["data"] == made[1:]
    by_command = json.loads(gateway.cli("limits", "list", "--tenant", user.tenant, "--json"))
    assert [each["value"] for each in by_command] == [7, 4000, None, 3]
    assert by_command[2]["user"] == user.name
    assert f"{user.name}" in gateway.cli("limits", "list", "--tenant", user.tenant)


def test_what_is_wrong_with_a_limit_or_a_grant_is_said_field_by_field(
    gateway: Gateway, token: str, operator: Asker
) -> None:
    def fields(told: Any) -> set[str]:
        return {each["field"] for each in told["errors"]}

    assert fields(operator.put(1, 400, scope="user")) == {"user_id"}
    assert fields(operator.put(1, 400, scope="tenant", user_id=claims_of(token).user_id)) == {"user_id"}
    assert fields(operator.put(1, 400, scope="each_user", window="year", role="admin")) == {"window", "role"}
    wrong: list[Any] = [-1, True, "12", 1.5, 10**18 + 1]
    for value in wrong:
        operator.put(value, 400, scope="tenant")
    assert "10" in operator.put(10**15 + 1, 400, scope="tenant")["detail"]
    assert fields(operator.grant(0, 400, scope="tenant", window="minute")) == {"value", "window"}
    assert fields(operator.grant(1, 400, scope="each_user")) == {"scope"}
    assert fields(operator("GET", "/limits", 400, params={"user_id": "me", "limit": "0"})) == {"user_id", "limit"}
    other = {"user_id": claims_of(token).user_id, "scope": "tenant"}
    assert fields(operator("GET", "/limits", 400, params=other)) == {"scope"}
    unkept = [json.dumps(["user", str(uuid.uuid4()), "requests", "day", odd]) for odd in ("\0", "\ud800")]
    forged = (base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") for text in ("[" * 1400, *unkept))
    for cursor in ("W10", "MQ", "\0", "eyJhIjoxfQ", *forged):
        assert fields(operator("GET", "/limits", 400, params={"after": cursor})) == {"after"}
        assert fields(operator("GET", "/grants", 400, params={"after": cursor})) == {"after"}
    assert "unlimited" in operator.grant(5, 400, scope="tenant")["detail"]
    nobody = str(uuid.uuid4())
    operator.put(1, 404, scope="user", user_id=nobody)
    operator.put(1, 404, scope="access_token", access_token_id=nobody)
    operator.grant(1, 404, scope="user", user_id=nobody)
    operator("DELETE", f"/grants/{nobody}", 404)
    operator("GET", f"/users/{nobody}/limits", 404)
    for path in ("/limits", "/grants"):
        Asker(gateway, operator.token, nobody)("GET", path, 404)


def test_admins_change_what_is_their_users_but_neither_their_tenant_s_limits_nor_their_own(
    gateway: Gateway, user: User, token: str, admin: Asker, operator: Asker
) -> None:
    claims, own = claims_of(token), claims_of(admin.token)
    admin.put(5, scope="user", user_id=claims.user_id)
    admin.put(5, scope="access_token", access_token_id=claims.jti)
    admin.put(1, scope="each_user")
    admin.grant(1, scope="user", user_id=claims.user_id)
    for told in (
        admin.put(10**6, 403, scope="tenant"),
        admin.put(10**6, 403, scope="each_user"),
        admin.put(10**6, 403, scope="user", user_id=own.user_id),
        admin.put(0, 403, scope="access_token", access_token_id=own.jti),
        admin.grant(10**6, 403, scope="tenant"),
        admin.grant(10**6, 403, scope="user", user_id=own.user_id),
        admin.grant(10**6, 403, scope="access_token", access_token_id=own.jti),
    ):
        assert told["status"] == 403 and told["detail"]
    granted = operator.grant(2, scope="user", user_id=own.user_id)
    admin("DELETE", f"/grants/{granted['id']}", 403)
    assert (found := Reader.of(gateway, admin.token)())["limits"][0]["value"] == 3, found
    foreign = claims_of(operator.token)
    for tenant_id, status in ((own.tenant_id, 404), (foreign.tenant_id, 404)):
        there = Asker(gateway, admin.token, tenant_id)
        there.put(1, status, scope="user", user_id=foreign.user_id)
        there.put(1, status, scope="access_token", access_token_id=foreign.jti)
        there.grant(1, status, scope="user", user_id=foreign.user_id)
        there("GET", f"/users/{foreign.user_id}/limits", status)
    Asker(gateway, token, claims.tenant_id)("GET", "/limits", 403)


def test_more_is_granted_shown_used_and_taken_back(
    gateway: Gateway, user: User, token: str, read: Reader, operator: Asker
) -> None:
    claims = claims_of(token)
    limit(gateway, "1", "--user", user.name)
    assert [ask(gateway, token).status_code for _ in range(2)] == [200, 429]
    made = operator.grant(2, scope="user", user_id=claims.user_id, reason="a demonstration")
    assert (made["in_force"], made["withdrawn_at"], made["value"]) == (True, None, 2)
    (mine,) = read()["limits"]
    assert (mine["value"], mine["granted"], mine["used"], mine["left"]) == (3, 2, 1, 2)
    assert made["ends_at"] == mine["resets_at"] and made["window_key"] == read()["today"]
    (shown,) = operator("GET", f"/users/{claims.user_id}/limits")["data"]
    part = {name: made[name] for name in ("id", "value", "reason", "granted_at")}
    assert (shown["value"], shown["source"], shown["granted"], shown["grants"]) == (3, "own", 2, [part])
    assert (shown["used"], shown["held"], shown["left"]) == (1, 0, 2)
    assert [ask(gateway, token).status_code for _ in range(2)] == [200, 200]
    denied = ask(gateway, token)
    assert denied.status_code == 429
    error = denied.json()["error"]
    assert "The limit of 3 requests per day (2 of it granted for this day only) for this user" in error["message"]
    assert (error["chatapi"]["limit"]["value"], error["chatapi"]["limit"]["granted"]) == (3, 2)
    assert denied.headers["x-ratelimit-limit-requests"] == "3"
    operator("DELETE", f"/grants/{made['id']}", 204)
    denied = ask(gateway, token)
    assert "The limit of 1 requests per day for this user" in denied.json()["error"]["message"]
    (mine,) = read()["limits"]
    assert (mine["value"], mine["granted"], mine["used"], mine["left"]) == (1, 0, 3, 0)
    (listed,) = operator("GET", "/grants")["data"]
    assert listed["withdrawn_at"] is not None and not listed["in_force"]
    assert operator("GET", "/grants", params={"in_force": "true"})["data"] == []
    gateway.cli("audit")


def test_grants_are_listed_newest_first_and_filtered(token: str, operator: Asker) -> None:
    claims = claims_of(token)
    operator.put(1, scope="access_token", access_token_id=claims.jti, window="month", metric="tokens")
    operator.put(1, scope="tenant")
    made = [
        operator.grant(1, scope="user", user_id=claims.user_id),
        operator.grant(2, scope="access_token", access_token_id=claims.jti, window="month", metric="tokens"),
        operator.grant(3, scope="tenant"),
    ][::-1]
    assert made[1]["window_key"] == made[0]["window_key"][:7]
    first = operator("GET", "/grants", params={"limit": "2"})
    assert first["data"] == made[:2] and first["has_more"]
    assert operator("GET", "/grants", params={"after": first["after"]})["data"] == made[2:]
    for query, expected in (
        ({"user_id": claims.user_id}, made[2:]),
        ({"access_token_id": claims.jti}, made[1:2]),
        ({"scope": "tenant"}, made[:1]),
        ({"window": "month", "metric": "tokens"}, made[1:2]),
        ({"model": "tiny"}, []),
    ):
        assert operator("GET", "/grants", params=query)["data"] == expected
    with_token = operator("GET", f"/users/{claims.user_id}/limits", params={"access_token_id": claims.jti})["data"]
    assert [(each["scope"], each["value"], each["granted"]) for each in with_token] == [
        ("access_token", 3, 2),
        ("user", 100_001, 1),
        ("tenant", 4, 3),
    ]
    stranger = {"access_token_id": claims_of(operator.token).jti}
    operator("GET", f"/users/{claims.user_id}/limits", 404, params=stranger)


def test_grants_by_command(gateway: Gateway, user: User, token: str) -> None:
    jti = claims_of(token).jti
    limit(gateway, "1", "--access-token", jti)
    limit(gateway, "12.50", "--user", user.name, "--metric", "cost", "--window", "month")
    grant_id = gateway.cli("grants", "add", "1", "--access-token", jti, "--reason", "once").strip()
    gateway.cli("grants", "add", "0.25", "--user", user.name, "--metric", "cost", "--window", "month")
    shown = json.loads(gateway.cli("limits", "show", "--access-token", jti, "--json"))
    assert [(each["scope"], each["metric"], each["value"], each["granted"]) for each in shown] == [
        ("access_token", "requests", 2, 1),
        ("user", "cost", 12_750_000_000, 250_000_000),
        ("user", "requests", 100_000, 0),
    ]
    table = gateway.cli("limits", "show", "--user", user.name)
    assert "$12.75  own     $0.25    $0.00  $0.00  $12.75" in table
    listed = json.loads(gateway.cli("grants", "list", "--tenant", user.tenant, "--json"))
    assert [each["value"] for each in listed] == [250_000_000, 1]
    assert (listed[1]["id"], listed[1]["access_token"], listed[1]["reason"]) == (grant_id, jti, "once")
    assert "$0.25" in gateway.cli("grants", "list", "--user", user.name)
    gateway.cli("grants", "withdraw", grant_id)
    assert len(json.loads(gateway.cli("grants", "list", "--tenant", user.tenant, "--json"))) == 1
    assert len(json.loads(gateway.cli("grants", "list", "--tenant", user.tenant, "--all", "--json"))) == 2
    for wrong, code in (
        (("add", "1"), 1),
        (("add", "1", "--user", user.name, "--window", "month"), 1),
        (("add", "unlimited", "--user", user.name), 2),
        (("add", "1", "--user", user.name, "--window", "minute"), 2),
        (("withdraw", "nothing"), 1),
        (("list", "--user", "nobody"), 1),
    ):
        done = gateway.run("grants", *wrong)
        assert (done.returncode, bool(done.stderr)) == (code, True), done

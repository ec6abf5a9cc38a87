"""`chatapi access-tokens`: made, listed and revoked by names of users."""

from __future__ import annotations

import json
import uuid

from tests.support.access_tokens import MINE, Caller, is_served
from tests.support.gateway import Gateway
from tests.support.me import claims_of
from tests.support.users import User


def test_a_user_has_so_many_named_access_tokens_and_no_more(gateway: Gateway, user: User, me: Caller) -> None:
    few = {"CHATAPI_ACCESS_TOKENS_PER_USER": "2"}
    for name, code in (("a", 0), ("b", 0), ("c", 1)):
        assert gateway.run("access-tokens", "add", user.name, name, environment=few).returncode == code
    gateway.cli("access-tokens", "revoke", user.name, "a")
    gateway.cli("access-tokens", "add", user.name, "c", environment=few)
    assert sorted(each["name"] or "" for each in me.listed(state="live")) == ["", "b", "c"]


def test_commands_write_the_jwt_alone_and_list_and_revoke_by_name(gateway: Gateway, user: User, admin: Caller) -> None:
    done = gateway.run(
        *("access-tokens", "add", user.name, "report", "--days", "7", "--model", "tiny"),
        *("--limit", "requests/day=2", "--limit", "cost/month/openai/gpt=4=1.50", "--limit", "requests/at-once=3"),
    )
    assert done.returncode == 0, done.stderr
    jwt = done.stdout.removesuffix("\n")
    assert "\n" not in jwt and is_served(gateway, jwt) and "report" in done.stderr and jwt not in done.stderr
    (row,) = (
        row for row in json.loads(gateway.cli("access-tokens", "list", "--user", user.name, "--json")) if row["name"]
    )
    assert (row["id"], row["models"], row["state"]) == (claims_of(jwt).jti, ["tiny"], "live")
    limits = {(each["metric"], each["window"], each["model"]): each["value"] for each in row["limits"]}
    assert limits == {
        ("requests", "day", None): 2,
        ("cost", "month", "openai/gpt=4"): 1_500_000_000,
        ("requests", "at_once", None): 3,
    }
    assert row["last_used"] is not None
    table = gateway.cli("access-tokens", "list", "--tenant", user.tenant)
    assert (
        f"admin-of-{user.name}" in table and "requests/at-once=3" in table and "cost/month/openai/gpt=4=$1.50" in table
    )
    for arguments in (
        ("add", user.name, "report"),
        ("add", "nobody-of-that-name", "report"),
        ("add", user.name, "x", "--days", "400"),
        ("add", user.name, "x", "--until", "2020-01-01T00:00:00Z"),
        ("revoke", user.name, "unknown"),
        ("revoke", user.name, "--id", str(uuid.uuid4())),
        ("revoke", user.name),
        ("list",),
    ):
        refused = gateway.run("access-tokens", *arguments)
        assert (refused.returncode, refused.stdout) == (1, ""), arguments
        assert refused.stderr.startswith("Error: "), arguments
    for limit in ("requests", "requests/day", "requests/year=1", "bread/day=1", "requests/day=unlimited"):
        assert gateway.run("access-tokens", "add", user.name, "x", "--limit", limit).returncode == 2
    gateway.cli("access-tokens", "revoke", user.name, "--id", row["id"])
    assert not is_served(gateway, jwt)
    assert '"revoked"' in gateway.cli("access-tokens", "list", "--user", user.name, "--state", "revoked", "--json")


def test_commands_make_access_tokens_for_whoever_is_named(gateway: Gateway, user: User, operator: Caller) -> None:
    made = gateway.cli("access-tokens", "add", f"operator-at-{user.name}", "ops").strip()
    assert Caller(gateway, made)("GET", MINE)["data"][0]["name"] == "ops"
    assert Caller(gateway, made).ask("GET", "/admin/trail").status_code == 403, "it is for calls"
    gateway.cli("users", "disable", user.name)
    refused = gateway.run("access-tokens", "add", user.name, "late")
    assert (refused.returncode, "not served" in refused.stderr) == (1, True)

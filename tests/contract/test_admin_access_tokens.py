"""Named access tokens: who may make which, what they may do, and how they end."""

from __future__ import annotations

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

from tests.support.access_tokens import MINE, Caller, add_person, is_served, path_of, trail_of
from tests.support.gateway import Gateway
from tests.support.limits import ask
from tests.support.me import Reader, claims_of, limits_of
from tests.support.users import PASSWORD, User


def test_a_named_access_token_is_shown_once_and_knows_its_name_models_and_expiry(gateway: Gateway, me: Caller) -> None:
    made = me.add("nightly", expires_in_days=3, models=["tiny", "gpt-*"])
    jwt = made.pop("access_token")
    assert claims_of(jwt)._replace(jti="") == claims_of(me.token)._replace(jti="") and claims_of(jwt).jti == made["id"]
    lifetime = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["issued_at"])
    assert lifetime == timedelta(days=3)
    assert (made["name"], made["state"], made["models"]) == ("nightly", "live", ["gpt-*", "tiny"])
    assert (made["limits"], made["last_used"], made["revoked_at"]) == ([], None, None)
    assert me("GET", f"{MINE}/{made['id']}") == made
    assert me.listed()[0] == made
    assert [each["name"] for each in me.listed()] == ["nightly", None], "the one of /token has no name"
    assert jwt not in json.dumps(me.listed())
    found = Reader.of(gateway, jwt)()
    assert found["access_token"]["name"] == "nightly" and found["access_token"]["expires_at"] == made["expires_at"]
    assert found["models"] == {"tenant": None, "user": None, "access_token": ["gpt-*", "tiny"]}


def test_post_token_never_gives_a_named_access_token(gateway: Gateway, user: User, me: Caller) -> None:
    named = me.add()["access_token"]
    again = gateway.exchange(user.name)
    assert (again.status_code, again.json()["message"]["token"]) == (200, me.token)
    me("DELETE", f"{MINE}/{claims_of(me.token).jti}", 204)
    assert not is_served(gateway, me.token)
    new = gateway.exchange(user.name)
    assert new.status_code == 201
    assert new.json()["message"]["token"] not in (named, me.token)
    assert is_served(gateway, named) and is_served(gateway, new.json()["message"]["token"])


def test_models_and_limits_of_an_access_token_hold_besides_those_of_its_user(
    gateway: Gateway, user: User, me: Caller, far_from_midnight: None
) -> None:
    gateway.cli("models", "allow", "tiny", "gpt-*", "--user", user.name)
    limits = [
        {"metric": "requests", "window": "day", "value": 2},
        {"metric": "tokens", "window": "minute", "model": "tiny", "value": 100_000},
        {"metric": "requests", "window": "at_once", "value": 7},
    ]
    made = me.add(models=["tiny", "other"], limits=limits)
    kept = [{"model": None} | limit for limit in limits]
    assert all(limit in kept for limit in made["limits"]) and len(made["limits"]) == len(kept)
    jwt = made["access_token"]
    for model, status in (("gpt-4o", 403), ("other", 403), ("tiny", 200), ("tiny", 200)):
        assert ask(gateway, jwt, model=model).status_code == status, model
    denied = ask(gateway, jwt)
    assert denied.status_code == 429
    told = denied.json()["error"]["chatapi"]["limit"]
    assert (told["scope"], told["metric"], told["window"], told["value"]) == ("access_token", "requests", "day", 2)
    assert ask(gateway, me.token).status_code == 200, "its user has not used up anything"
    own = limits_of(Reader.of(gateway, jwt)())
    assert own["access_token", "requests", "day", None]["left"] == 0
    assert own["access_token", "tokens", "minute", "tiny"]["value"] == 100_000
    assert not [place for place in limits_of(Reader.of(gateway, me.token)()) if place[0] == "access_token"]
    listed = [model["id"] for model in Caller(gateway, jwt).ask("GET", "/v1/models").json()["data"]]
    assert listed == ["tiny"]
    today = datetime.now(UTC).date().isoformat()
    assert [(each["name"], each["last_used"]) for each in me.listed()] == [("ci", today), (None, today)]
    assert gateway.run("audit").returncode == 0


def test_a_revoked_access_token_ends_at_once_in_every_process_and_its_name_is_free(
    gateway: Gateway, user: User, me: Caller, admin: Caller, operator: Caller
) -> None:
    """The command and the gateway are two processes."""
    first = me.add("one")
    assert is_served(gateway, first["access_token"])
    gateway.cli("access-tokens", "revoke", user.name, "one")
    assert not is_served(gateway, first["access_token"])
    second = me.add("one")
    me("DELETE", f"{MINE}/{second['id']}", 204)
    assert not is_served(gateway, second["access_token"])
    me("DELETE", f"{MINE}/{second['id']}", 204)
    third = me.add("one")
    admin("DELETE", f"{path_of(me.token)}/{third['id']}", 204)
    assert not is_served(gateway, third["access_token"])
    assert [each["state"] for each in me.listed(name="one")] == ["revoked"] * 3
    assert me.listed(name="one", state="live") == [] and is_served(gateway, me.token)
    (revoked, added) = trail_of(gateway, operator, second["id"])
    assert (revoked["action"], added["action"]) == ("access_token.revoke", "access_token.add")
    assert (added["actor"], added["after"]["user"], added["after"]["name"]) == (user.name, user.name, "one")
    assert revoked["before"]["name"] == "one" and second["access_token"] not in json.dumps([revoked, added])
    assert trail_of(gateway, operator, third["id"])[0]["actor"] == f"admin-of-{user.name}"


def test_an_access_token_expires_when_it_says_and_never_later_than_is_allowed(gateway: Gateway, me: Caller) -> None:
    now = datetime.now(UTC)
    until = (now + timedelta(seconds=4)).replace(microsecond=0)
    made = me.add("short", expires_at=until.isoformat())
    assert datetime.fromisoformat(made["expires_at"]) == until
    assert is_served(gateway, made["access_token"])
    for wrong in (
        {"expires_in_days": 366},
        {"expires_in_days": 0},
        {"expires_at": (now + timedelta(days=365, minutes=1)).isoformat()},
        {"expires_at": (now - timedelta(minutes=1)).isoformat()},
        {"expires_at": "2026-12-01T00:00:00"},
        {"expires_in_days": 1, "expires_at": (now + timedelta(days=1)).isoformat()},
    ):
        me("POST", MINE, 400, json={"name": "long", **wrong})
    assert me.add("as long as may be", expires_in_days=365)["state"] == "live"
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 1)
    assert ask(gateway, made["access_token"]).status_code == 401
    assert [each["name"] for each in me.listed(state="expired")] == ["short"]
    assert me.add("short")["state"] == "live"


def test_what_a_user_may_not_say_of_an_access_token_is_refused(me: Caller) -> None:
    for wrong in (
        {},
        {"name": ""},
        {"name": " padded "},
        {"name": "x" * 201},
        {"name": "nul\0"},
        {"name": 7},
        {"name": "n", "models": [""]},
        {"name": "n", "models": "tiny"},
        {"name": "n", "limits": [{"metric": "requests", "window": "day", "value": -1}]},
        {"name": "n", "limits": [{"metric": "requests", "window": "year", "value": 1}]},
        {"name": "n", "limits": [{"metric": "requests", "window": "day", "value": None}]},
        {"name": "n", "limits": [{"metric": "requests", "window": "day", "value": 1, "scope": "tenant"}]},
        {"name": "n", "limits": [{"metric": "requests", "window": "day", "value": 10**16}]},
        {"name": "n", "limits": [{"metric": "requests", "window": "day", "value": value} for value in (1, 2)]},
        *({"name": "n", field: "operator"} for field in ("role", "user_id", "tenant_id", "jti", "id", "issued_at")),
    ):
        me("POST", MINE, 400, json=wrong)
    assert [each["name"] for each in me.listed()] == [None], "nothing was made"


def test_of_creations_of_one_name_at_the_same_time_one_makes_it(gateway: Gateway, me: Caller) -> None:
    callers = 6
    barrier = Barrier(callers)

    def make(_: int) -> int:
        barrier.wait()
        return me.ask("POST", MINE, json={"name": "one"}).status_code

    with ThreadPoolExecutor(callers) as pool:
        assert sorted(pool.map(make, range(callers))) == [201] + [409] * (callers - 1)
    assert len(me.listed(name="one")) == 1


def test_pages_neither_miss_nor_repeat_an_access_token(me: Caller, admin: Caller) -> None:
    made = [me.add(str(number))["id"] for number in range(4)]
    for caller, path in ((me, MINE), (admin, path_of(me.token))):
        found, query = list[str](), {"limit": "2"}
        while True:
            page = caller("GET", path, params=query)
            found += [each["id"] for each in page["data"]]
            if not page["has_more"]:
                break
            query["after"] = page["after"]
        assert found == [*reversed(made), claims_of(me.token).jti]
        caller("GET", path, 400, params={"after": "bm90aGluZw"})


def test_administrators_make_access_tokens_for_plain_users_of_their_tenant_only(
    gateway: Gateway, user: User, me: Caller, admin: Caller, operator: Caller
) -> None:
    colleague = gateway.token(add_person(gateway, f"colleague-of-{user.name}", user.tenant, "admin"))
    foreign = gateway.token(gateway.users.take("many"))
    mixed = path_of(me.token).replace(claims_of(me.token).user_id, claims_of(foreign).user_id)
    for caller, path, status in (
        (admin, path_of(me.token), 201),
        (admin, path_of(admin.token), 403),
        (admin, path_of(colleague), 403),
        (admin, path_of(operator.token), 403),
        (admin, path_of(foreign), 404),
        (admin, mixed, 404),
        (operator, path_of(foreign), 201),
        (operator, path_of(admin.token), 403),
        (operator, path_of(operator.token), 403),
        (operator, mixed, 404),
        (me, path_of(me.token), 403),
    ):
        made = caller("POST", path, status, json={"name": f"made by {claims_of(caller.token).user_id}"})
        if status == 201:
            assert is_served(gateway, made["access_token"])
    assert [each["name"] for each in admin.listed(path_of(me.token))] == [
        f"made by {claims_of(admin.token).user_id}",
        None,
    ]


def test_others_are_not_seen_nor_ended_by_whom_they_are_no_matter_of(
    gateway: Gateway, me: Caller, admin: Caller, operator: Caller
) -> None:
    foreign = Caller(gateway, gateway.token(gateway.users.take("many")))
    of_foreign, of_operator = foreign.add("theirs"), operator.add("theirs")
    for method in ("GET", "DELETE"):
        for jti in (of_foreign["id"], of_operator["id"], str(uuid.uuid4())):
            me(method, f"{MINE}/{jti}", 404)
            admin(method, f"{path_of(me.token)}/{jti}", 404)
        assert me.ask(method, f"{MINE}/no-id").status_code == 404
        admin(method, f"{path_of(foreign.token)}/{of_foreign['id']}", 404)
        admin(method, f"{path_of(operator.token)}/{of_operator['id']}", 403)
        me(method, f"{path_of(me.token)}/{claims_of(me.token).jti}", 403)
    admin("GET", path_of(foreign.token), 404)
    admin("GET", path_of(operator.token), 403)
    assert is_served(gateway, of_foreign["access_token"]) and is_served(gateway, of_operator["access_token"])


def test_one_that_was_made_by_name_makes_no_others_but_may_end_them(
    gateway: Gateway, me: Caller, admin: Caller
) -> None:
    mine, theirs = (Caller(gateway, caller.add()["access_token"]) for caller in (me, admin))
    mine("POST", MINE, 403, json={"name": "another"})
    mine("POST", "/v1/me/password", 403, json={"current_password": PASSWORD, "new_password": "another password"})
    theirs("POST", MINE, 403, json={"name": "another"})
    assert [each["name"] for each in mine.listed()] == ["ci", None]
    mine("DELETE", f"{MINE}/{claims_of(me.token).jti}", 204)
    mine("DELETE", f"{MINE}/{claims_of(mine.token).jti}", 204)
    assert not is_served(gateway, me.token) and not is_served(gateway, mine.token)


def test_whoever_is_given_a_higher_role_logs_in_anew(gateway: Gateway, user: User, me: Caller, admin: Caller) -> None:
    """Else an admin would have an operator's access token, made when that was a plain user."""
    made = admin.add(path=path_of(me.token))["access_token"]
    gateway.cli("users", "set-role", user.name, "operator")
    assert not is_served(gateway, made) and not is_served(gateway, me.token)
    assert gateway.exchange(user.name).status_code == 201

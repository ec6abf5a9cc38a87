"""Users, as admins and operators look after them: over HTTP and by commands."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.http import Http
from tests.support.office import Office
from tests.support.routes import API
from tests.support.users import PASSWORD

NEW = "a new password"


def user_of(office: Office, who: str) -> str:
    return f"users/{office.ids[who]}"


def test_a_user_is_made_and_can_log_in(office: Office) -> None:
    made = office.add("new", role="admin")
    assert (made["username"], made["role"], made["status"]) == (office.username("new"), "admin", "active")
    assert (made["tenant_id"], made["invitation"], made["invited_until"]) == (office.ids["tenant"], None, None)
    read = office.get("admin", user_of(office, "new"))
    assert read == {name: value for name, value in made.items() if name != "invitation"}
    office.enter("new")
    assert office.get("new", "users")["data"][-1] == read


def test_a_username_is_unique_in_the_installation(office: Office) -> None:
    body = {"username": office.username("operator"), "password": "secret"}
    refused = office.do("admin", "POST", "users", 409, **body)
    assert refused["detail"] == f"There is a user '{office.username('operator')}' already."


def test_of_two_who_make_the_same_username_at_once_one_is_told_so(office: Office) -> None:
    body = {"username": office.username("both"), "password": "secret"}

    def make(who: str) -> int:
        http = Http(office.gateway.base_url)
        answer = http.post(f"{office.path}/users", json=body, access_token=office.tokens[who])
        http.close()
        return answer.status_code

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(make, ("admin", "operator"))) == [201, 409]


def test_users_are_listed_in_pages_and_by_name_role_and_status(office: Office) -> None:
    for number in range(3):
        office.add(f"more-{number}")
    office.do("admin", "PATCH", user_of(office, "more-1"), status="disabled")

    def listed(**query: str) -> list[str]:
        return [
            each["username"].removeprefix(f"{office.name}-") for each in office.get("admin", "users", **query)["data"]
        ]

    assert listed(username=office.username("more")) == ["more-0", "more-1", "more-2"]
    assert listed(role="admin") == ["admin"]
    assert listed(status="disabled") == ["more-1"]
    assert listed(username="no%_such") == []
    first = office.get("admin", "users", limit="3")
    rest = office.get("admin", "users", limit="3", after=first["after"])
    assert (first["has_more"], rest["has_more"], rest["after"]) == (True, False, None)
    assert [each["id"] for each in first["data"] + rest["data"]] == [
        each["id"] for each in office.get("admin", "users")["data"]
    ]
    assert office.ask("admin", "GET", "users", params={"after": "bm9uZQ"}).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        {"username": "tab\there", "password": "secret"},
        {"username": "Command:root", "password": "secret"},
        {"username": "fine", "password": "bell\a"},
        {"username": "fine", "password": ""},
        {"username": "fine", "password": "secret", "role": "king"},
        {"password": "secret"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_and_no_password_repeated(office: Office, body: dict[str, str]) -> None:
    assert "secret" not in json.dumps(office.do("admin", "POST", "users", 400, **body))


def test_an_admin_makes_and_changes_no_operator(office: Office) -> None:
    office.add("chief", by="operator", role="operator")
    chief = user_of(office, "chief")
    office.do("admin", "POST", "users", 403, username=office.username("own"), password="secret", role="operator")
    office.do("admin", "PATCH", user_of(office, "user"), 403, role="operator")
    for body in ({"role": "user"}, {"status": "disabled"}, {"status": "closed"}):
        office.do("admin", "PATCH", chief, 403, **body)
    office.do("admin", "POST", f"{chief}/password", 403, password=NEW)
    office.do("admin", "POST", f"{chief}/invitation", 403)
    office.do("admin", "PUT", f"{chief}/models", 403, models=[])
    assert office.get("admin", chief)["role"] == "operator"
    assert office.gateway.exchange(office.username("chief")).status_code == 201


def test_nobody_raises_demotes_stops_or_resets_themselves(office: Office) -> None:
    own = user_of(office, "admin")
    for body in ({"role": "operator"}, {"role": "user"}, {"status": "disabled"}, {"status": "closed"}):
        office.do("admin", "PATCH", own, 403, **body)
    office.do("admin", "POST", f"{own}/password", 403, password=NEW)
    office.do("admin", "POST", f"{own}/invitation", 403)
    office.do("admin", "PUT", f"{own}/models", 403, models=None)
    assert office.do("admin", "PATCH", own, role="admin", status="active")["role"] == "admin"


def test_a_lower_role_holds_at_the_next_request_and_a_higher_one_after_a_login(office: Office) -> None:
    office.do("admin", "PATCH", user_of(office, "user"), role="admin")
    assert office.ask("user", "GET", "users").status_code == 401  # whoever else has this access token gets no such rank
    office.enter("user")
    assert office.get("user", "users")["data"]
    office.do("admin", "PATCH", user_of(office, "user"), role="user")
    assert office.ask("user", "GET", "users").status_code == 403


def test_a_disabled_user_is_out_at_once_and_a_closed_one_for_ever(office: Office) -> None:
    who = user_of(office, "user")
    office.do("admin", "PATCH", who, status="disabled")
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 401
    assert office.gateway.exchange(office.username("user"), address=office.gateway.address()).status_code == 401
    office.do("admin", "PATCH", who, status="active")
    assert API.ask(office.gateway, "hello", office.enter("user")).status_code == 200
    assert office.do("admin", "PATCH", who, status="closed")["status"] == "closed"
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 401
    assert (
        office.do("admin", "PATCH", who, 409, status="active")["detail"]
        == f"User '{office.username('user')}' is closed."
    )
    for route in ("password", "invitation"):
        office.do("admin", "POST", f"{who}/{route}", 409, **({"password": NEW} if route == "password" else {}))
    office.do("admin", "POST", "users", 409, username=office.username("user"), password="secret")


def test_another_password_ends_what_the_old_one_gave(office: Office) -> None:
    office.do("admin", "POST", f"{user_of(office, 'user')}/password", 204, password=NEW)
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 401
    assert office.gateway.exchange(office.username("user"), PASSWORD).status_code == 401
    office.enter("user", NEW)


def test_models_are_allowed_to_a_tenant_by_operators_and_to_its_users_by_its_admin(office: Office) -> None:
    who = user_of(office, "user")
    assert office.do("operator", "PUT", "models", models=["tiny", "gpt-*", "tiny"]) == {"models": ["gpt-*", "tiny"]}
    office.do("admin", "PUT", "models", 403, models=None)
    assert office.do("admin", "PUT", f"{who}/models", models=[]) == {"models": [], "tenant_models": ["gpt-*", "tiny"]}
    refused = API.ask(office.gateway, "hello", office.tokens["user"])
    assert refused.status_code == 403
    assert office.do("admin", "PUT", f"{who}/models", models=None)["models"] is None
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 200
    assert office.get("admin", "models") == {"models": ["gpt-*", "tiny"]}
    office.do("admin", "PUT", f"{who}/models", 400, models=["x"] * 101)
    office.do("admin", "PUT", f"{who}/models", 400, models=["[a-z]*" * 40] * 17)
    office.do("admin", "PUT", f"{who}/models", 400, models=["tab\t"])
    shown = json.loads(office.gateway.cli("models", "allowed", "--user", office.username("user"), "--json"))
    assert [row["models"] for row in shown] == [["gpt-*", "tiny"], None]


def test_commands_do_the_same_by_names(office: Office) -> None:
    gateway, name = office.gateway, office.username("cli")
    gateway.cli("users", "add", name, "--tenant", office.tenant, "--password-stdin", stdin=f"{PASSWORD}\n")

    def row() -> dict[str, Any]:
        rows = json.loads(gateway.cli("users", "list", "--tenant", office.tenant, "--json"))
        (found,) = [each for each in rows if each["username"] == name]
        return dict(found)

    gateway.cli("users", "set-role", name, "operator")
    assert row()["role"] == "operator"
    gateway.cli("users", "set-role", name, "admin")
    gateway.cli("users", "set-password", name, "--password-stdin", stdin=f"{NEW}\n")
    office.enter("cli", NEW)
    assert office.get("cli", "users")["data"]
    for command, status in (("disable", "disabled"), ("enable", "active"), ("close", "closed")):
        gateway.cli("users", command, name)
        assert row()["status"] == status
    assert gateway.run("users", "enable", name).stderr == f"Error: User '{name}' is closed.\n"
    both = gateway.run("users", "add", f"{name}-2", "--invite", "--password-stdin", stdin="secret\n")
    assert both.returncode == 1

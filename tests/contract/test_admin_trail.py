"""The trail: every change of tenants and users has an entry, and who may read which."""

from __future__ import annotations

import json
from typing import Any

from tests.support.office import Office
from tests.support.users import CHEAP_HASH, PASSWORD


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str, Any, Any]]:
    """Oldest first: what was done to what, before and after."""
    return [(each["action"], each["subject"], each["before"], each["after"]) for each in reversed(entries)]


def test_every_change_of_a_user_is_told_with_who_and_from_where(office: Office) -> None:
    made = office.add("new")
    who, name = f"users/{made['id']}", office.username("new")
    office.do("admin", "PATCH", who, role="admin", status="disabled")
    office.do("admin", "PATCH", who, status="active")
    office.do("admin", "PATCH", who, status="active")  # as it is already
    office.do("admin", "POST", f"{who}/password", 204, password="another secret")
    office.do("admin", "PUT", f"{who}/models", models=["tiny"])
    link = office.do("admin", "POST", f"{who}/invitation", 201)
    body = {"invitation": link["url"].partition("#")[2], "password": "third secret"}
    assert office.ask(None, "POST", "/invitations", json=body).status_code == 204
    office.do("operator", "PATCH", who, status="closed")
    found = office.get("admin", "trail", subject=name)["data"]
    assert told(found) == [
        ("user.add", name, None, {"id": made["id"], "role": "user"}),
        ("user.set_role", name, {"role": "user"}, {"role": "admin"}),
        ("user.disable", name, {"status": "active"}, {"status": "disabled"}),
        ("user.enable", name, {"status": "disabled"}, {"status": "active"}),
        ("user.set_password", name, None, None),
        ("user.set_models", name, {"models": None}, {"models": ["tiny"]}),
        ("user.invite", name, None, {"expires_at": link["expires_at"]}),
        ("user.accept_invitation", name, None, None),
        ("user.close", name, {"status": "active"}, {"status": "closed"}),
    ]
    assert {(each["actor"], each["actor_id"]) for each in found[2:]} == {
        (office.username("admin"), office.ids["admin"])
    }
    assert [each["actor"] for each in found[:2]] == [office.username("operator"), name]
    assert {(each["tenant_id"], each["address"]) for each in found} == {(office.ids["tenant"], "127.0.0.1")}
    assert not [secret for secret in (PASSWORD, "secret", "argon2", body["invitation"]) if secret in json.dumps(found)]


def test_every_change_of_a_tenant_is_told(office: Office) -> None:
    made = office.do("operator", "POST", "/admin/tenants", 201, name=f"{office.name}-b", timezone="UTC")
    where = f"/admin/tenants/{made['id']}"
    office.do("operator", "PATCH", where, name=f"{office.name}-c", near_limit="refuse", timezone="Asia/Tokyo")
    office.do("operator", "PUT", f"{where}/models", models=[])
    office.do("operator", "PATCH", where, status="disabled")
    old, new = f"{office.name}-b", f"{office.name}-c"
    assert told(office.get("operator", f"{where}/trail")["data"]) == [
        ("tenant.add", old, None, {"timezone": "UTC"}),
        ("tenant.set_timezone", old, {"timezone": "UTC"}, {"timezone": "Asia/Tokyo"}),
        ("tenant.set_near_limit", old, {"near_limit": "clamp"}, {"near_limit": "refuse"}),
        ("tenant.rename", old, {"name": old}, {"name": new}),
        ("tenant.set_models", new, {"models": None}, {"models": []}),
        ("tenant.disable", new, {"status": "active"}, {"status": "disabled"}),
    ]


def test_an_import_is_told_user_by_user(office: Office) -> None:
    rows = f'{office.username("one")},"{CHEAP_HASH}",5\n{office.username("user")},"{CHEAP_HASH}",6\n'
    headers = {"Content-Type": "text/csv"}
    content = f"username,password_hash,daily_requests\n{rows}".encode()
    assert office.ask("admin", "POST", "users/import", content=content, headers=headers).status_code == 200
    found = office.get("admin", "trail", actor=office.username("admin"))["data"]
    assert {each["action"]: (each["before"], each["after"]) for each in found} == {
        "user.add": (None, {"id": found[-1]["after"]["id"], "role": "user", "status": "active", "daily_requests": 5}),
        "user.import": ({"daily_requests": 1000}, {"daily_requests": 6}),
    }


def test_a_refused_change_is_not_told(office: Office) -> None:
    before = office.get("operator", "trail")
    office.do("admin", "PATCH", office.path, 403, status="closed")
    office.do("admin", "POST", "users", 409, username=office.username("user"), password="secret")
    office.do("operator", "PATCH", office.path, 409, name=f"{office.name}-hq", near_limit="refuse")
    assert office.get("operator", "trail") == before
    assert office.get("admin", office.path)["near_limit"] == "clamp"


def test_an_admin_reads_its_own_tenants_trail_and_an_operator_all(office: Office) -> None:
    office.add("new")
    theirs = office.get("admin", "trail", limit="100")["data"]
    assert {each["tenant_id"] for each in theirs} == {office.ids["tenant"]}
    assert office.get("operator", "/admin/trail", tenant_id=office.ids["tenant"], limit="100")["data"] == theirs
    other = office.do("operator", "POST", "/admin/tenants", 201, name=f"{office.name}-b")
    newest = office.get("operator", "/admin/trail", limit="1")["data"][0]
    assert (newest["tenant_id"], newest["action"]) == (other["id"], "tenant.add")
    assert office.ask("admin", "GET", "/admin/trail").status_code == 403
    assert office.ask("admin", "GET", f"/admin/tenants/{other['id']}/trail").status_code == 404
    assert office.ask("user", "GET", "trail").status_code == 403
    assert office.ask("operator", "GET", f"/admin/tenants/{office.ids['user']}/trail").status_code == 404


def test_the_trail_is_read_in_pages_and_by_filter(office: Office) -> None:
    for number in range(3):
        office.add(f"new-{number}")
    everything = office.get("admin", "trail", limit="100")["data"]
    after: dict[str, str] = {}
    seen: list[dict[str, Any]] = []
    while True:
        page = office.get("admin", "trail", limit="2", **after)
        seen += page["data"]
        if not page["has_more"]:
            break
        after = {"after": page["after"]}
    assert seen == everything
    (one,) = office.get("admin", "trail", action="user.add", subject=office.username("new-1"))["data"]
    assert one in everything
    assert office.get("admin", "trail", actor="nobody")["data"] == []
    assert office.ask("admin", "GET", "trail", params={"after": "eA"}).status_code == 400
    assert office.ask("operator", "GET", "/admin/trail", params={"tenant_id": "x"}).status_code == 400


def test_the_command_shows_it_with_names(office: Office) -> None:
    gateway = office.gateway
    gateway.cli("users", "disable", office.username("user"))
    rows = json.loads(gateway.cli("trail", "--tenant", office.tenant, "--action", "user.disable", "--json"))
    assert [(row["subject"], row["tenant"], row["after"]) for row in rows] == [
        (office.username("user"), office.tenant, {"status": "disabled"})
    ]
    assert rows[0]["actor"].startswith("command:")
    table = gateway.cli("trail", "--tenant", office.tenant, "--limit", "1")
    assert "user.disable" in table and '{"status":"disabled"}' in table and len(table.splitlines()) == 2

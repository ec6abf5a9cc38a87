"""Tenants, as operators and their own admins look after them: over HTTP and by commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.office import Office
from tests.support.routes import API


def names(found: dict[str, Any]) -> list[str]:
    return [each["name"] for each in found["data"]]


def test_a_tenant_is_made_found_and_renamed(office: Office) -> None:
    made = office.do("operator", "POST", "/admin/tenants", 201, name=f"{office.name}-b", timezone="Asia/Tokyo")
    assert made["status"] == "active"
    assert (made["timezone"], made["next_timezone"], made["near_limit"]) == ("Asia/Tokyo", None, "clamp")
    assert office.get("operator", f"/admin/tenants/{made['id']}") == made
    renamed = office.do("operator", "PATCH", f"/admin/tenants/{made['id']}", name=f"{office.name}-c")
    assert renamed == made | {"name": f"{office.name}-c"}
    assert names(office.get("operator", "/admin/tenants", name=office.name)) == [
        f"{office.name}-c", f"{office.name}-hq", office.tenant,
    ]  # fmt: skip


def test_tenants_are_listed_in_pages_and_by_status(office: Office) -> None:
    office.do("operator", "POST", "/admin/tenants", 201, name=f"{office.name}-b")
    first = office.get("operator", "/admin/tenants", name=office.name, limit="2")
    assert (names(first), first["has_more"]) == ([f"{office.name}-b", f"{office.name}-hq"], True)
    rest = office.get("operator", "/admin/tenants", name=office.name, limit="2", after=first["after"])
    assert (names(rest), rest["has_more"], rest["after"]) == ([office.tenant], False, None)
    office.do("operator", "PATCH", f"/admin/tenants/{first['data'][0]['id']}", status="disabled")
    disabled = office.get("operator", "/admin/tenants", name=office.name, status="disabled")
    assert names(disabled) == [f"{office.name}-b"]


def test_a_name_is_given_once(office: Office) -> None:
    again = office.do("operator", "POST", "/admin/tenants", 409, name=office.tenant)
    assert again["detail"] == f"There is a tenant '{office.tenant}' already."
    office.do("operator", "PATCH", office.path, 409, name=f"{office.name}-hq")
    assert office.get("admin", office.path)["name"] == office.tenant


@pytest.mark.parametrize(
    "body", [{"name": " x"}, {"name": "x" * 201}, {"timezone": "Mars/Olympus"}, {"near_limit": "maybe"}], ids=str
)
def test_what_cannot_be_is_refused(office: Office, body: dict[str, str]) -> None:
    office.do("operator", "PATCH", office.path, 400, **body)


def test_an_admin_changes_what_is_its_tenants_own_business_and_nothing_else(office: Office) -> None:
    changed = office.do("admin", "PATCH", office.path, timezone="Europe/Berlin", near_limit="refuse")
    assert changed["near_limit"] == "refuse"
    assert "Europe/Berlin" in (changed["timezone"], changed["next_timezone"])
    for body in ({"name": "mine"}, {"status": "disabled"}, {"timezone": "UTC", "name": "mine"}):
        office.do("admin", "PATCH", office.path, 403, **body)
    assert office.get("admin", office.path) == changed
    office.do("user", "PATCH", office.path, 403, timezone="UTC")


def test_a_disabled_tenant_is_not_served_from_the_next_request_on_and_its_users_log_in_anew(office: Office) -> None:
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 200
    office.do("operator", "PATCH", office.path, status="disabled")
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 401
    assert office.ask("admin", "GET", office.path).status_code == 401
    office.do("operator", "PATCH", office.path, status="active")
    assert API.ask(office.gateway, "hello", office.tokens["user"]).status_code == 401
    assert API.ask(office.gateway, "hello", office.enter("user")).status_code == 200


def test_a_closed_tenant_stays_closed_and_readable(office: Office) -> None:
    assert office.do("operator", "PATCH", office.path, status="closed")["status"] == "closed"
    for body in ({"status": "active"}, {"name": "again"}, {"near_limit": "refuse"}):
        assert (
            office.do("operator", "PATCH", office.path, 409, **body)["detail"] == f"Tenant '{office.tenant}' is closed."
        )
    office.do("operator", "POST", "users", 409, username=office.username("late"), password="secret")
    office.do("operator", "PATCH", f"users/{office.ids['user']}", 409, status="disabled")
    assert len(office.get("operator", "users")["data"]) == 2


def test_nobody_stops_their_own_tenant(office: Office) -> None:
    (own,) = office.get("operator", "/admin/tenants", name=f"{office.name}-hq")["data"]
    for status in ("disabled", "closed"):
        office.do("operator", "PATCH", f"/admin/tenants/{own['id']}", 403, status=status)


def test_commands_do_the_same_by_names(office: Office) -> None:
    gateway, tenant = office.gateway, f"{office.name}-cli"
    gateway.cli("tenants", "add", tenant, "--timezone", "Asia/Tokyo")
    gateway.cli("tenants", "rename", tenant, f"{tenant}-2")
    gateway.cli("tenants", "near-limit", f"{tenant}-2", "refuse")
    gateway.cli("tenants", "set-timezone", f"{tenant}-2", "UTC")

    def row() -> dict[str, Any]:
        (found,) = [each for each in json.loads(gateway.cli("tenants", "list", "--json")) if tenant in each["tenant"]]
        return dict(found)

    made = row()
    assert (made["tenant"], made["timezone"], made["near_limit"]) == (f"{tenant}-2", "UTC", "refuse")
    assert office.get("operator", f"/admin/tenants/{made['id']}")["name"] == f"{tenant}-2"
    for command, status in (("disable", "disabled"), ("enable", "active"), ("close", "closed")):
        gateway.cli("tenants", command, f"{tenant}-2")
        assert row()["status"] == status
    again = gateway.run("tenants", "enable", f"{tenant}-2")
    assert (again.returncode, again.stderr) == (1, f"Error: Tenant '{tenant}-2' is closed.\n")
    assert gateway.run("tenants", "rename", tenant, "x").stderr == f"Error: There is no tenant '{tenant}'.\n"

"""Files of users that administrators send, of one tenant each."""

from __future__ import annotations

import io

import pytest

from chatapi.domain.principals import Claims, Role
from chatapi.domain.user_csv import InvalidUserFile, parse
from chatapi.logic import tenants, user_imports, users
from chatapi.logic.actors import command_actor, find_actor
from chatapi.logic.runtime import Runtime
from tests.support import administration
from tests.support.logins import HERE, exchange


def test_a_file_of_a_tenant_whose_name_is_another_one_s_by_now_makes_nothing_there(runtime: Runtime) -> None:
    """It names its tenant, and whoever sends it may reach that one by its id."""
    acme = administration.add_tenant(runtime, "acme")
    administration.add_user(runtime, "boss", tenant="acme", role=Role.ADMIN)
    made = exchange(runtime, "boss").access_token
    boss = find_actor(runtime, Claims(made.tenant_id, made.user_id, made.jti), HERE)
    rows = parse(io.StringIO("username,password\nnew,secret\n"), "acme")
    tenants.change_tenant(runtime, command_actor(), acme.id, name="renamed")
    for others in (0, 1):
        with pytest.raises(InvalidUserFile, match="tenant must be 'acme'"):
            user_imports.import_users(runtime, boss, rows, only=acme)
        there = {"default", "renamed"} | ({"acme"} if others else set())
        assert {tenant.name for tenant in tenants.list_tenants(runtime)} == there
        assert {user.username for user in users.list_users(runtime)} == {"boss", "demo", "other"}
        if not others:
            administration.add_tenant(runtime, "acme")

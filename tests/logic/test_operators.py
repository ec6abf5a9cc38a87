"""No change takes an installation's last active operator away, whoever makes it and however many at once."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapi.domain.actors import Actor
from chatapi.domain.principals import Claims, Role, Status
from chatapi.domain.user_csv import parse
from chatapi.errors import Forbidden, Taken
from chatapi.logic import tokens, users
from chatapi.logic.actors import command_actor, find_actor
from chatapi.logic.runtime import Runtime
from chatapi.storage import accounts, directory
from tests.support import administration
from tests.support.runtimes import at_once, make_runtime


@pytest.fixture
def runtime(database_url: str) -> Iterator[Runtime]:
    made = make_runtime(database_url)
    administration.add_user(made, "root", tenant="headquarters", role=Role.OPERATOR)
    yield made
    made.database.close()


def operators(runtime: Runtime) -> int:
    with runtime.database.read() as connection:
        return directory.count_operators(connection)


def set_role(runtime: Runtime, username: str, role: Role, actor: Actor | None = None) -> None:
    user = users.user_of_name(runtime, username)
    users.change_user(runtime, actor or command_actor(), user.tenant_id, user.id, role=role)


def load(runtime: Runtime, role: str) -> None:
    administration.import_users(runtime, parse(io.StringIO(f"username,tenant,role\nroot,headquarters,{role}\n")))


@pytest.mark.parametrize(
    "take_away",
    [
        lambda runtime: set_role(runtime, "root", Role.ADMIN),
        lambda runtime: administration.set_status(runtime, "root", Status.DISABLED),
        lambda runtime: administration.set_status(runtime, "root", Status.CLOSED),
        lambda runtime: administration.set_tenant_status(runtime, "headquarters", Status.DISABLED),
        lambda runtime: administration.set_tenant_status(runtime, "headquarters", Status.CLOSED),
        lambda runtime: load(runtime, "user"),
    ],
    ids=["role", "disable", "close", "disable the tenant", "close the tenant", "import"],
)
def test_the_last_active_operator_stays(runtime: Runtime, take_away: Callable[[Runtime], None]) -> None:
    administration.add_user(runtime, "asleep", role=Role.OPERATOR)
    administration.set_status(runtime, "asleep", Status.DISABLED)
    with pytest.raises(Taken, match="last active operator"):
        take_away(runtime)
    assert users.user_of_name(runtime, "root").is_active
    administration.set_status(runtime, "asleep", Status.ACTIVE)
    take_away(runtime)
    assert operators(runtime) == 1


def test_two_operators_who_demote_each_other_at_once_leave_one(runtime: Runtime) -> None:
    names = ("root", "other")
    administration.add_user(runtime, "other", role=Role.OPERATOR)
    results = at_once(2, lambda number: set_role(runtime, names[number], Role.USER))
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "Taken"], results
    assert operators(runtime) == 1


def test_stopping_a_tenant_waits_for_its_operator_who_logs_in_and_not_the_other_way_round(runtime: Runtime) -> None:
    """A login locks the tenant, then the user: whoever stops the tenant has locked neither first."""
    administration.add_user(runtime, "other", role=Role.OPERATOR)
    tenant_id = users.user_of_name(runtime, "root").tenant_id
    stop = (runtime, "headquarters", Status.DISABLED)
    with ThreadPoolExecutor(1) as pool:
        with runtime.database.write() as connection:
            accounts.hold_tenant(connection, tenant_id)
            stopping = pool.submit(administration.set_tenant_status, *stop)
            time.sleep(0.2)
            began = time.monotonic()
            assert accounts.find_user(connection, "root", lock=True)
            assert time.monotonic() - began < 0.5
        assert stopping.result().status is Status.DISABLED


def test_who_becomes_the_last_operator_while_being_stopped_is_not(runtime: Runtime) -> None:
    administration.add_user(runtime, "heir")
    heir, root = (users.user_of_name(runtime, name) for name in ("heir", "root"))
    with ThreadPoolExecutor(1) as pool:
        with runtime.database.write() as connection:
            accounts.find_user(connection, "heir", lock=True)
            stopping = pool.submit(administration.set_status, runtime, "heir", Status.DISABLED)
            time.sleep(0.2)
            for user, role in ((heir, Role.OPERATOR), (root, Role.USER)):
                key = {"tenant_id": user.tenant_id, "user_id": user.id}
                accounts.change_users(connection, [{**key, "role": role.value}])
        with pytest.raises(Taken):
            stopping.result()
    assert operators(runtime) == 1


def test_operators_that_are_not_active_are_locked_with_the_others(runtime: Runtime) -> None:
    """Else who enables one would lock it after the others, and who comes next before some of them."""
    administration.add_user(runtime, "asleep", role=Role.OPERATOR)
    administration.set_status(runtime, "asleep", Status.DISABLED)
    with ThreadPoolExecutor(1) as pool:
        with runtime.database.write() as connection:
            directory.lock_operators(connection)
            changing = pool.submit(administration.set_password, runtime, "asleep", "another")
            time.sleep(0.2)
            assert not changing.done()
        changing.result()


def test_an_installation_without_operators_needs_none(runtime: Runtime, fresh_database: Callable[[str], str]) -> None:
    without = make_runtime(fresh_database("sqlite" if runtime.database.is_sqlite else "postgresql"))
    administration.add_user(without, "demo")
    administration.set_status(without, "demo", Status.DISABLED)
    without.database.close()


def test_an_actor_whose_role_fell_meanwhile_changes_nothing(runtime: Runtime) -> None:
    """The role is read again in the transaction of the change."""

    administration.add_user(runtime, "boss", tenant="acme", role=Role.ADMIN)
    administration.add_user(runtime, "demo", tenant="acme")
    made = tokens.exchange(runtime, "boss", "secret", "198.51.100.1").access_token
    boss = find_actor(runtime, Claims(made.tenant_id, made.user_id, made.jti), "198.51.100.1")
    set_role(runtime, "boss", Role.USER)
    with pytest.raises(Forbidden):
        set_role(runtime, "demo", Role.ADMIN, boss)
    assert users.user_of_name(runtime, "demo").role is Role.USER

"""Users of a file: all of them or none; what is already so changes nothing. And tenants, one at a time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select, update

from chatapi.domain.effective_limits import LimitPlace
from chatapi.domain.limits import Metric
from chatapi.domain.principals import Role, Status
from chatapi.domain.user_csv import InvalidUserFile, parse
from chatapi.domain.windows import Window, Zone
from chatapi.errors import ChatAPIError, InvalidCredentials, InvalidInput
from chatapi.logic import limits, tenants, tokens, users
from chatapi.logic.actors import command_actor
from chatapi.logic.effective_limits import standings_of
from chatapi.logic.passwords import Hasher
from chatapi.logic.runtime import Runtime
from chatapi.logic.user_imports import ImportReport
from chatapi.storage.accounts import User
from chatapi.storage.tables import counters
from chatapi.storage.tables import tenants as tenants_table
from chatapi.storage.tables import users as users_table
from tests.support import administration
from tests.support.runtimes import CHEAP, HandClock, at_once, make_runtime

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HASHES = [Hasher(1, cost=CHEAP).hash(password) for password in ("secret", "another secret")]
ALL = "username,password,tenant,role,daily_requests,daily_tokens\n"


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOON)


@pytest.fixture
def runtime(database_url: str, clock: HandClock) -> Iterator[Runtime]:
    made = make_runtime(database_url, clock=clock, timezone="Europe/Berlin")
    yield made
    made.database.close()


def load(runtime: Runtime, text: str, *, dry_run: bool = False) -> ImportReport:
    return administration.import_users(runtime, parse(io.StringIO(text)), dry_run=dry_run)


def found(runtime: Runtime) -> dict[str, User]:
    return {user.username: user for user in users.list_users(runtime)}


def login(runtime: Runtime, username: str = "demo", password: str = "secret") -> tokens.Exchange:
    return tokens.exchange(runtime, username, password, "198.51.100.1")


def daily(runtime: Runtime, username: str) -> dict[str, tuple[int | None, str]]:
    found = standings_of(runtime, limits.LimitTarget.of(user=username))
    return {each.limit.metric: (each.limit.value, each.limit.source) for each in found}


def test_users_and_tenants_of_a_file_are_made(runtime: Runtime) -> None:
    text = ALL + "demo,secret,acme,admin,5,\nother,secret,acme,,unlimited,700\nthird,secret,,,,\n"
    assert load(runtime, text) == ImportReport(3, 0, 0, ("acme", "default"))
    demo = found(runtime)["demo"]
    assert (demo.tenant_name, demo.role, demo.status) == ("acme", Role.ADMIN, Status.ACTIVE)
    assert daily(runtime, "demo") == {"requests": (5, "own")}
    assert daily(runtime, "other") == {"requests": (None, "own"), "tokens": (700, "own")}
    assert daily(runtime, "third") == {"requests": (10, "default")}
    assert {tenant.zone for tenant in tenants.list_tenants(runtime)} == {Zone("Europe/Berlin")}
    assert login(runtime).created


def test_importing_a_file_again_changes_nothing_and_revokes_nothing(runtime: Runtime) -> None:
    text = ALL + "demo,secret,acme,admin,5,\nother,secret,acme,,unlimited,700\n"
    load(runtime, text)
    made, before = login(runtime), found(runtime)
    assert load(runtime, text) == ImportReport(0, 0, 2, ())
    assert found(runtime) == before
    assert login(runtime).access_token == made.access_token


def test_a_hash_is_kept_as_it_is_and_again_is_no_change_even_after_a_login_made_it_stronger(runtime: Runtime) -> None:
    text = f'username,password_hash\ndemo,"{HASHES[0]}"\n'
    load(runtime, text)
    assert found(runtime)["demo"].password_hash == HASHES[0]
    made = login(replace(runtime, hasher=Hasher(1)))
    stronger = found(runtime)["demo"].password_hash
    assert stronger.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert load(runtime, text) == ImportReport(0, 0, 1, ())
    assert login(runtime).access_token == made.access_token
    assert load(runtime, text.replace(HASHES[0], HASHES[1])) == ImportReport(0, 1, 0, ())
    assert found(runtime)["demo"].given_hash is None
    assert login(runtime, password="another secret").created


def test_a_changed_password_ends_that_users_access_token_and_no_other(runtime: Runtime) -> None:
    load(runtime, ALL + "demo,secret,,,,\nother,secret,,,,\n")
    old, others = login(runtime), login(runtime, "other")
    assert load(runtime, ALL + "demo,new secret,,,,\nother,secret,,,,\n") == ImportReport(0, 1, 1, ())
    with pytest.raises(InvalidCredentials):
        login(runtime)
    new = login(runtime, password="new secret")
    assert new.created
    assert new.access_token.jti != old.access_token.jti
    assert login(runtime, "other").access_token == others.access_token


def test_a_lower_role_or_another_limit_revokes_nothing_and_a_higher_role_does(runtime: Runtime) -> None:
    load(runtime, ALL + "demo,secret,,admin,5,6\n")
    made = login(runtime)
    assert load(runtime, ALL + "demo,secret,,user,,7\n") == ImportReport(0, 1, 0, ())
    assert found(runtime)["demo"].role is Role.USER
    assert daily(runtime, "demo") == {"requests": (10, "default"), "tokens": (7, "own")}
    assert login(runtime).access_token == made.access_token
    assert load(runtime, ALL + "demo,secret,,operator,,7\n") == ImportReport(0, 1, 0, ())
    assert login(runtime).created


def test_what_a_file_does_not_say_stays(runtime: Runtime) -> None:
    load(runtime, ALL + "demo,secret,,admin,5,6\n")
    administration.set_status(runtime, "demo", Status.DISABLED)
    assert load(runtime, "username,password\ndemo,secret\n") == ImportReport(0, 0, 1, ())
    assert load(runtime, "username,password\ndemo,new secret\n") == ImportReport(0, 1, 0, ())
    demo = found(runtime)["demo"]
    assert (demo.role, demo.status) == (Role.ADMIN, Status.DISABLED)
    assert daily(runtime, "demo") == {"requests": (5, "own"), "tokens": (6, "own")}


def test_a_file_with_a_name_of_another_tenant_imports_nothing(runtime: Runtime) -> None:
    load(runtime, ALL + "demo,secret,acme,,,\nclosed,secret,,,,\n")
    with runtime.database.write() as connection:
        connection.execute(update(users_table).where(users_table.c.username == "closed").values(status="closed"))
        connection.execute(
            insert(tenants_table).values(
                id="00000000-0000-7000-8000-000000000000", name="over", timezone="UTC", status="closed", created_at=NOON
            )
        )
    before = found(runtime)
    with pytest.raises(InvalidUserFile) as caught:
        load(runtime, ALL + "new,secret,,,,\ndemo,secret,,,,\nclosed,secret,,,,\nlate,secret,over,,,\n")
    assert str(caught.value) == (
        "line 3: username 'demo' belongs to another tenant\nline 4: user 'closed' is closed\n"
        "line 5: tenant 'over' is closed"
    )
    assert found(runtime) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(runtime: Runtime) -> None:
    load(runtime, ALL + "demo,secret,,,,\nsame,secret,,,,\n")
    before = found(runtime)
    report = load(runtime, ALL + "demo,new,,,,\nsame,secret,,,,\nfresh,secret,acme,,,\n", dry_run=True)
    assert report == ImportReport(1, 1, 1, ("acme",))
    assert found(runtime) == before


def test_progress_is_told_for_each_password(runtime: Runtime) -> None:
    told: list[tuple[int, int]] = []
    rows = parse(io.StringIO("username,password\n" + "".join(f"user{number},secret\n" for number in range(5))))
    administration.import_users(runtime, rows, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 5) for done in range(1, 6)]


class Meddling(Hasher):
    """A hasher in whose time somebody else changes things."""

    meddle: list[object]

    def hash(self, password: str) -> str:
        if self.meddle:
            self.meddle.pop()()  # type: ignore[operator]
        return super().hash(password)


def meddled(runtime: Runtime, *meddle: object) -> Runtime:
    hasher = Meddling(1, cost=CHEAP)
    hasher.meddle = list(meddle)
    return replace(runtime, hasher=hasher)


def test_what_changed_while_passwords_were_hashed_is_looked_at_again(runtime: Runtime) -> None:
    load(runtime, ALL + "demo,secret,,,,\n")
    other = meddled(
        runtime,
        lambda: administration.set_password(runtime, "demo", "new secret"),
        lambda: load(runtime, ALL + "fresh,fresh secret,acme,,,\n"),
    )
    assert load(other, ALL + "demo,new secret,,,,\nfresh,fresh secret,acme,,,\n") == ImportReport(0, 0, 2, ())
    with pytest.raises(InvalidUserFile):
        load(meddled(runtime, lambda: administration.add_user(runtime, "taken", "x")), ALL + "taken,secret,acme,,,\n")
    assert "demo" in found(runtime)


def test_two_imports_at_once_make_each_user_once(runtime: Runtime) -> None:
    text = ALL + "".join(f"user{number},secret,acme{number % 3},,5,\n" for number in range(50))
    results = at_once(4, lambda _: load(runtime, text))
    assert all(isinstance(result, ImportReport) for result in results), results
    assert sum(result.created for result in results if isinstance(result, ImportReport)) == 50
    assert len(found(runtime)) == 50


def test_an_import_of_many_users_is_one_transaction(runtime: Runtime) -> None:
    rows = [f'user{number},acme{number % 7},5,unlimited,"{HASHES[0]}"\n' for number in range(3000)]
    text = "username,tenant,daily_requests,daily_tokens,password_hash\n" + "".join(rows)
    assert load(runtime, text).created == 3000
    assert load(runtime, text) == ImportReport(0, 0, 3000, ())


def test_a_user_is_added_once(runtime: Runtime) -> None:
    administration.add_user(runtime, "demo", "secret", tenant="acme", role=Role.ADMIN)
    for arguments in (("demo", "secret"), ("", "secret"), ("bad\n", "secret"), ("fresh", "")):
        with pytest.raises(InvalidInput):
            administration.add_user(runtime, *arguments)
    assert list(found(runtime)) == ["demo"]
    assert [tenant.name for tenant in tenants.list_tenants(runtime)] == ["acme"]
    assert [user.username for user in users.list_users(runtime, "acme")] == ["demo"]


def test_a_tenant_is_added_once(runtime: Runtime) -> None:
    administration.add_tenant(runtime, "acme", timezone="Asia/Tokyo")
    for name, timezone in (("acme", None), ("", None), ("other", "Mars/Olympus"), ("other", "../UTC")):
        with pytest.raises(InvalidInput):
            administration.add_tenant(runtime, name, timezone=timezone)
    assert [(tenant.name, tenant.zone) for tenant in tenants.list_tenants(runtime)] == [("acme", Zone("Asia/Tokyo"))]


@pytest.mark.parametrize(
    "command",
    [
        lambda runtime: administration.set_password(runtime, "nobody", "x"),
        lambda runtime: administration.set_status(runtime, "nobody", Status.DISABLED),
        lambda runtime: administration.set_status(runtime, "nobody", Status.ACTIVE),
        lambda runtime: users.list_users(runtime, "nowhere"),
        lambda runtime: administration.set_tenant_status(runtime, "nowhere", Status.DISABLED),
        lambda runtime: administration.set_tenant_status(runtime, "nowhere", Status.ACTIVE),
        lambda runtime: administration.set_timezone(runtime, "nowhere", "UTC"),
        lambda runtime: standings_of(runtime, limits.LimitTarget.of(user="nobody")),
        lambda runtime: standings_of(runtime, limits.LimitTarget.of(tenant="nowhere")),
    ],
)
def test_who_is_not_there_is_named(runtime: Runtime, command: object) -> None:
    with pytest.raises(ChatAPIError, match=r"There is no (user 'nobody'|tenant 'nowhere')\."):
        command(runtime)  # type: ignore[operator]


def count_something(runtime: Runtime, tenant_id: str) -> None:
    values = {
        "tenant_id": tenant_id,
        "scope": "tenant",
        "scope_id": tenant_id,
        "window": "day",
        "window_key": "2026-11-20",
    }
    with runtime.database.write() as connection:
        connection.execute(insert(counters).values(values))


def test_a_time_zone_changes_when_the_month_has_ended_in_both(runtime: Runtime, clock: HandClock) -> None:
    administration.add_tenant(runtime, "acme")
    assert administration.set_timezone(runtime, "acme", "Asia/Tokyo") is None
    (acme,) = tenants.list_tenants(runtime)
    assert acme.zone == Zone("Asia/Tokyo")
    count_something(runtime, acme.id)
    begins = datetime(2026, 12, 1, 5, tzinfo=UTC)
    assert administration.set_timezone(runtime, "acme", "America/New_York") == begins
    assert tenants.list_tenants(runtime)[0].zone == Zone("Asia/Tokyo", "America/New_York", begins)
    assert administration.set_timezone(runtime, "acme", "Asia/Tokyo") is None
    assert tenants.list_tenants(runtime)[0].zone == Zone("Asia/Tokyo")
    administration.set_timezone(runtime, "acme", "America/New_York")
    clock.now = begins
    assert administration.set_timezone(runtime, "acme", "Asia/Tokyo") == datetime(2027, 1, 1, 5, tzinfo=UTC)
    assert tenants.list_tenants(runtime)[0].zone.name == "America/New_York"


def test_the_statements_name_the_tenant(runtime: Runtime) -> None:
    """A limit of one user does not show at another one of another tenant."""
    administration.add_user(runtime, "demo", "secret", tenant="one")
    administration.add_user(runtime, "other", "secret", tenant="two")
    place = LimitPlace(Metric.REQUESTS, Window.DAY)
    for target in (limits.LimitTarget.of(each_user_of="one"), limits.LimitTarget.of(tenant="one")):
        limits.set_limit(runtime, command_actor(), target, place, 1)
    assert daily(runtime, "other") == {"requests": (10, "default")}
    made = login(runtime, "other")
    administration.set_tenant_status(runtime, "one", Status.DISABLED)
    assert login(runtime, "other").access_token == made.access_token
    with runtime.database.read() as connection:
        rows = connection.execute(select(tenants_table.c.name, tenants_table.c.status)).all()
    assert {row.name: row.status for row in rows} == {"one": "disabled", "two": "active"}

"""A password for an access token: one live access token a user, and guessing that is bounded without a lock-out."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from unittest.mock import Mock

import pytest
from sqlalchemy import func, select, update

from chatapi.domain.password_hashes import HashCost
from chatapi.domain.principals import Status
from chatapi.errors import DatabaseUnavailable, InvalidCredentials, Overloaded, TooManyLoginFailures
from chatapi.logic import logins, tokens
from chatapi.logic.passwords import Hasher
from chatapi.logic.runtime import Runtime
from chatapi.storage.tables import access_tokens, login_failures
from chatapi.storage.tables import users as users_table
from tests.support import administration
from tests.support.logins import HERE, NOON, THERE, exchange, fail, pending
from tests.support.runtimes import HandClock, at_once


def test_the_first_login_creates_an_access_token_in_whole_seconds(runtime: Runtime) -> None:
    made = exchange(runtime)
    assert (made.created, made.username) == (True, "demo")
    assert made.access_token.issued_at == NOON.replace(microsecond=0)
    assert made.access_token.expires_at == NOON.replace(microsecond=0) + timedelta(days=30)


def test_the_second_login_gives_the_same_access_token_from_any_address(runtime: Runtime, clock: HandClock) -> None:
    made = exchange(runtime)
    clock.advance(3600)
    again = exchange(runtime, address=THERE)
    assert not again.created
    assert again.access_token == made.access_token


def test_an_expired_access_token_is_replaced(runtime: Runtime, clock: HandClock) -> None:
    made = exchange(runtime)
    clock.now = made.access_token.expires_at - timedelta(microseconds=1)
    assert exchange(runtime).access_token == made.access_token
    clock.now = made.access_token.expires_at
    new = exchange(runtime)
    assert new.created
    assert new.access_token.jti != made.access_token.jti


@pytest.mark.parametrize("end", ["password", "disable", "tenant"])
def test_a_revoked_access_token_is_replaced(runtime: Runtime, end: str) -> None:
    made = exchange(runtime)
    if end == "password":
        administration.set_password(runtime, "demo", "secret")
    elif end == "disable":
        administration.set_status(runtime, "demo", Status.DISABLED)
        administration.set_status(runtime, "demo", Status.ACTIVE)
    else:
        administration.set_tenant_status(runtime, "default", Status.DISABLED)
        administration.set_tenant_status(runtime, "default", Status.ACTIVE)
    new = exchange(runtime)
    assert new.created
    assert new.access_token.jti != made.access_token.jti


def test_of_logins_at_once_exactly_one_creates(runtime: Runtime) -> None:
    results = at_once(16, lambda _: exchange(runtime))
    assert all(isinstance(result, tokens.Exchange) for result in results), results
    found = [result for result in results if isinstance(result, tokens.Exchange)]
    assert sum(result.created for result in found) == 1
    assert len({result.access_token for result in found}) == 1
    with runtime.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(access_tokens)).scalar_one() == 1
    assert pending(runtime) == 0


def test_unknown_users_wrong_passwords_and_those_who_are_not_active_are_refused_alike(runtime: Runtime) -> None:
    administration.add_user(runtime, "gone", "secret", tenant="gone")
    administration.set_status(runtime, "other", Status.DISABLED)
    administration.set_tenant_status(runtime, "gone", Status.DISABLED)
    said = set()
    for username, password in (("demo", "wrong"), ("nobody", "secret"), ("other", "secret"), ("gone", "secret")):
        with pytest.raises(InvalidCredentials) as caught:
            tokens.exchange(runtime, username, password, HERE)
        said.add(str(caught.value))
    assert said == {"Invalid username or password"}


@pytest.mark.parametrize("username", ["", "\0", "demo\0", "\ud800", "x" * 100_000, "DEMO", "demo "])
def test_odd_names_are_unknown_users(runtime: Runtime, username: str) -> None:
    fail(runtime, username)


def test_failures_of_a_user_from_an_address_are_bounded_and_the_wait_is_said(
    runtime: Runtime, clock: HandClock
) -> None:
    fail(runtime, times=3)
    with pytest.raises(TooManyLoginFailures) as caught:
        exchange(runtime)
    left = 300 - NOON.timestamp() % 300
    assert 0 <= caught.value.retry_after_s - left < 1
    clock.advance(caught.value.retry_after_s)
    assert exchange(runtime).created


def test_nobody_far_away_can_lock_a_user_out(runtime: Runtime) -> None:
    fail(runtime, address=THERE, times=3)
    with pytest.raises(TooManyLoginFailures):
        exchange(runtime, address=THERE)
    assert exchange(runtime).created
    assert exchange(runtime, "other", THERE).created


def test_failures_of_an_address_are_bounded_whoever_is_named(runtime: Runtime) -> None:
    for number in range(6):
        fail(runtime, f"guess{number}")
    with pytest.raises(TooManyLoginFailures):
        exchange(runtime)
    assert exchange(runtime, address=THERE).created


def test_who_has_logged_in_from_an_address_before_is_not_locked_out_by_others_there(runtime: Runtime) -> None:
    exchange(runtime)
    for number in range(6):
        fail(runtime, f"guess{number}")
    assert not exchange(runtime).created
    with pytest.raises(TooManyLoginFailures):
        exchange(runtime, "other")


def test_success_counts_as_no_failure(runtime: Runtime) -> None:
    for _ in range(10):
        exchange(runtime)
    fail(runtime, times=2)
    for _ in range(3):
        exchange(runtime)
    fail(runtime)
    with pytest.raises(TooManyLoginFailures):
        exchange(runtime)


def test_what_is_refused_for_too_many_failures_is_not_counted_itself(runtime: Runtime) -> None:
    fail(runtime, times=3)
    for _ in range(10):
        with pytest.raises(TooManyLoginFailures):
            exchange(runtime)
    assert exchange(runtime, "other").created


def test_of_guesses_at_once_no_more_are_tried_than_failures_are_allowed(runtime: Runtime) -> None:
    tried = []

    class Watched(Hasher):
        def verify(self, password_hash: str, password: str) -> bool:
            tried.append(password)
            return super().verify(password_hash, password)

    watched = replace(runtime, hasher=Watched(8, cost=HashCost(64, 1, 1)))
    results = at_once(24, lambda number: tokens.exchange(watched, "demo", f"guess {number}", HERE))
    kinds = [type(result) for result in results]
    assert len(tried) == kinds.count(InvalidCredentials) == 3
    assert kinds.count(TooManyLoginFailures) == 21
    assert pending(runtime) == 0


def test_more_right_logins_at_once_than_failures_are_allowed_all_succeed(runtime: Runtime) -> None:
    for number in range(20):
        administration.add_user(runtime, f"user{number}", "secret")
    results = at_once(20, lambda number: exchange(runtime, f"user{number}"))
    assert all(isinstance(result, tokens.Exchange) and result.created for result in results), results


def test_the_subnet_is_the_address_in_ipv6(runtime: Runtime) -> None:
    fail(runtime, address="2001:db8::1", times=2)
    fail(runtime, address="2001:db8::2", times=1)
    with pytest.raises(TooManyLoginFailures):
        exchange(runtime, address="2001:db8::3")
    assert exchange(runtime, address="2001:db8:0:1::3").created


def test_neither_names_nor_passwords_are_kept_among_the_failures(runtime: Runtime) -> None:
    fail(runtime, "my password by mistake")
    with runtime.database.read() as connection:
        rows = connection.execute(select(login_failures)).all()
    assert len(rows) == 2
    assert "mistake" not in str(rows)


def test_counts_of_old_windows_go_away(runtime: Runtime, clock: HandClock) -> None:
    for number in range(3):
        fail(runtime, f"guess{number}")
    clock.advance(3600)
    fail(runtime)
    with runtime.database.read() as connection:
        assert len(connection.execute(select(login_failures)).all()) == 2


def test_a_weak_hash_is_replaced_at_login_and_nothing_else_changes(runtime: Runtime) -> None:
    made = exchange(runtime)
    stronger = replace(runtime, hasher=Hasher(4, cost=HashCost(64, 2, 1)))

    def kept() -> tuple[str, str | None]:
        with runtime.database.read() as connection:
            columns = (users_table.c.password_hash, users_table.c.given_hash)
            row = connection.execute(select(*columns).where(users_table.c.username == "demo")).one()
        return row.password_hash, row.given_hash

    before = kept()
    results = at_once(4, lambda _: tokens.exchange(stronger, "demo", "secret", HERE))
    assert [result.access_token for result in results if isinstance(result, tokens.Exchange)] == [made.access_token] * 4
    assert kept()[0].startswith("$argon2id$v=19$m=64,t=2,p=1$")
    assert kept()[1] == before[0]
    assert pending(runtime) == 0


def test_a_password_that_changes_while_it_is_verified_gives_nothing(runtime: Runtime) -> None:
    class Slow(Hasher):
        def verify(self, password_hash: str, password: str) -> bool:
            fits = super().verify(password_hash, password)
            if fits:
                administration.set_password(runtime, "demo", "another secret")
            return fits

    with pytest.raises(InvalidCredentials):
        tokens.exchange(replace(runtime, hasher=Slow(1, cost=HashCost(16, 1, 1))), "demo", "secret", HERE)
    assert pending(runtime) == 0


def test_a_user_that_is_disabled_while_its_password_is_verified_gets_nothing(runtime: Runtime) -> None:
    class Slow(Hasher):
        def verify(self, password_hash: str, password: str) -> bool:
            administration.set_status(runtime, "demo", Status.DISABLED)
            return super().verify(password_hash, password)

    with pytest.raises(InvalidCredentials):
        tokens.exchange(replace(runtime, hasher=Slow(1, cost=HashCost(16, 1, 1))), "demo", "secret", HERE)
    with runtime.database.read() as connection:
        assert connection.execute(select(access_tokens)).all() == []


def test_an_overload_is_no_failure(runtime: Runtime) -> None:
    class Full(Hasher):
        def verify(self, password_hash: str, password: str) -> bool:
            raise Overloaded("no memory")

    full = replace(runtime, hasher=Full(1))
    for _ in range(5):
        with pytest.raises(Overloaded):
            exchange(full)
    assert pending(runtime) == 0
    assert exchange(runtime).created


def test_an_error_of_ours_is_no_failure(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(tokens, "AccessToken", Mock(side_effect=OverflowError))
        for _ in range(5):
            with pytest.raises(OverflowError):
                exchange(runtime)
    assert pending(runtime) == 0
    assert exchange(runtime).created


def test_logins_that_a_crash_left_pending_count_until_their_window_ends(
    runtime: Runtime, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(runtime)
    with runtime.database.write() as connection:
        connection.execute(update(login_failures).values(pending=2))
    monkeypatch.setattr(logins, "LONGEST_WAIT_S", 0.2)
    with pytest.raises(TooManyLoginFailures) as caught:
        exchange(runtime)
    clock.advance(caught.value.retry_after_s)
    assert exchange(runtime).created


def test_without_a_database_there_is_no_answer(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime.database, "read", Mock(side_effect=DatabaseUnavailable))
    with pytest.raises(DatabaseUnavailable):
        exchange(runtime)

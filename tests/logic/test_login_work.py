"""What logins cost: a class at once, repeats that need no hash, and refusals that all do the same work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from chatapi.domain.password_hashes import HashCost, hash_cost, random_hash
from chatapi.domain.principals import Status
from chatapi.errors import InvalidCredentials
from chatapi.logic import tokens
from chatapi.logic.passwords import Hasher
from chatapi.logic.runtime import Runtime
from chatapi.storage.tables import users as users_table
from tests.support import administration
from tests.support.logins import HERE, THERE, exchange, fail
from tests.support.runtimes import at_once


class Counted(Hasher):
    """A hasher that counts what it verifies."""

    verifications = 0

    def verify(self, password_hash: str, password: str) -> bool:
        self.verifications += 1
        return super().verify(password_hash, password)


def test_a_class_behind_one_address_logs_in_at_once(runtime: Runtime) -> None:
    for number in range(30):
        administration.add_user(runtime, f"pupil{number}", "secret")
    one_at_a_time = replace(runtime, hasher=Hasher(1, cost=HashCost(16, 1, 1)))
    results = at_once(30, lambda number: exchange(one_at_a_time, f"pupil{number}"))
    assert all(isinstance(result, tokens.Exchange) and result.created for result in results), results


def test_logging_in_again_and_again_needs_no_more_hashes_and_no_turn(runtime: Runtime) -> None:
    counted = Counted(1, cost=HashCost(16, 1, 1), most_waiting=0)
    watched = replace(runtime, hasher=counted)
    made = exchange(watched)
    with counted.turns.turn(THERE, "somebody"):
        results = at_once(8, lambda _: exchange(watched))
    assert {result.access_token for result in results if isinstance(result, tokens.Exchange)} == {made.access_token}
    assert counted.verifications == 1


def test_what_was_verified_helps_nobody_whose_password_changed_or_who_is_not_served_any_more(runtime: Runtime) -> None:
    exchange(runtime)
    administration.set_password(runtime, "demo", "another secret")
    fail_with = [("demo", "secret")]
    exchange(runtime, "other")
    administration.set_status(runtime, "other", Status.DISABLED)
    fail_with.append(("other", "secret"))
    for username, password in fail_with:
        with pytest.raises(InvalidCredentials):
            tokens.exchange(runtime, username, password, HERE)
    assert tokens.exchange(runtime, "demo", "another secret", HERE).created


def test_the_decoys_have_the_parameters_of_all_hashes_in_the_database(runtime: Runtime) -> None:
    fail(runtime, "nobody")
    dear, damaged = random_hash(HashCost(64, 3, 4)), "no hash"
    for name, password_hash in (("dear", dear), ("damaged", damaged)):
        administration.add_user(runtime, name, "secret")
        with runtime.database.write() as connection:
            change = update(users_table).where(users_table.c.username == name).values(password_hash=password_hash)
            connection.execute(change)
    fresh = replace(runtime, hasher=Hasher(1, cost=HashCost(32, 1, 1)))
    fail(fresh, "nobody")
    assert kinds(fresh.hasher) == {HashCost(32, 1, 1), HashCost(16, 1, 1), HashCost(64, 3, 4)}
    assert kinds(runtime.hasher) == {HashCost(16, 1, 1)}  # it has looked a moment ago
    fail(runtime, "dear")
    assert kinds(runtime.hasher) == {HashCost(16, 1, 1), HashCost(64, 3, 4)}
    fail(runtime, "damaged")


def kinds(hasher: Hasher) -> set[HashCost | None]:
    return {hash_cost(decoy) for decoy in hasher.decoys.hashes(but=None)}


def test_the_right_password_of_a_user_that_is_not_served_costs_what_a_wrong_one_does(runtime: Runtime) -> None:
    refused: list[str | None] = []

    class Watched(Hasher):
        def refuse(self, password_hash: str | None, password: str) -> None:
            refused.append(password)
            super().refuse(password_hash, password)

    administration.set_status(runtime, "other", Status.DISABLED)
    watched = replace(runtime, hasher=Watched(1, cost=HashCost(16, 1, 1)))
    for username, password in (("other", "secret"), ("other", "wrong"), ("nobody", "guess")):
        with pytest.raises(InvalidCredentials):
            tokens.exchange(watched, username, password, HERE)
    assert refused == ["secret", "wrong", "guess"]

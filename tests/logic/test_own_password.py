"""Another password of one's own ends every access token, also one that is made at the same moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from chatapi.domain.access_tokens import NewAccessToken
from chatapi.domain.actors import Actor
from chatapi.domain.principals import Claims, Role
from chatapi.errors import InvalidRequest, Taken, UnknownAccessToken
from chatapi.logic import me_access_tokens
from chatapi.logic.own_password import change_password
from chatapi.logic.runtime import Runtime
from chatapi.logic.tokens import exchange
from chatapi.storage import access_tokens, directory
from tests.support.administration import add_user
from tests.support.logins import HERE
from tests.support.runtimes import at_once, make_runtime

WAITING_S = 0.3  # less than the longest wait for a lock


@pytest.fixture
def runtime(database_url: str) -> Iterator[Runtime]:
    made = make_runtime(database_url)
    add_user(made, "ada", "password 0")
    yield made
    made.database.close()


def log_in(runtime: Runtime, password: str) -> Actor:
    given = exchange(runtime, "ada", password, HERE).access_token
    return Actor("ada", Role.USER, Claims(given.tenant_id, given.user_id, given.jti), HERE)


def test_an_access_token_that_is_being_made_does_not_outlive_the_password(runtime: Runtime) -> None:
    """It was asked for with one that was in force, and waits for the user's row, which another password locks."""
    actor = log_in(runtime, "password 0")
    assert actor.claims is not None
    whose = (actor.claims.tenant_id, actor.claims.user_id)
    with ThreadPoolExecutor(1) as pool:
        with runtime.database.write() as connection:
            directory.find_user(connection, *whose, lock=True)
            making = pool.submit(me_access_tokens.add_own, runtime, actor, NewAccessToken("late"))
            time.sleep(WAITING_S)
            assert not making.done()
            access_tokens.revoke_of_users(connection, [whose], runtime.database.now(connection))
        with pytest.raises(UnknownAccessToken):
            making.result()
    with runtime.database.read() as connection:
        assert access_tokens.live_names(connection, *whose, runtime.database.now(connection)) == set()


def test_of_two_changes_of_a_password_at_once_one_is_made(runtime: Runtime) -> None:
    actor = log_in(runtime, "password 0")
    results = at_once(2, lambda which: change_password(runtime, actor, "password 0", f"password of {which}"))
    (winner,) = (which for which, result in enumerate(results) if result is None)
    assert isinstance(results[1 - winner], Taken | UnknownAccessToken | InvalidRequest)
    assert log_in(runtime, f"password of {winner}").claims is not None

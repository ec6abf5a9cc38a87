"""Invitations end by themselves, and until one is used a login of its user is like any with a wrong password."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatapi.domain.password_hashes import hash_cost
from chatapi.errors import InvalidCredentials, NotFound
from chatapi.logic import invitations, tokens, users
from chatapi.logic.actors import command_actor
from chatapi.logic.runtime import Runtime
from tests.logic.test_login_work import Counted
from tests.support.logins import HERE
from tests.support.runtimes import CHEAP, HandClock

DAY_S = 86400


def invite(runtime: Runtime, username: str = "guest") -> str:
    made = users.add_user(runtime, command_actor(), username, None)
    assert made is not None
    return made.text


def test_an_invitation_ends_after_its_days(runtime: Runtime, clock: HandClock) -> None:
    text, later = invite(runtime), invite(runtime, "later")
    clock.advance(7 * DAY_S - 2)
    invitations.accept(runtime, later, "secret", HERE)
    clock.advance(2)
    with pytest.raises(NotFound):
        invitations.accept(runtime, text, "secret", HERE)
    guest = users.user_of_name(runtime, "guest")
    assert users.user_of_id(runtime, guest.tenant_id, guest.id).invited_until is None


def test_nothing_is_hashed_for_a_text_of_no_invitation(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(runtime.hasher, "hash", hashed.append)
    for text in ("x", "A" * 86, invite(runtime)[:-1] + "?"):
        with pytest.raises(NotFound):
            invitations.accept(runtime, text, "secret", HERE)
    assert hashed == []


def test_a_login_of_an_invited_user_does_the_work_of_any_other(runtime: Runtime) -> None:
    invite(runtime)
    hashes = {users.user_of_name(runtime, name).password_hash for name in ("guest", "demo")}
    assert {hash_cost(each) for each in hashes} == {CHEAP}
    counted = Counted(1, cost=CHEAP)
    watched = replace(runtime, hasher=counted)
    for name in ("guest", "demo"):
        with pytest.raises(InvalidCredentials):
            tokens.exchange(watched, name, "wrong", HERE)
    assert counted.verifications == 2

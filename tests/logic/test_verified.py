"""What was verified a moment ago: for how long, how much, and of which hash."""

from __future__ import annotations

import pytest

from chatapi.logic import verified
from chatapi.logic.verified import KEPT_S, VerifiedPasswords


def test_a_password_is_remembered_for_a_minute_with_its_user_and_its_hash() -> None:
    now = 0.0
    known = VerifiedPasswords(lambda: now)
    assert not known.has("user", "hash", "secret")
    known.add("user", "hash", "secret \ud800")
    known.add("user", "hash", "secret")
    assert known.has("user", "hash", "secret")
    for other in (("another", "hash", "secret"), ("user", "another", "secret"), ("user", "hash", "another")):
        assert not known.has(*other)
    now = KEPT_S - 0.01
    assert known.has("user", "hash", "secret")
    now = KEPT_S
    assert not known.has("user", "hash", "secret")


def test_what_is_remembered_is_bounded_and_says_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verified, "MOST_KEPT", 3)
    known = VerifiedPasswords()
    for number in range(5):
        known.add("user", "hash", f"secret {number}")
    assert [known.has("user", "hash", f"secret {number}") for number in range(5)] == [False, False, True, True, True]
    assert b"secret" not in b"".join(known._ends)

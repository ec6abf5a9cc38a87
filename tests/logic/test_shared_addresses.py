"""What people at one address can do to each other, as docs/security.md says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chatapi.errors import InvalidCredentials, TooManyLoginFailures
from chatapi.logic import tokens
from chatapi.logic.runtime import Runtime
from tests.support import administration
from tests.support.runtimes import HandClock, make_runtime

SHARED, HOME = "198.51.100.7", "203.0.113.7"


def fail(runtime: Runtime, name: str, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            tokens.exchange(runtime, name, "wrong", SHARED)


def test_a_name_can_be_stopped_at_a_shared_address_but_only_by_failures_for_that_name(sqlite_url: str) -> None:
    clock = HandClock(datetime(2026, 11, 20, 12, tzinfo=UTC))
    runtime = make_runtime(sqlite_url, clock=clock, login_pair_failures=3, login_address_failures=8)
    for name in ("ana", "bo"):
        administration.add_user(runtime, name, "secret")
        tokens.exchange(runtime, name, "secret", SHARED)
    fail(runtime, "ana", times=3)
    with pytest.raises(TooManyLoginFailures):
        tokens.exchange(runtime, "ana", "secret", SHARED)
    tokens.exchange(runtime, "ana", "secret", HOME)
    for number in range(5):
        fail(runtime, f"guess {number}")
    with pytest.raises(TooManyLoginFailures):
        tokens.exchange(runtime, "one too many", "wrong", SHARED)
    tokens.exchange(runtime, "bo", "secret", SHARED)
    runtime.database.close()

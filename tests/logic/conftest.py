"""One process with two users, and a clock to move; modules that need others have fixtures of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatapi.logic.runtime import Runtime
from tests.support import administration
from tests.support.logins import NOON
from tests.support.runtimes import HandClock, make_runtime


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOON)


@pytest.fixture
def runtime(database_url: str, clock: HandClock) -> Iterator[Runtime]:
    made = make_runtime(database_url, clock=clock, login_pair_failures=3, login_address_failures=6, login_window_s=300)
    for name in ("demo", "other"):
        administration.add_user(made, name, "secret")
    yield made
    made.database.close()

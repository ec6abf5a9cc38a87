"""Prepared users for the tests: one CSV, imported once per gateway, from which each test takes users of its own."""

from __future__ import annotations

import csv
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from argon2 import PasswordHasher

PASSWORD = "a password of the tests: ünïcödé"
# The cheapest argon2id there is: what a login costs is not what these tests are about.
CHEAP_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)

# How many users of which kind the gateway of one test gets, and their columns `daily_requests` and `daily_tokens`.
KINDS: dict[str, tuple[int, str, str]] = {
    "plain": (12, "", ""),  # the default quota: CHATAPI_DAILY_REQUESTS
    "one": (2, "1", ""),
    "none": (2, "0", ""),
    "many": (50, "100000", ""),
    "tokens": (1, "100000", "5000"),
    "few_tokens": (1, "100000", "20"),
}
COLUMNS = ["username", "password", "tenant", "role", "daily_requests", "daily_tokens", "password_hash"]


@dataclass(frozen=True)
class User:
    """One user, alone in its tenant."""

    name: str
    tenant: str
    password: str = PASSWORD


class UserPool:
    """Users that no other test has touched, by kind (see `KINDS`); `times` as many of each for more tests."""

    def __init__(self, times: int = 1) -> None:
        self._times = times
        self._users = {kind: iter(_users_of(kind, times * count)) for kind, (count, _, _) in KINDS.items()}
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def take(self, kind: str = "plain") -> User:
        """A user that nobody had before."""
        with self._lock:
            user = next(self._users[kind], None)
        assert user is not None, f"the pool has no {kind!r} users left: raise their number in tests/support/users.py"
        return user

    def write_csv(self, path: Path) -> None:
        """Write the file that `chatapi users import` takes, with every user of every kind."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for kind, (count, daily_requests, daily_tokens) in KINDS.items():
                for user in _users_of(kind, self._times * count):
                    writer.writerow([user.name, "", user.tenant, "user", daily_requests, daily_tokens, CHEAP_HASH])


def _users_of(kind: str, count: int) -> Iterator[User]:
    return (User(f"{kind}-{number}", f"tenant-{kind}-{number}") for number in range(count))

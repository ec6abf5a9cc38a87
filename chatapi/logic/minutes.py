"""Counters of minutes that are long over: nobody asks for them again, and every minute may leave one for each user."""

from __future__ import annotations

import time

from chatapi.domain.counters import CounterKey
from chatapi.errors import DatabaseUnavailable
from chatapi.logic.runtime import Runtime
from chatapi.storage.seeding import forget_minutes

FORGET_EVERY_S = 3600.0


class MinuteForgetter:
    """Forgets them in a worker's rounds: a part of all counters in each round, from the first to the last, and then
    not again before an hour has passed since it began."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._next_at = self._began_at = time.monotonic()
        self._after: CounterKey | None = None

    def tick(self) -> int:
        """The next part, if it is time. Returns how many counters are gone; when the database is busy it is none."""
        if time.monotonic() < self._next_at:
            return 0
        if self._after is None:
            self._began_at = time.monotonic()
        try:
            forgotten, self._after = forget_minutes(self._runtime.database, self._after)
        except DatabaseUnavailable:
            return 0
        if self._after is None:
            self._next_at = self._began_at + FORGET_EVERY_S
        return forgotten

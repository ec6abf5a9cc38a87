"""Repeats that wait for the request which they repeat: in each process a bounded number of each user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Repeats:
    """Those that wait in one process.

    Args:
        most: of one user.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def place(self, user_id: str) -> Iterator[bool]:
        """A place to wait in; false says that there is none."""
        self._waiting[user_id] += 1
        try:
            yield self._waiting[user_id] <= self._most
        finally:
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id]

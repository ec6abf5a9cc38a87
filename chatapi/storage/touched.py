"""Touched: whose counters the ledger's writer has moved, for those who look at them later.

Only of tenants that are watched, which is one look at an empty set for all others.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from chatapi.domain.calls import Item, Settlement
from chatapi.domain.principals import Claims

MOST = 10_000  # principals between two looks; more, and their tenants are looked at as a whole


class Touched:
    """The principals whose calls have ended since the last look. Safe for any number of threads or greenlets."""

    def __init__(self) -> None:
        self.watched: frozenset[str] = frozenset()
        """The ids of the tenants that are watched."""
        self._changing = threading.Lock()
        self._principals: set[Claims] = set()
        self._crowded: set[str] = set()

    def note(self, items: Iterable[Item]) -> None:
        """Remember whose calls have ended. Only an end changes what is used."""
        if not self.watched:
            return
        with self._changing:
            for item in items:
                if isinstance(item, Settlement) and (claims := item.call.claims).tenant_id in self.watched:
                    if len(self._principals) < MOST:
                        self._principals.add(claims)
                    else:
                        self._crowded.add(claims.tenant_id)

    def take(self) -> tuple[set[Claims], set[str]]:
        """Those since the last look; and the ids of tenants of which there were too many to remember each."""
        with self._changing:
            principals, self._principals = self._principals, set()
            crowded, self._crowded = self._crowded, set()
        return principals, crowded

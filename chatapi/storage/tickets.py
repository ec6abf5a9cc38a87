"""Tickets: items on their way through the ledger's writer."""

from __future__ import annotations

import threading
import time

from chatapi.domain.calls import Abandonment, Admission, Decision, Item, Settlement
from chatapi.errors import DatabaseUnavailable

PATIENCE_S = 1.0  # after which a failed admission is not tried again: a client had better hear it soon
OWING_S = 5.0  # after which a failed settlement is owed, tried three times or not: its reply had better go on


class Ticket:
    """An item on its way through the writer."""

    __slots__ = ("_done", "_error", "_outcome", "give_up_at", "item", "tries")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.tries = 0
        self.give_up_at = time.monotonic() + (PATIENCE_S if isinstance(item, Admission) else OWING_S)
        self._outcome: Decision | bool = False
        self._error: Exception | None = None
        self._done = threading.Lock()
        self._done.acquire()

    def abandon(self, error: DatabaseUnavailable) -> None:
        """Nobody knows whether the admission was written: from now on it is to be ended, and will have failed."""
        assert isinstance(self.item, Admission)
        self.item, self.tries, self._error = Abandonment(self.item._replace(planned=None)), 0, error
        self.give_up_at = time.monotonic() + OWING_S

    def finish(self, outcome: Decision | bool) -> None:
        """It is written."""
        self._outcome = outcome
        self._done.release()

    def fail(self, error: Exception) -> None:
        """It is not written."""
        self._error = error
        self._done.release()

    def wait(self) -> Decision | bool:
        """Wait until it is written.

        Raises:
            Exception: why it is not.
        """
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return self._outcome


def by_tenant(batch: list[Ticket]) -> list[list[Ticket]]:
    """The tickets of each tenant, in their order."""
    found: dict[str, list[Ticket]] = {}
    for ticket in batch:
        found.setdefault(tenant_of(ticket.item), []).append(ticket)
    return list(found.values())


def tenant_of(item: Item) -> str:
    """The id of the tenant that the item is about."""
    if isinstance(item, Settlement):
        return item.call.claims.tenant_id
    return (item if isinstance(item, Admission) else item.admission).claims.tenant_id


def call_id_of(item: Item) -> str:
    """The id of the call that the item is about."""
    if isinstance(item, Settlement):
        return item.call.call_id
    return item.call_id if isinstance(item, Admission) else item.admission.call_id

"""The ledger's writer: the one seam through which a process changes the ledger, `submit(item) -> decision`.

Here every item has a transaction of its own. What fails before its commit is tried again; an admission whose commit is
in doubt is abandoned (written again under its id, then released) and refused; a settlement is never given up: what the
database does not take now is kept and tried again, by id, until it does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import overload

import structlog

from chatapi.domain.calls import Abandonment, Admission, Decision, Settlement
from chatapi.errors import DatabaseUnavailable
from chatapi.storage.engine import Database
from chatapi.storage.ledger import Ledger

TRIES = 3
PAUSE_S = 0.05
REPAY_S = 2.0
ADMISSION_PATIENCE_S = 1.0  # after which a failed admission is not tried again: a client had better hear it soon

log = structlog.get_logger()

Item = Admission | Settlement | Abandonment


@dataclass(slots=True)
class _Progress:
    """How far a transaction came: once it is committing, a failure does not tell whether it did."""

    committing: bool = False


class LedgerWriter:
    """Submits items to the ledger. Safe for any number of threads or greenlets."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._owed: deque[Settlement | Abandonment] = deque()
        self._repaying = threading.Lock()

    @overload
    def submit(self, item: Admission) -> Decision: ...
    @overload
    def submit(self, item: Settlement | Abandonment) -> bool: ...
    def submit(self, item: Item) -> Decision | bool:
        """Write one item, durably, before this returns.

        Returns:
            Of an admission the decision; of anything else whether the database has taken it now. False means that it is
            owed: kept, and tried again by `repay`.

        Raises:
            DatabaseUnavailable: an admission could not be written. Nothing is held, or what may be is being released.
        """
        if isinstance(item, Admission):
            return self._admit(item)
        try:
            self._write(item)
        except DatabaseUnavailable:
            self._owed.append(item)
            return False
        return True

    def repay(self) -> int:
        """Try again, for `REPAY_S` at most, what the database has not taken so far. Returns how many items are owed.

        An item that is wrong in itself is logged and given up: its call is then a stray, charged at its hold.
        """
        give_up_at = time.monotonic() + REPAY_S
        with self._repaying:
            while self._owed and time.monotonic() < give_up_at:
                try:
                    self._once(self._owed[0])
                except DatabaseUnavailable:
                    break
                except Exception as error:
                    log.error("settlement_refused", call=_call_id(self._owed[0]), error=type(error).__qualname__)
                self._owed.popleft()
        return len(self._owed)

    def owes(self, call_id: str) -> bool:
        """Whether the truth about this call is known here and waits for the database."""
        return any(_call_id(item) == call_id for item in tuple(self._owed))

    def _admit(self, admission: Admission) -> Decision:
        give_up_at = time.monotonic() + ADMISSION_PATIENCE_S
        while True:
            progress = _Progress()
            try:
                with self._database.write() as connection:
                    decision = self._ledger.admit(connection, admission)
                    progress.committing = True
                return decision
            except DatabaseUnavailable:
                if progress.committing:
                    self.submit(Abandonment(admission))
                    raise
                if time.monotonic() >= give_up_at:
                    raise
                time.sleep(PAUSE_S)

    def _write(self, item: Settlement | Abandonment) -> None:
        for attempt in range(TRIES):
            try:
                self._once(item)
                return
            except DatabaseUnavailable:
                if attempt == TRIES - 1:
                    raise
                time.sleep(PAUSE_S)

    def _once(self, item: Settlement | Abandonment) -> None:
        with self._database.write(urgent=True) as connection:
            if isinstance(item, Settlement):
                self._ledger.settle(connection, item)
            else:
                self._ledger.abandon(connection, item.admission)


def _call_id(item: Settlement | Abandonment) -> str:
    return item.admission.call_id if isinstance(item, Abandonment) else item.call.call_id

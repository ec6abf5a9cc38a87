"""The ledger's writer: the one seam through which a process changes the ledger, `submit(item) -> decision`.

Group commit: one thread takes all that was submitted while its last transaction ran, writes it in one transaction, and
wakes the submitters. Nobody waits for a batch to fill, so a lone call is as quick as its transaction, and many at once
share one.

What fails before its commit is tried again, whole, and so is what was guessed wrong. A batch with something wrong in it
is split until the culprit is alone; one that met a row which somebody else keeps locked is split by tenants, so that
only that tenant waits. An admission whose commit is in doubt is abandoned (written again under its id, then released)
and refused. A settlement that the database does not take now is kept, in the journal too, and tried again, by id, until
it does; only one that is wrong in itself is given up, and logged.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import overload

import structlog

from chatapi.domain.calls import Abandonment, Admission, Decision, Item, Settlement
from chatapi.errors import DatabaseUnavailable, Overloaded, RowLocked
from chatapi.storage.engine import Database, NotCommitted
from chatapi.storage.guessing import GuessedWrong
from chatapi.storage.journal import Journal
from chatapi.storage.ledger import Ledger
from chatapi.storage.tickets import Ticket, by_tenant, call_id_of
from chatapi.storage.touched import Touched

TRIES = 3
PAUSE_S = 0.05
REPAY_S = 2.0
MOST_OWED = 10_000  # items; with more nothing is admitted, since an admission in doubt may have to be owed as well
LARGEST_BATCH = 256
MOST_WAITING = 1000  # admissions; what gives back is always taken
IDLE_S = 10.0  # after which the thread ends; the next submission starts another

log = structlog.get_logger()


class LedgerWriter:
    """Submits items to the ledger. Safe for any number of threads or greenlets."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._urgent: deque[Ticket] = deque()
        self._waiting: deque[Ticket] = deque()
        self._moving = threading.Lock()
        self._bell = threading.Lock()  # held while the thread has nothing to do
        self._bell.acquire()
        self._awake = False
        self._thread: threading.Thread | None = None
        self._owed: dict[str, Settlement | Abandonment] = {}  # by the call's id, in the order in which they came
        self._journal: Journal | None = None
        self._owing = threading.Lock()  # held while what is owed and the journal are changed together
        self._repaying = threading.Lock()
        self.touched = Touched()

    def keep_in(self, journal: Journal) -> None:
        """From now on keep in this journal what is owed. Without one it is kept in memory only."""
        self._journal = journal

    @property
    def problem(self) -> str | None:
        """Why what is owed would not survive this process, in one sentence; None when it would."""
        return self._journal.problem if self._journal else None

    @overload
    def submit(self, item: Admission) -> Decision: ...
    @overload
    def submit(self, item: Settlement | Abandonment) -> bool: ...
    def submit(self, item: Item) -> Decision | bool:
        """Write one item, durably, before this returns.

        Returns:
            Of an admission the decision; of anything else whether the database has taken it now. False means that it is
            owed: kept, in the journal if the disk takes it, and tried again by `repay`.

        Raises:
            DatabaseUnavailable: an admission could not be written. Nothing is held, or what may be is being released.
            Overloaded: too many admissions are waiting already.
        """
        if isinstance(item, Admission) and len(self._owed) >= MOST_OWED:
            raise DatabaseUnavailable
        ticket = Ticket(item)
        self._enqueue([ticket])
        if isinstance(item, Admission):
            return ticket.wait()
        try:
            ticket.wait()
        except DatabaseUnavailable:
            return False
        return True

    def submit_all(self, items: Sequence[Item]) -> list[Ticket]:
        """Submit items together, to be written in one transaction where they fit. Wait for each of the tickets.

        Raises:
            Overloaded: as `submit`.
        """
        tickets = [Ticket(item) for item in items]
        self._enqueue(tickets)
        return tickets

    def repay(self) -> int:
        """Try again what the database has not taken so far. Returns how many items are owed.

        No batch is begun after `REPAY_S`; what fails comes last in the next round.

        An item that is wrong in itself is logged and given up: its call is then a stray, charged at its hold.
        """
        give_up_at = time.monotonic() + REPAY_S
        with self._repaying:
            while self._owed and time.monotonic() < give_up_at:
                items = tuple(self._owed.values())[:LARGEST_BATCH]
                repaid = [self._is_repaid(*both) for both in zip(self.submit_all(items), items, strict=True)]
                if not all(repaid):
                    break
        if self._journal:
            with self._owing:
                self._journal.forget_all_but(tuple(self._owed.values()))
        return len(self._owed)

    def adopt(self) -> None:
        """Owe from now on what dead processes of this machine left in their journals, and see to our own."""
        if self._journal:
            with self._owing:
                self._owed = {call_id_of(item): item for item in self._journal.adopt()} | self._owed

    def close(self) -> None:
        """Try once more what is owed, and leave the rest to the next process of this machine."""
        self.repay()
        if self._journal:
            self._journal.close()

    def owes(self, call_id: str) -> bool:
        """Whether the truth about this call is known here and waits for the database."""
        return call_id in self._owed

    def _is_repaid(self, ticket: Ticket, owed: Settlement | Abandonment) -> bool:
        call_id = call_id_of(owed)
        try:
            ticket.wait()
        except DatabaseUnavailable:
            with self._owing:
                self._owed[call_id] = self._owed.pop(call_id, owed)
            return False
        except Exception as error:
            log.error("settlement_refused", call=call_id, error=type(error).__qualname__)
        self._owed.pop(call_id, None)
        return True

    def _enqueue(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            if not isinstance(ticket.item, Admission):
                self._urgent.append(ticket)
            elif len(self._waiting) < MOST_WAITING:
                self._waiting.append(ticket)
            else:
                raise Overloaded("Too many calls at once. Please try again.")
        if not self._awake:  # looked at after the item is there, as the thread looks at the items after it says this
            try:
                self._wake()
            except RuntimeError:  # no thread is to be had
                self._withdraw(tickets)

    def _withdraw(self, tickets: Sequence[Ticket]) -> None:
        for ticket in tickets:
            with suppress(ValueError):
                (self._waiting if isinstance(ticket.item, Admission) else self._urgent).remove(ticket)
                self._give_up([ticket], DatabaseUnavailable())

    def _wake(self) -> None:
        with self._moving:
            if self._awake:
                return
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
                self._awake = True
                try:
                    thread.start()
                except BaseException:
                    self._awake = False
                    raise
                self._thread = thread
            else:
                self._awake = True
                self._bell.release()

    def _run(self) -> None:
        while True:
            batch = self._take()
            if batch:
                self._write(batch)
            elif not self._bell.acquire(timeout=IDLE_S) and self._retire():
                return

    def _take(self) -> list[Ticket]:
        """All that waits, what gives back first; or nothing, and then the bell is rung for the next."""
        batch = [self._urgent.popleft() for _ in range(min(len(self._urgent), LARGEST_BATCH))]
        batch += [self._waiting.popleft() for _ in range(min(len(self._waiting), LARGEST_BATCH - len(batch)))]
        if not batch:
            self._awake = False
            if self._urgent or self._waiting:
                self._wake()
        return batch

    def _retire(self) -> bool:
        """End the thread, unless it was woken this very moment."""
        with self._moving:
            if self._awake:
                self._bell.acquire()
                return False
            self._thread = None
            return True

    def _write(self, batch: list[Ticket]) -> None:
        """Write a batch, and finish or fail each of its tickets."""
        guessing = True
        while batch:
            committing = False
            try:
                with self._database.write(urgent=True) as connection:
                    written = self._ledger.write(connection, [ticket.item for ticket in batch], guessing=guessing)
                    committing = True
                outcomes = written()
            except GuessedWrong as error:
                batch = batch if guessing else self._halve(batch, error)
                guessing = False
            except RowLocked as error:
                self._write_apart(batch, error)
                return
            except DatabaseUnavailable as error:
                batch = self._sift(batch, error, committing=committing and not isinstance(error, NotCommitted))
                if batch:
                    time.sleep(PAUSE_S)
            except Exception as error:  # whatever it is, it must not end the thread that all others rely on
                batch = self._halve(batch, error)
            else:
                self.touched.note(ticket.item for ticket in batch)
                for ticket, outcome in zip(batch, outcomes, strict=True):
                    ticket.finish(outcome)
                return

    def _write_apart(self, batch: list[Ticket], error: RowLocked) -> None:
        """Write each tenant's items by themselves; of one tenant there is nothing more to be done now."""
        groups = by_tenant(batch)
        if len(groups) == 1:
            self._give_up(batch, error)
        else:
            for tickets in groups:
                self._write(tickets)

    def _halve(self, batch: list[Ticket], error: Exception) -> list[Ticket]:
        """Of a batch with something wrong in it write one half, return the other; what is wrong alone is given up."""
        if len(batch) == 1:
            log.error("ledger_refused", call=call_id_of(batch[0].item), error=type(error).__qualname__)
            batch[0].fail(error)
            return []
        self._write(batch[: len(batch) // 2])
        return batch[len(batch) // 2 :]

    def _sift(self, batch: list[Ticket], error: DatabaseUnavailable, *, committing: bool) -> list[Ticket]:
        """What to try again of what the database did not take. The rest has failed; of that, settlements are owed."""
        again, failed = list[Ticket](), list[Ticket]()
        now = time.monotonic()
        for ticket in batch:
            ticket.tries += 1
            is_admission = isinstance(ticket.item, Admission)
            if is_admission and committing:
                ticket.abandon(error)
                again.append(ticket)
            elif now < ticket.give_up_at and (is_admission or ticket.tries < TRIES):
                again.append(ticket)
            else:
                failed.append(ticket)
        self._give_up(failed, error)
        return again

    def _give_up(self, failed: list[Ticket], error: DatabaseUnavailable) -> None:
        """Say that these were not taken. What is no admission is owed from now on."""
        self._owe([ticket.item for ticket in failed if not isinstance(ticket.item, Admission)])
        for ticket in failed:
            ticket.fail(error)

    def _owe(self, items: list[Settlement | Abandonment]) -> None:
        with self._owing:
            first = {call_id_of(item): item for item in reversed(items)}  # of two ends of a call the first one stands
            new = [item for call_id, item in reversed(first.items()) if call_id not in self._owed]
            self._owed.update((call_id_of(item), item) for item in new)
            if self._journal and new:
                try:
                    self._journal.append(new)
                except Exception as error:  # whatever it is, it must not end the thread that all others rely on
                    log.error("journal_failed", error=type(error).__qualname__)

"""The calls that this worker is running: what a renewal compares the ledger with, and what a drain has to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from chatapi.domain.calls import AttemptState, CallState, Charge, HeldCall, Settlement
from chatapi.errors import DatabaseUnavailable, Unavailable
from chatapi.storage.tickets import Ticket
from chatapi.storage.writer import LedgerWriter

LONGEST_UPSTREAM_ID = 200
CLIENT_GONE = "client_gone"


class Client(Protocol):
    """Who waits for an answer, where the server can see it leave."""

    @property
    def gone(self) -> bool:
        """Whether it has left."""

    def on_leave(self, act: Callable[[], None]) -> None:
        """Have `act` called once, in a thread or greenlet of its own, when the client leaves; at once if it has."""


class RunningCalls:
    """The running calls of one worker. A call is entered before it is admitted, so it is never taken for a stray."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.draining = False
        self._calls: dict[str, RunningCall | None] = {}

    def enter(self, call_id: str) -> None:
        """A call asks to be admitted.

        Raises:
            Unavailable: this worker is ending its calls.
        """
        if self.draining:
            raise Unavailable("This worker is shutting down. Please try again.", retry_after_s=1)
        self._calls[call_id] = None

    def leave(self, call_id: str) -> None:
        """A call was denied, or its end is written or owed."""
        self._calls.pop(call_id, None)

    def start(self, call: RunningCall) -> None:
        """A call was admitted and runs."""
        self._calls[call.held.call_id] = call

    def knows(self, call_id: str) -> bool:
        """Whether this worker is running the call, or about to."""
        return call_id in self._calls

    def all(self) -> list[RunningCall]:
        """The calls that were admitted and have not ended."""
        return [call for call in tuple(self._calls.values()) if call is not None]


class Settling:
    """The end of a call, on its way into the ledger."""

    def __init__(self, ticket: Ticket | None, leave: Callable[[], None]) -> None:
        self._ticket = ticket
        self._leave = leave

    def wait(self) -> None:
        """Wait until it is written, or owed. Idempotent.

        Raises:
            Exception: it is wrong in itself; the call is a stray now, and the next round of keeping expires it.
        """
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        try:
            ticket.wait()
        except DatabaseUnavailable:
            pass  # it is owed
        finally:
            self._leave()


class RunningCall:
    """An admitted call. It ends exactly once, whoever ends it: the request, its stream's close, a drain."""

    def __init__(self, held: HeldCall, writer: LedgerWriter, running: RunningCalls, deadline_s: float) -> None:
        self.held = held
        self.stop_reason: str | None = None
        self.attempt = 1
        """Which attempt at an upstream this is."""
        self.at_risk = False
        """Whether an attempt that failed may have run all the same."""
        self._writer = writer
        self._running = running
        self._overdue_at = time.monotonic() + deadline_s
        self._cancel: Callable[[], None] | None = None
        self._finish: Callable[[], None] = lambda: self.settle_at_hold(self.stop_reason or "aborted")
        self._ending = threading.Lock()
        self._ended = False
        running.start(self)

    @property
    def overdue(self) -> bool:
        """Whether the call is past its deadline."""
        return time.monotonic() >= self._overdue_at

    def begin_attempt(self, number: int, upstream: str, sent_model: str) -> None:
        """Another upstream is asked from now on; the attempt is written."""
        self.attempt = number
        self.held = self.held._replace(upstream=upstream, sent_model=sent_model)

    def on_finish(self, finish: Callable[[], None]) -> None:
        """Say how the call is ended by force, with what is known of it then; without this, at its hold."""
        self._finish = finish

    def finish(self) -> None:
        """End it now, whoever else is at it."""
        self._finish()

    def on_stop(self, cancel: Callable[[], None]) -> None:
        """Say how a wait for the upstream is broken off."""
        self._cancel = cancel
        if self.stop_reason is not None:
            cancel()

    def watch(self, client: Client) -> None:
        """Break it off when the client leaves: nobody would hear the rest, and somebody would pay for it."""
        client.on_leave(lambda: self.stop(CLIENT_GONE))

    @property
    def left_as_answered(self) -> bool:
        """Whether a stream that is cut now is an answered call: unless this gateway cut it, its client had enough."""
        return self.stop_reason in (None, CLIENT_GONE)

    def stop(self, reason: str) -> None:
        """Break off the wait for the upstream; the request then ends the call. `reason` is one word for the ledger."""
        self.stop_reason = self.stop_reason or reason
        if self._cancel is not None:
            self._cancel()

    def release(self, ended: str) -> None:
        """End it as one that the upstream never ran: it costs nothing."""
        self._end(CallState.RELEASED, Charge(), ended, AttemptState.REFUSED, None).wait()

    def settle(self, charge: Charge, ended: str, upstream_id: str | None = None) -> None:
        """End it with what it is charged, and wait until that is written."""
        self._settle(charge, ended, upstream_id).wait()

    def begin_to_settle(self, charge: Charge, ended: str, upstream_id: str | None) -> Settling:
        """The same without waiting, for who has something else to do. Until it is written, nobody may hear of it."""
        settling = self._settle(charge, ended, upstream_id)
        time.sleep(0)  # the writer's turn: under gevent it would begin only when somebody waits
        return settling

    def settle_at_hold(self, ended: str, *, answered: bool = False) -> None:
        """End it as one of which nobody knows what it used."""
        self.settle(Charge.at_hold(self.held, answered=answered), ended)

    def settle_refused(self, ended: str) -> None:
        """The same, where not the last attempt is at risk, which the upstream never ran, but one before it."""
        self._end(CallState.SETTLED, Charge.at_hold(self.held), ended, AttemptState.REFUSED, None).wait()

    def _settle(self, charge: Charge, ended: str, upstream_id: str | None) -> Settling:
        attempt = AttemptState.ANSWERED if charge.answered else AttemptState.UNKNOWN
        return self._end(CallState.SETTLED, charge, ended, attempt, upstream_id)

    def _end(
        self, state: CallState, charge: Charge, ended: str, attempt: AttemptState, upstream_id: str | None
    ) -> Settling:
        with self._ending:
            if self._ended:
                return Settling(None, self._leave)
            self._ended = True
        settlement = Settlement(self.held, state, charge, ended, attempt, _clean(upstream_id), self.attempt)
        try:
            (ticket,) = self._writer.submit_all([settlement])
        except BaseException:  # should even that fail, the call is a stray now
            self._leave()
            raise
        return Settling(ticket, self._leave)

    def _leave(self) -> None:
        self._running.leave(self.held.call_id)


def _clean(upstream_id: str | None) -> str | None:
    """An upstream's id as a database can keep it."""
    if upstream_id is None:
        return None
    return "".join(character for character in upstream_id[:LONGEST_UPSTREAM_ID] if character.isprintable())

"""Keeping: what a worker does beside serving. It renews its lease, breaks off the calls of those who are no longer
served, pays what it owes the ledger, ends strays, and sweeps up after workers that died."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import structlog

from chatapi.errors import ChatAPIError, DatabaseUnavailable
from chatapi.logic import price_overrides, upstream_status
from chatapi.logic.deliveries import Deliverer
from chatapi.logic.kept_replies import forget_expired
from chatapi.logic.minutes import MinuteForgetter
from chatapi.logic.retention import PartitionMaker
from chatapi.logic.runtime import Runtime
from chatapi.logic.watch import AlertWatch
from chatapi.storage import leases, revocations
from chatapi.upstream import tokens

log = structlog.get_logger()
PING_S = 1.0


class Keeper:
    """The background work of one worker: a thread, or a greenlet where threads are greenlets."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._partitions = PartitionMaker(runtime)
        self._minutes = MinuteForgetter(runtime)
        self._deliverer = Deliverer(runtime)
        self._watch = AlertWatch(runtime, self._deliverer.wake)
        self._answering_since: float | None = None
        self._last_answer_at = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in the process that serves (so after any fork)."""
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()
        self._deliverer.start()
        self._watch.start()

    def stop(self) -> None:
        """End the background work."""
        self._watch.stop()
        self._deliverer.stop()
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def tick(self) -> int:
        """One round. Returns how many calls of dead workers it expired.

        Raises:
            DatabaseUnavailable: the database did not answer. Nobody may sweep before it has answered this process for
            one lease time again: in an outage every lease looks dead, also those of the living.
        """
        runtime = self._runtime
        stop_overdue(runtime)
        _attempt(runtime.writer.adopt)
        try:
            leases.renew(runtime.database, runtime.running.worker_id, upstream_status.written_here(runtime))
            self._answered()
            _attempt(lambda: price_overrides.load(runtime))
            for chore in (stop_revoked, _repay, end_strays):
                _attempt(lambda chore=chore: chore(runtime))  # type: ignore[misc]
            _attempt(self._partitions.tick)
            _attempt(self._minutes.tick)
            _attempt(lambda: forget_expired(runtime))
            expired = 0
            while self._may_sweep() and (batch := leases.sweep(runtime.database, runtime.ledger)):
                expired += batch
                self._answered()
                self._watch.note_expired()
            return expired
        except DatabaseUnavailable:
            self._answering_since = None
            raise

    def _answered(self) -> None:
        """The database has answered."""
        now = time.monotonic()
        if self._answering_since is None or self._was_silent(now):
            self._answering_since = now
        self._last_answer_at = now

    def _may_sweep(self) -> bool:
        """Whether the database has answered this process for one lease time without a break, and just now."""
        now = time.monotonic()
        if self._answering_since is None or self._was_silent(now):
            return False
        return now - self._answering_since >= self._runtime.settings.lease_s

    def _was_silent(self, now: float) -> bool:
        """Whether there was no answer for longer than two renewals take: it was away, or this process suspended."""
        return now - self._last_answer_at > 2 * self._runtime.settings.renew_s

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                expired = self.tick()
                if expired:
                    log.warning("swept", expired_calls=expired)
            except ChatAPIError as error:
                log.warning("keeping_failed", reason=str(error))
            except Exception as error:  # the next round may fare better; without rounds this worker loses its lease
                log.error("keeping_failed", error=type(error).__qualname__)
            self._stopping.wait(self._runtime.settings.renew_s)


def stop_overdue(runtime: Runtime) -> None:
    """Break off the calls that are past their deadline."""
    for call in runtime.running.all():
        if call.overdue:
            _attempt(lambda call=call: call.stop("deadline"))  # type: ignore[misc]


def stop_revoked(runtime: Runtime) -> int:
    """Break off the calls of those who are no longer served: revoked, disabled, or of such a tenant. Returns how many.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    running = runtime.running.all()
    gone = revocations.revoked(runtime.database, (call.held.claims for call in running))
    stopped = [call for call in running if call.held.claims in gone]
    for call in stopped:
        _attempt(lambda call=call: call.stop("revoked"))  # type: ignore[misc]
    return len(stopped)


def _repay(runtime: Runtime) -> int:
    return runtime.writer.repay()


def _attempt(chore: Callable[[], object]) -> None:
    """Do what must not keep the rest of a round from being done; that the database is away is for the whole round."""
    try:
        chore()
    except DatabaseUnavailable:
        raise
    except Exception as error:
        log.error("keeping_failed", error=type(error).__qualname__)


def end_strays(runtime: Runtime) -> int:
    """Expire calls that the ledger holds for this worker and that it is not running. Returns how many."""
    held = leases.held_by(runtime.database, runtime.running.worker_id)
    strays = [
        call for call in held if not runtime.running.knows(call.call_id) and not runtime.writer.owes(call.call_id)
    ]
    if strays:
        leases.expire_strays(runtime.database, runtime.ledger, strays)
    return len(strays)


def sweep(runtime: Runtime) -> int:
    """Expire, batch by batch, every call whose worker is dead or that is past its deadline. Returns how many."""
    return sum(sweep_in_batches(runtime))


def sweep_in_batches(runtime: Runtime) -> Iterator[int]:
    """The same, one batch for each item that is taken; the items say how many calls expired."""
    while expired := leases.sweep(runtime.database, runtime.ledger):
        yield expired


def await_renewals(runtime: Runtime) -> Iterator[float]:
    """Wait until the database has answered for one lease time without a break. Yields now and then the seconds left.

    Nobody may sweep before that: in an outage every lease looks dead, also those of the living.
    """
    since: float | None = None
    while since is None or time.monotonic() - since < runtime.settings.lease_s:
        try:
            leases.ping(runtime.database)
            since = since or time.monotonic()
        except DatabaseUnavailable:
            since = None
        left_s = runtime.settings.lease_s - (time.monotonic() - since if since else 0)
        yield max(0.0, left_s)
        time.sleep(max(0.0, min(left_s, PING_S)))


def prepare_to_drain(runtime: Runtime) -> None:
    """Load now what the settlements of cut streams need: a vocabulary takes a second or more, which the end has not."""
    for model in {call.held.model for call in runtime.running.all()}:
        _attempt(lambda model=model: tokens.count_text(model, ""))  # type: ignore[misc]


def drain(runtime: Runtime, patience_s: float) -> int:
    """End every running call: break off its wait, let its request end it, and after `patience_s` seconds end it here.

    Returns:
        How many calls were running.
    """
    runtime.running.draining = True
    running = runtime.running.all()
    for call in running:
        _attempt(lambda call=call: call.stop("shutdown"))  # type: ignore[misc]
    give_up_at = time.monotonic() + patience_s
    while runtime.running.all() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    for call in runtime.running.all():
        _attempt(call.finish)
    runtime.writer.repay()
    return len(running)

"""Keeping: what a worker does beside serving. It renews its lease, pays what it owes the ledger, ends strays, and
sweeps up after workers that died."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import structlog

from chatapi.errors import ChatAPIError, DatabaseUnavailable
from chatapi.logic.runtime import Runtime
from chatapi.storage import leases

log = structlog.get_logger()
PING_S = 1.0


class Keeper:
    """The background work of one worker: a thread, or a greenlet where threads are greenlets."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._answering_since: float | None = None
        self._last_answer_at = 0.0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in the process that serves (so after any fork)."""
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background work."""
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
        for call in runtime.running.all():
            if call.overdue:
                call.stop("deadline")
        try:
            leases.renew(runtime.database, runtime.running.worker_id)
            answering_since = self._answered()
            runtime.writer.repay()
            end_strays(runtime)
            if time.monotonic() - answering_since < runtime.settings.lease_s:
                return 0
            return sweep(runtime)
        except DatabaseUnavailable:
            self._answering_since = None
            raise

    def _answered(self) -> float:
        """The database has answered. Returns since when without a break (in seconds of `time.monotonic`).

        After a silence of one lease time this process was suspended: that is a break too.
        """
        now = time.monotonic()
        if self._answering_since is None or now - self._last_answer_at >= self._runtime.settings.lease_s:
            self._answering_since = now
        self._last_answer_at = now
        return self._answering_since

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                expired = self.tick()
                if expired:
                    log.warning("swept", expired_calls=expired)
            except ChatAPIError as error:
                log.warning("keeping_failed", reason=str(error))
            except Exception:
                log.exception(
                    "keeping_failed"
                )  # the next round may fare better; without rounds this worker would lose its lease
            self._stopping.wait(self._runtime.settings.renew_s)


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


def drain(runtime: Runtime, patience_s: float) -> int:
    """End every running call: break off its wait, let its request end it, and after `patience_s` seconds end it here.

    Returns:
        How many calls were running.
    """
    running = runtime.running.all()
    for call in running:
        call.stop("shutdown")
    give_up_at = time.monotonic() + patience_s
    while runtime.running.all() and time.monotonic() < give_up_at:
        time.sleep(0.05)
    for call in runtime.running.all():
        call.settle_at_hold("shutdown")
    runtime.writer.repay()
    return len(running)

"""Deliveries: sending alerts to webhooks, each at least once, until the receiver takes it or it is given up.

An alert is claimed in a short transaction, sent with none open, and what became of it is written in another. Whoever
dies in between leaves one that is due again: a receiver may see it twice, with the same id.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from datetime import timedelta

import structlog

from chatapi.domain.alerts import pause_s
from chatapi.domain.webhook_signatures import Secrets, signed_headers
from chatapi.errors import DatabaseUnavailable
from chatapi.logic.runtime import Runtime
from chatapi.logic.sealing import vault_of
from chatapi.storage import alerts, webhooks
from chatapi.storage.alerts import Claimed
from chatapi.upstream.webhooks import AT_ONCE, Outcome, post

MOST_OF_A_TENANT = 8  # of one process at once, before more is claimed: so a tenant's hanging webhooks leave some free
LOOK_EVERY_S = 2.0  # or as often as the lease is renewed
WRITING_TRIES = 5
GONE = "status 410: the webhook was disabled, as its receiver asked"
UNWANTED = "the webhook is not told anything any more"

log = structlog.get_logger()


class Deliverer:
    """Sends alerts, of whoever raised them: a thread of its own, so that a receiver which hangs keeps nothing else."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._bell = threading.Event()
        self._stopping = False
        self._sending: Counter[tuple[str, str]] = Counter()  # by tenant and webhook
        self._counting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in the process that serves (so after any fork)."""
        self._thread = threading.Thread(target=self._run, name="deliverer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin nothing more. What is being sent ends, or is sent again by another process."""
        self._stopping = True
        self._bell.set()

    def wake(self) -> None:
        """There may be something to send."""
        self._bell.set()

    def _run(self) -> None:
        pause_between_s = min(LOOK_EVERY_S, self._runtime.settings.renew_s)
        while not self._stopping:
            try:
                self._send_what_is_due()
            except DatabaseUnavailable:
                log.info("deliveries_wait")
            except Exception as error:  # the next round may fare better
                log.error("delivering_failed", error=type(error).__qualname__)
            self._bell.wait(pause_between_s)
            self._bell.clear()

    def _send_what_is_due(self) -> None:
        database = self._runtime.database
        while not self._stopping:
            free, busy, crowded = self._places()
            if free <= 0:
                return
            with database.read() as connection:
                if not alerts.due(database, connection):
                    return
            with database.write() as connection:
                claimed = alerts.claim(database, connection, free, busy=busy, crowded=crowded)
            for each in claimed:
                self._begin(each)
            if not claimed:
                return

    def _places(self) -> tuple[int, list[str], list[str]]:
        """How many more may be sent now; but of these webhooks, and of these tenants, none."""
        with self._counting:
            busy = [webhook_id for _, webhook_id in self._sending]
            of_tenants: Counter[str] = Counter()
            for (tenant_id, _), sending in self._sending.items():
                of_tenants[tenant_id] += sending
            crowded = [tenant_id for tenant_id, sending in of_tenants.items() if sending >= MOST_OF_A_TENANT]
            return AT_ONCE - self._sending.total(), busy, crowded

    def _begin(self, claimed: Claimed) -> None:
        self._count(claimed, 1)
        try:
            threading.Thread(target=self._send, args=(claimed,), name="delivery", daemon=True).start()
        except BaseException:  # no thread is to be had
            self._count(claimed, -1)
            raise

    def _send(self, claimed: Claimed) -> None:
        try:
            outcome = deliver(self._runtime, claimed)
            said = {"alert": claimed.alert.id, "webhook": claimed.alert.webhook_id, "tries": claimed.alert.tries}
            log.info("alert_delivered" if outcome.taken else "alert_not_delivered", **said, problem=outcome.explained)
        except Exception as error:
            log.error("delivering_failed", alert=claimed.alert.id, error=type(error).__qualname__)
        finally:
            self._count(claimed, -1)
            self._bell.set()

    def _count(self, claimed: Claimed, more: int) -> None:
        with self._counting:
            self._sending[claimed.alert.tenant_id, claimed.alert.webhook_id] += more
            self._sending += Counter()  # what comes to nothing is not kept


def deliver_now(runtime: Runtime, alert_id: str) -> bool:
    """Send one alert that is due, here and now; its row says what became of it. Returns whether there was one to send.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.write() as connection:
        claimed = alerts.claim(runtime.database, connection, 1, alert_id=alert_id)
    for each in claimed:
        deliver(runtime, each)
    return bool(claimed)


def deliver(runtime: Runtime, claimed: Claimed) -> Outcome:
    """Send an alert that was claimed, and write down what became of it.

    Raises:
        DatabaseUnavailable: that could not be written: it is sent again, when the claim has run out.
    """
    outcome = _post(runtime, claimed) if claimed.is_wanted else Outcome(problem=UNWANTED)
    for left in reversed(range(WRITING_TRIES)):
        try:
            _write(runtime, claimed, outcome)
            break
        except DatabaseUnavailable:
            if not left:
                raise
        time.sleep(1)
    return outcome


def secrets_of(runtime: Runtime, tenant_id: str, webhook_id: str, sealed: bytes) -> Secrets:
    """The secrets of a webhook.

    Raises:
        SealedElsewhere: this installation's encryption keys do not open them.
    """
    return Secrets.load(vault_of(runtime.settings.sealing_keys).open(place_of(tenant_id, webhook_id), sealed))


def seal_secrets(runtime: Runtime, tenant_id: str, webhook_id: str, made: Secrets) -> bytes:
    """The secrets of a webhook, as the database keeps them."""
    return vault_of(runtime.settings.sealing_keys).seal(place_of(tenant_id, webhook_id), made.dump())


def place_of(tenant_id: str, webhook_id: str) -> str:
    """Where a webhook's secrets are sealed for."""
    return f"webhooks/{tenant_id}/{webhook_id}"


def _post(runtime: Runtime, claimed: Claimed) -> Outcome:
    alert, body = claimed.alert, claimed.alert.body.encode()
    try:
        kept = secrets_of(runtime, alert.tenant_id, alert.webhook_id, claimed.sealed_secret)
    except ValueError:  # sealed elsewhere, or no secrets at all
        return Outcome(problem="its secret was sealed with another encryption key: put that back, or make a new secret")
    with runtime.database.read() as connection:
        signing = kept.at(runtime.database.now(connection))
    headers = signed_headers(alert.id, int(time.time()), body, signing)
    return post(claimed.url, body, headers, private=runtime.settings.webhook_private_addresses)


def _write(runtime: Runtime, claimed: Claimed, outcome: Outcome) -> None:
    alert, settings = claimed.alert, runtime.settings
    with runtime.database.write() as connection:
        now = runtime.database.now(connection)
        if outcome.taken:
            return alerts.delivered(connection, alert, now)
        if outcome.gone and webhooks.disable(connection, alert.tenant_id, alert.webhook_id, claimed.url):
            return alerts.give_up_all(connection, alert.tenant_id, alert.webhook_id, now, GONE)
        problem = outcome.explained or "it failed"
        pause = timedelta(seconds=pause_s(alert.tries, settings.webhook_retry_s, random.random()))
        last = alert.raised_at + timedelta(hours=settings.webhook_give_up_hours)
        if now + pause > last or not claimed.is_wanted:
            return alerts.give_up(connection, alert, now, problem)
        return alerts.put_off(connection, alert, now + pause, problem)

"""The watch: which limits a worker looks at for alerts, and when.

Each worker looks at the limits of those whose calls it has ended itself, every round. What a worker does not live to
look at is found by another: the oldest living worker looks at all limits of all tenants with webhooks when a worker has
come or gone, and every few minutes; and at those of a tenant that is new to it for a few rounds, until all the others
surely watch it, too.

It has a thread of its own: a tenant with very many limits keeps alerts waiting, and no lease.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import structlog

from chatapi.domain.principals import Claims
from chatapi.errors import ChatAPIError, DatabaseUnavailable
from chatapi.logic.alerts import Group, raise_alerts
from chatapi.logic.runtime import Runtime
from chatapi.storage import alerts, watching, webhooks

LOOK_EVERY_S = 300.0
ROUND_S = 1.0  # of looking at all, in each round
AT_ONCE = 200  # people
NEW_FOR = 3  # rounds

log = structlog.get_logger()


class AlertWatch:
    """The watch of one worker.

    Args:
        runtime: what to work with.
        on_raised: is called where there is something to send.
    """

    def __init__(self, runtime: Runtime, on_raised: Callable[[], None] = lambda: None) -> None:
        self._runtime = runtime
        self._on_raised = on_raised
        self._living: tuple[str, ...] = ()
        self._waiting: dict[str, str | None] = {}  # tenants to be looked at as a whole, and after which user to go on
        self._again: set[str] = set()  # of these, those to be looked at from their first user on when that is done
        self._new: dict[str, int] = {}  # tenants that are looked at for so many rounds more
        self._look_at = 0.0
        self._expired = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in the process that serves (so after any fork)."""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End with the round that runs."""
        self._stopping.set()

    def note_expired(self) -> None:
        """This worker has charged calls of dead workers, which no writer has seen."""
        self._expired.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self.tick():
                    self._on_raised()
            except ChatAPIError:  # the database is away, or busy
                log.info("alerts_wait")
            except Exception as error:  # the next round may fare better
                log.error("alerts_not_found", error=type(error).__qualname__)
            self._stopping.wait(self._runtime.settings.renew_s)

    def tick(self) -> int:
        """One round. Returns how many alerts it raised.

        Raises:
            DatabaseUnavailable: the database cannot answer.
        """
        touched = self._runtime.writer.touched
        with self._runtime.database.read() as connection:
            watched = frozenset(webhooks.watched_tenants(connection))
            now = self._runtime.database.now(connection)
            living = alerts.living_workers(connection, now, self._runtime.settings.lease_s) if watched else ()
        new, touched.watched = watched - touched.watched, watched
        self._plan(watched, new, living)
        principals, crowded = touched.take()
        self._look_again(crowded)
        raised = self._look_at_principals(principals) + self._look_at_all(watched)
        if raised:
            log.info("alerts_raised", alerts=raised)
        return raised

    def _plan(self, watched: frozenset[str], new: Iterable[str], living: tuple[str, ...]) -> None:
        """Decide which tenants are looked at as a whole."""
        is_eldest = bool(living) and living[0] == self._runtime.running.worker_id
        changed, self._living = is_eldest and living != self._living, living if is_eldest else ()
        due = is_eldest and time.monotonic() >= self._look_at
        if changed or due or self._expired.is_set():
            self._expired.clear()
            self._look_again(watched)
        if due:
            self._look_at = time.monotonic() + LOOK_EVERY_S
        if is_eldest:
            self._new.update(dict.fromkeys(new, NEW_FOR))
        for tenant_id, rounds in list(self._new.items()):
            self._waiting.setdefault(tenant_id, None)
            if rounds > 1:
                self._new[tenant_id] = rounds - 1
            else:
                del self._new[tenant_id]

    def _look_again(self, tenant_ids: Iterable[str]) -> None:
        """Look at these as a whole: at one that is being looked at once more, so that its last users have their turn,
        too."""
        self._again.update(tenant_id for tenant_id in tenant_ids if self._waiting.setdefault(tenant_id, None))

    def _looked_at(self, tenant_id: str) -> None:
        del self._waiting[tenant_id]
        if tenant_id in self._again:
            self._again.remove(tenant_id)
            self._waiting[tenant_id] = None

    def _look_at_principals(self, principals: Iterable[Claims]) -> int:
        """Look at those whose calls have ended here. Where that fails their tenants are looked at as a whole."""
        by_tenant: dict[str, list[Claims]] = {}
        for claims in principals:
            by_tenant.setdefault(claims.tenant_id, []).append(claims)
        raised = 0
        try:
            for tenant_id, some in by_tenant.items():
                for start in range(0, len(some), AT_ONCE):
                    raised += raise_alerts(self._runtime, self._group(tenant_id, some[start : start + AT_ONCE]))
        except Exception as error:
            self._look_again(by_tenant)
            if isinstance(error, DatabaseUnavailable):
                raise
            log.error("alerts_not_found", error=type(error).__qualname__)
        return raised

    def _group(self, tenant_id: str, some: Iterable[Claims]) -> Group:
        with self._runtime.database.read() as connection:
            return Group(
                tenant_id,
                watching.find_users(connection, tenant_id, (claims.user_id for claims in some)),
                watching.find_access_tokens(connection, tenant_id, (claims.jti for claims in some)),
            )

    def _look_at_all(self, watched: frozenset[str]) -> int:
        """Go on with the tenants that are looked at as a whole, for a bounded time."""
        raised, give_up_at = 0, time.monotonic() + ROUND_S
        while self._waiting and time.monotonic() < give_up_at:
            tenant_id, after = next(iter(self._waiting.items()))
            if tenant_id not in watched:
                self._again.discard(tenant_id)
                self._looked_at(tenant_id)
                continue
            try:
                raised += self._look_at_next(tenant_id, after)
            except DatabaseUnavailable:
                raise
            except Exception as error:  # it must not keep the other tenants from being looked at
                log.error("alerts_not_found", tenant=tenant_id, error=type(error).__qualname__)
                self._looked_at(tenant_id)
            time.sleep(0)  # others may have something to do
        return raised

    def _look_at_next(self, tenant_id: str, after: str | None) -> int:
        """Look at the next users of a tenant, and behind the last of them at what else there is."""
        group = self._next_users(tenant_id, after)
        raised = raise_alerts(self._runtime, group)
        if len(group.users) == AT_ONCE:
            self._waiting[tenant_id] = group.users[-1].id
            return raised
        raised += self._look_at_access_tokens(tenant_id)
        self._forget_old(tenant_id)
        self._looked_at(tenant_id)
        return raised

    def _next_users(self, tenant_id: str, after: str | None) -> Group:
        with self._runtime.database.read() as connection:
            return Group(tenant_id, watching.users_after(connection, tenant_id, after, AT_ONCE))

    def _look_at_access_tokens(self, tenant_id: str) -> int:
        """Those that have limits of their own."""
        raised, after = 0, None
        while True:
            with self._runtime.database.read() as connection:
                jtis = watching.limited_access_tokens(connection, tenant_id, after=after, most=AT_ONCE)
                group = Group(tenant_id, (), watching.find_access_tokens(connection, tenant_id, jtis))
            raised += raise_alerts(self._runtime, group) if jtis else 0
            if len(jtis) < AT_ONCE:
                return raised
            after = jtis[-1]

    def _forget_old(self, tenant_id: str) -> None:
        try:
            with self._runtime.database.write() as connection:
                alerts.forget_old(connection, tenant_id, self._runtime.database.now(connection))
        except DatabaseUnavailable:  # it is busy: another time
            log.info("alerts_not_forgotten", tenant=tenant_id)

"""Alerts: finding what is to be told, from a few people's limits and counters."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from chatapi.domain.alerts import (
    MOST_TOLD,
    SHARE_REACHED,
    Names,
    Occasion,
    Watched,
    event,
    is_news,
    reached,
    said_of,
    used_of,
)
from chatapi.domain.counters import Counter, CounterKey
from chatapi.domain.effective_limits import EffectiveLimit, Granted, LimitRow, LimitScope, explain_limits
from chatapi.domain.limits import Scope
from chatapi.domain.windows import KEPT, window_end, window_key
from chatapi.logic.runtime import Runtime
from chatapi.storage import alerts, counters, watching, webhooks
from chatapi.storage.accounts import Transaction
from chatapi.storage.bulk import batches
from chatapi.storage.columns import Row
from chatapi.storage.watching import AccessToken, User, WatchedTenant
from chatapi.storage.webhooks import Webhook

MOST_PENDING = 1000  # alerts that a webhook has not taken yet

Grants = dict[tuple[Scope, str], list[Granted]]


@dataclass(frozen=True, slots=True)
class Group:
    """Those whose limits are looked at together; the tenant's own are looked at with each of them."""

    tenant_id: str
    users: Sequence[User] = ()
    access_tokens: Sequence[AccessToken] = ()


@dataclass(slots=True)
class _Look:
    """Limits that are looked at: their counters, and what to call whom they are of."""

    tenant: WatchedTenant
    places: list[tuple[CounterKey, Watched, Names]] = field(default_factory=list)

    def add(
        self, found: Iterable[EffectiveLimit], scope: Scope, scope_id: str, names: Names, user_id: str | None = None
    ) -> None:
        """Look at the limits of one scope, as far as they are of windows that are watched."""
        for limit in found:
            if limit.scope is not scope or limit.value is None or limit.window not in KEPT:
                continue
            window = window_key(limit.window, self.tenant.moment.day)
            key = CounterKey(self.tenant.id, scope.value, scope_id, limit.window.value, window, limit.model)
            place = (scope, scope_id, limit.metric, limit.window, window, limit.model, limit.value)
            self.places.append((key, Watched(*place, used=0, user_id=user_id), names))


def raise_alerts(runtime: Runtime, group: Group) -> int:
    """Keep an alert for each occasion of this group that is news to a webhook of the tenant. Returns how many are new.

    It is read without a lock and written with nothing but the alerts of one webhook: two processes that find the same
    occasion keep one alert of it. What a webhook has no room for is found again later.

    Raises:
        DatabaseUnavailable: the database cannot answer.
    """
    with runtime.database.read() as connection:
        hooks = webhooks.active_of(connection, group.tenant_id)
        now = runtime.database.now(connection)
        tenant = watching.find_tenant(connection, group.tenant_id, now) if hooks else None
        if tenant is None:
            return 0
        standing = _standing(runtime, connection, tenant, group)
    return sum(_raise(runtime, standing, tenant, hook) for hook in hooks)


def _raise(runtime: Runtime, standing: Sequence[tuple[Watched, Names]], tenant: WatchedTenant, hook: Webhook) -> int:
    """Keep what is news to one webhook, as far as it has room."""
    with runtime.database.read() as connection:
        rows = list(islice(_news(connection, standing, tenant, hook), MOST_PENDING))
        room = MOST_PENDING - alerts.count_pending(connection, tenant.id, hook.id) if rows else 0
    if room <= 0:
        return 0
    with runtime.database.write() as connection:
        return alerts.raise_all(connection, rows[:room], runtime.database.now(connection))


def _standing(
    runtime: Runtime, connection: Transaction, tenant: WatchedTenant, group: Group
) -> list[tuple[Watched, Names]]:
    """The limits of the group with what is used of each, those of which nothing is used left out."""
    look = _limits(runtime, connection, tenant, group)
    there = counters.read(connection, {key for key, _, _ in look.places})
    standing = []
    for key, watched, names in look.places:
        used = there.get(key, Counter()).used.of(watched.metric)
        if used:
            standing.append((watched._replace(used=used), names))
    return standing


def _limits(runtime: Runtime, connection: Transaction, tenant: WatchedTenant, group: Group) -> _Look:
    look, defaults = _Look(tenant), runtime.ledger.defaults
    whole = watching.limits_of(connection, tenant.id, [LimitScope.TENANT, LimitScope.EACH_USER])
    ids = [*(user.id for user in group.users), *(token.jti for token in group.access_tokens)]
    own: dict[tuple[str, str], list[LimitRow]] = {}
    for row in watching.limits_of(connection, tenant.id, [LimitScope.USER, LimitScope.ACCESS_TOKEN], ids):
        own.setdefault((row.scope, row.scope_id), []).append(row)
    grants = watching.grants_of(connection, tenant.id, [tenant.id, *ids], tenant.moment)
    each = [row for row in whole if row.scope == LimitScope.EACH_USER]
    of_tenant = [row for row in whole if row.scope == LimitScope.TENANT]

    def more(scope: Scope, scope_id: str) -> list[Granted]:
        return grants.get((scope, scope_id), [])

    found = explain_limits(of_tenant, {}, more(Scope.TENANT, tenant.id))
    look.add(found, Scope.TENANT, tenant.id, Names(tenant.name, None))
    for user in group.users:
        rows = each + own.get((LimitScope.USER, user.id), [])
        found = explain_limits(rows, defaults, more(Scope.USER, user.id))
        look.add(found, Scope.USER, user.id, Names(tenant.name, user.name), user.id)
    for token in group.access_tokens:
        rows = own.get((LimitScope.ACCESS_TOKEN, token.jti), [])
        found = explain_limits(rows, {}, more(Scope.ACCESS_TOKEN, token.jti))
        names = Names(tenant.name, token.user.name, token.name)
        look.add(found, Scope.ACCESS_TOKEN, token.jti, names, token.user.id)
    return look


def _news(
    connection: Transaction, standing: Sequence[tuple[Watched, Names]], tenant: WatchedTenant, hook: Webhook
) -> Iterator[Row]:
    """The alerts that are to be kept."""
    occasions = ((each, names) for watched, names in standing for each in reached(watched, hook.shares))
    for some in batches(occasions):
        found = {each.key: (each, names) for each, names in some}
        for number, key in _untold(connection, hook, {key: each for key, (each, _) in found.items()}):
            occasion, names = found[key]
            event_id, moment = alerts.new_id(), tenant.moment
            data = said_of(occasion, tenant.id, names, window_end(occasion.watched.window, moment))
            yield {
                "tenant_id": tenant.id,
                "id": event_id,
                "webhook_id": hook.id,
                "occasion": occasion.key_of(number),
                "body": event(event_id, SHARE_REACHED, moment.now, data),
            }
        time.sleep(0)  # others may have something to do


def _untold(connection: Transaction, hook: Webhook, found: dict[str, Occasion]) -> Iterator[tuple[int, str]]:
    """Which of these occasions are news to a webhook, and as the how-manieth of their windows."""
    told = alerts.told(connection, hook.tenant_id, hook.id, list(found))
    raised_since = {key for key, body in told.items() if used_of(body) < found[key].amount}
    later = {found[key].key_of(number): (key, number) for key in raised_since for number in range(1, MOST_TOLD)}
    again = alerts.told(connection, hook.tenant_id, hook.id, list(later))
    used: dict[str, dict[int, int]] = {key: {0: used_of(body)} for key, body in told.items()}
    for told_key, body in again.items():
        key, number = later[told_key]
        used[key][number] = used_of(body)
    for key, occasion in found.items():
        news = is_news(occasion, used.get(key, {}))
        if news is not None:
            yield news, key

"""Which limits hold for somebody, where each comes from, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from chatapi.domain.counters import Counter, counter_key
from chatapi.domain.effective_limits import EffectiveLimit, LimitScope, explain_limits
from chatapi.domain.limits import Scope
from chatapi.domain.principals import Claims
from chatapi.domain.windows import Moment, Window, seconds_until, window_end
from chatapi.errors import NotFound
from chatapi.logic.explain import utc
from chatapi.logic.limit_targets import LimitTarget
from chatapi.logic.runtime import Runtime
from chatapi.storage import counters, grants, limits
from chatapi.storage.accounts import Transaction
from chatapi.storage.grants import LimitGrant

ORDER = {scope: place for place, scope in enumerate(Scope)}
Record = dict[str, object]


@dataclass(frozen=True, slots=True)
class LimitStanding:
    """An effective limit and how it stands at one moment.

    Args:
        limit: with what was granted in it.
        used: an amount of its metric, by its counter; None where it is nobody's in particular.
        held: what calls in flight hold of it; None likewise.
        resets_at: when its window ends; None of what is held at once.
        now: the moment, by the database's clock.
        grants: those that are in it, oldest first.
    """

    limit: EffectiveLimit
    used: int | None = None
    held: int | None = None
    resets_at: datetime | None = None
    now: datetime | None = None
    grants: tuple[LimitGrant, ...] = ()

    @property
    def left(self) -> int | None:
        """What is neither used nor held; None of what is unlimited."""
        if self.limit.value is None or self.used is None or self.held is None:
            return None
        return max(0, self.limit.value - self.used - self.held)


def limit_standings(
    runtime: Runtime, connection: Transaction, claims: Claims, moment: Moment
) -> tuple[LimitStanding, ...]:
    """How every limit stands that concerns these claims, those that say "unlimited" too.

    Args:
        runtime: what to work with.
        connection: within one snapshot.
        claims: of an access token; without a `jti` ('') of a user; without a user, too, of a tenant: then the limits of
            its users have no numbers.
        moment: now, at the tenant's.
    """
    ids = [each for each in claims if each]
    tenant_id = claims.tenant_id
    own = [LimitScope.ACCESS_TOKEN, LimitScope.USER]
    rows = limits.find_limits(connection, tenant_id, scopes=own, scope_ids=ids)
    rows += limits.find_limits(connection, tenant_id, scopes=[LimitScope.EACH_USER, LimitScope.TENANT])
    given = grants.open_grants(connection, tenant_id, ids, moment.day)
    found = explain_limits(rows, runtime.ledger.defaults, [grant.granted for grant in given])
    place = (claims, moment.day, moment.now)
    keys = {limit: counter_key(limit.scope, limit.window, limit.model, *place) for limit in found}
    known = {limit: key for limit, key in keys.items() if key.scope_id}
    there = counters.read(connection, set(known.values()))
    standings = []
    for limit in sorted(found, key=lambda limit: (ORDER[limit.scope], limit.metric, limit.window, limit.model)):
        ends_at = None if limit.window is Window.AT_ONCE else window_end(limit.window, moment)
        mine = tuple(grant for grant in given if grant.granted[:4] == _place(limit)) if limit.granted else ()
        used, held = there.get(keys[limit], Counter())
        standing = LimitStanding(limit, resets_at=ends_at, now=moment.now, grants=mine)
        if limit in known:
            standing = replace(standing, used=used.of(limit.metric), held=held.of(limit.metric))
        standings.append(standing)
    return tuple(standings)


def standings_of(
    runtime: Runtime, target: LimitTarget, access_token_id: str | None = None
) -> tuple[LimitStanding, ...]:
    """All limits that a user's calls must keep, its tenant's included; of an access token its own too.

    Of a tenant its own, and what its users inherit, which has no numbers.

    Args:
        runtime: what to work with.
        target: whose.
        access_token_id: of a user the calls with this access token.

    Raises:
        NotFound: there is no such user, access token or tenant, or it is not the user's.
    """
    with runtime.database.read() as connection:
        holder = target.find(connection)
        if access_token_id is not None:
            user_id, named = holder.user_id, LimitTarget(LimitScope.ACCESS_TOKEN, access_token_id, holder.tenant_id)
            holder = named.find(connection)
            if holder.user_id != user_id:
                raise NotFound("There is no such access token.")
        now = runtime.database.now(connection)
        return limit_standings(runtime, connection, holder.claims, Moment.at(now, holder.zone.at(now)))


def default_limits(runtime: Runtime) -> tuple[LimitStanding, ...]:
    """The limits of every user for whom nothing else was set."""
    return tuple(LimitStanding(limit) for limit in explain_limits([], runtime.ledger.defaults))


def standing_record(standing: LimitStanding) -> Record:
    """A limit and how it stands, as JSON says it."""
    limit, resets_at, now = standing.limit, standing.resets_at, standing.now
    return {
        "scope": limit.scope.value,
        "metric": limit.metric.value,
        "window": limit.window.value,
        "model": limit.model or None,
        "value": limit.value,
        "source": limit.source.value,
        "granted": limit.granted,
        "used": standing.used,
        "held": standing.held,
        "left": standing.left,
        "resets_at": None if resets_at is None else utc(resets_at),
        "resets_after_s": None if resets_at is None or now is None else seconds_until(resets_at, now),
    }


def _place(limit: EffectiveLimit) -> tuple[object, ...]:
    return limit.scope, limit.metric, limit.window, limit.model

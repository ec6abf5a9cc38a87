"""Grants: so much more than a limit ("200 more today"), in the one window that is open now; listed, and withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from chatapi.domain.actors import Actor
from chatapi.domain.effective_limits import LimitPlace, LimitScope, explain_limits, highest
from chatapi.domain.limits import Scope
from chatapi.domain.names import is_id
from chatapi.domain.principals import Role
from chatapi.domain.windows import KEPT, Moment, window_end, window_key
from chatapi.errors import InvalidInput, NotFound, Taken
from chatapi.logic.changes import Change, change
from chatapi.logic.limit_targets import LimitTarget, require_reach
from chatapi.logic.runtime import Runtime
from chatapi.storage import accounts, grants, limits
from chatapi.storage.accounts import Transaction
from chatapi.storage.grants import GrantFilter, LimitGrant
from chatapi.storage.holders import Holder

__all__ = ["GrantFilter", "LimitGrant", "ShownGrant", "add_grant", "all_grants", "page_of_grants", "withdraw_grant"]

AT_ONCE = 100  # in a page of all
MOST_GRANTS = 100  # to one in one window, withdrawn ones too: admissions read through them


@dataclass(frozen=True, slots=True)
class ShownGrant:
    """A grant, the tenant's and user's names, and whether it counts now."""

    grant: LimitGrant
    tenant: str
    username: str | None
    in_force: bool


def add_grant(
    runtime: Runtime, actor: Actor, target: LimitTarget, place: LimitPlace, value: int, reason: str = ""
) -> LimitGrant:
    """Grant a tenant, a user or an access token so much more than its limit, until the window ends that is open now.

    Args:
        runtime: what to work with.
        actor: who grants it.
        target: to whom; not to each user.
        place: of which limit, per day or month.
        value: requests, tokens or nano-dollars.
        reason: for people.

    Raises:
        NotFound: there is no such user, access token or tenant.
        InvalidInput: it is closed, has no such limit, or no limit can be so high.
        Forbidden: the actor may not.
    """
    if target.scope is LimitScope.EACH_USER or place.window not in KEPT or value < 1:
        raise InvalidInput("A grant is for a tenant, a user or an access token, per day or month, of at least 1.")
    with change(runtime, actor, Role.ADMIN) as made:
        holder = target.find(made.connection, lock=True)
        require_reach(made.actor, target.scope, holder)
        now = runtime.database.now(made.connection)  # a day may have ended while locks were waited for
        moment = Moment.at(now, holder.zone.at(now))
        grant = _new_grant(target, holder, place, moment, value=value, reason=reason)
        _require_room(runtime, made.connection, holder, grant)
        grants.insert_grant(made.connection, grant)
        made.record("grant.add", grant.tenant_id, grant.scope.value, grant.scope_id, after=_said(grant))
    return grant


def withdraw_grant(runtime: Runtime, actor: Actor, grant_id: str, tenant_id: str | None = None) -> LimitGrant:
    """Take back what is left of a grant, from the next admission on; of one that was withdrawn before nothing is.

    Args:
        runtime: what to work with.
        actor: who withdraws it.
        grant_id: its id.
        tenant_id: of whose grants; None: of any tenant's.

    Raises:
        NotFound: there is no such grant.
        Taken: its window is over.
        Forbidden: the actor may not.
    """
    with change(runtime, actor, Role.ADMIN) as made:
        grant, now = _find(made.connection, grant_id, tenant_id), runtime.database.now(made.connection)
        target = LimitTarget(LimitScope(grant.scope), grant.scope_id, grant.tenant_id)
        holder = target.find(made.connection)
        require_reach(made.actor, target.scope, holder)
        if grant.withdrawn_at is not None:
            return grant
        if not grant.counts(Moment.at(now, holder.zone.at(now)).day):
            raise Taken("The window of this grant is over.")
        withdrawn = replace(grant, withdrawn_at=now)
        grants.withdraw(made.connection, withdrawn)
        _record_withdrawal(made, grant)
    return withdrawn


def page_of_grants(
    runtime: Runtime,
    target: LimitTarget,
    wanted: GrantFilter,
    before: str | None,
    most: int,
    *,
    open_only: bool = False,
) -> list[ShownGrant]:
    """The newest grants to a tenant, its users and access tokens, or to one of these.

    Args:
        runtime: what to work with.
        target: whose; of a tenant all that are in it.
        wanted: which of them.
        before: the id of the one after which to go on.
        most: how many at most.
        open_only: only those that count now.

    Raises:
        NotFound: there is no such tenant, user or access token.
    """
    with runtime.database.read() as connection:
        holder = target.find(connection)
        now = runtime.database.now(connection)
        day = Moment.at(now, holder.zone.at(now)).day
        if target.scope is not LimitScope.TENANT:
            wanted = replace(wanted, scope=Scope(target.scope), scope_id=target.scope_id(holder))
        wanted = replace(wanted, day=day if open_only else None)
        found = grants.page_of_grants(connection, holder.tenant_id, wanted, before, most)
    return [ShownGrant(grant, holder.tenant, username, grant.counts(day)) for grant, username in found]


def all_grants(runtime: Runtime, target: LimitTarget | None, *, open_only: bool) -> Iterator[ShownGrant]:
    """The same without pages; without a target those of all tenants, one after the other.

    Raises:
        NotFound: as above.
    """
    targets = [target] if target is not None else []
    if target is None:
        with runtime.database.read() as connection:
            targets = [LimitTarget(LimitScope.TENANT, tenant.name) for tenant in accounts.find_tenants(connection)]
    for each in targets:
        before: str | None = None
        while page := page_of_grants(runtime, each, GrantFilter(), before, AT_ONCE, open_only=open_only):
            yield from page
            before = page[-1].grant.id


def _new_grant(
    target: LimitTarget, holder: Holder, place: LimitPlace, moment: Moment, *, value: int, reason: str
) -> LimitGrant:
    return LimitGrant(
        tenant_id=holder.tenant_id,
        scope=Scope(target.scope),
        scope_id=target.scope_id(holder),
        metric=place.metric,
        window=place.window,
        window_key=window_key(place.window, moment.day),
        model=place.model,
        value=value,
        reason=reason,
        granted_at=moment.now,
        ends_at=window_end(place.window, moment),
    )


def _require_room(runtime: Runtime, connection: Transaction, holder: Holder, grant: LimitGrant) -> None:
    """There must be a limit, and so much more must be possible.

    What was withdrawn counts: it may have been used before, and the audit adds it up.

    Raises:
        InvalidInput: there is none, or it is not.
    """
    rows = limits.find_limits(connection, holder.tenant_id, scope_ids=holder.ids)
    there = {
        (limit.scope, limit.metric, limit.window, limit.model): limit.value
        for limit in explain_limits(rows, runtime.ledger.defaults)
    }
    limit = there.get(grant.granted[:4])
    place = LimitPlace(grant.metric, grant.window, grant.model)
    if limit is None:
        raise InvalidInput(f"There is no limit of {place} that more could be granted of: it is unlimited.")
    ever = [each.granted for each in grants.grants_of_window(connection, grant)]
    if len(ever) >= MOST_GRANTS:
        raise InvalidInput(f"There are {MOST_GRANTS} grants for this {grant.window} already; fewer, larger ones do.")
    if limit + grant.value + sum(each.value for each in ever if each[:4] == grant.granted[:4]) > highest(place.metric):
        raise InvalidInput(f"With all that was granted, a limit on {place.metric} is {highest(place.metric)} at most.")


def _find(connection: Transaction, grant_id: str, tenant_id: str | None) -> LimitGrant:
    if tenant_id is None and is_id(grant_id):
        tenant_id = grants.tenant_of_grant(connection, grant_id)
    grant = None if tenant_id is None else grants.find_grant(connection, tenant_id, grant_id)
    if grant is None:
        raise NotFound("There is no such grant.")
    return grant


def _said(grant: LimitGrant) -> dict[str, object]:
    """A grant as the trail says it."""
    place = LimitPlace(grant.metric, grant.window, grant.model)
    said: dict[str, object] = {"grant": grant.id, str(place): grant.value, "for": grant.window_key}
    return said | ({"reason": grant.reason} if grant.reason else {})


def _record_withdrawal(made: Change, grant: LimitGrant) -> None:
    made.record("grant.withdraw", grant.tenant_id, grant.scope.value, grant.scope_id, before=_said(grant))

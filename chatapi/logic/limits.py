"""Limits: set for a user, an access token, each user of a tenant, or a tenant as a whole; and those that were set.

What follows from them for somebody is in `logic/effective_limits.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatapi.domain.actors import Actor
from chatapi.domain.effective_limits import (
    MOST_LIMITS,
    LimitPlace,
    LimitScope,
    LimitSetting,
    Unset,
    highest,
    raises,
)
from chatapi.domain.principals import Role
from chatapi.errors import Forbidden, InvalidInput
from chatapi.logic.changes import change
from chatapi.logic.limit_targets import LimitTarget, require_reach
from chatapi.logic.runtime import Runtime
from chatapi.storage import limits
from chatapi.storage.accounts import Transaction
from chatapi.storage.holders import Holder
from chatapi.storage.limits import KeptLimit, LimitChange, LimitFilter
from chatapi.storage.seeding import keep_named

__all__ = ["KeptLimit", "LimitFilter", "LimitTarget", "page_of_limits", "set_limit"]


def set_limit(
    runtime: Runtime, actor: Actor, target: LimitTarget, place: LimitPlace, setting: LimitSetting
) -> KeptLimit | None:
    """Set, lift (`Unset.UNLIMITED`) or remove (`Unset.INHERIT`) a limit. It holds from the next admission on.

    Returns:
        What is set now; of a limit that is removed, what was set before. None where nothing was.

    Raises:
        NotFound: there is no such user, access token or tenant.
        InvalidInput: it is closed or has too many, or no limit can be so high.
        Forbidden: the actor may not.
    """
    if not isinstance(setting, Unset) and not 0 <= setting <= highest(place.metric):
        raise InvalidInput(f"A limit on {place.metric} is from 0 to {highest(place.metric)}.")
    with change(runtime, actor, Role.ADMIN) as made:
        holder = target.find(made.connection, lock=True)
        require_reach(made.actor, target.scope, holder)
        if target.scope is LimitScope.EACH_USER:
            _require_no_raise(runtime, made.connection, made.actor, holder, place, setting)
        scope_id = target.scope_id(holder)
        before = _find(made.connection, holder.tenant_id, target.scope, scope_id, place)
        if before is None and setting is not Unset.INHERIT:
            _require_room(made.connection, holder.tenant_id, target.scope, scope_id)
        wanted = LimitChange(holder.tenant_id, target.scope, scope_id, *place[:2], setting, place.model)
        set_at = keep_named(made.connection, [wanted], runtime.database)
        limits.change_limits(made.connection, [wanted], set_at)
        after = _find(made.connection, holder.tenant_id, target.scope, scope_id, place)
        said = [{str(place): _said(kept)} for kept in (before, after)]
        action = "limit.remove" if setting is Unset.INHERIT else "limit.set"
        made.record(action, holder.tenant_id, target.scope.value, scope_id, before=said[0], after=said[1])
    return before if setting is Unset.INHERIT else after


def page_of_limits(
    runtime: Runtime, tenant: LimitTarget, wanted: LimitFilter, after: Sequence[str] | None, most: int
) -> list[KeptLimit]:
    """The next limits that were set in a tenant, in the order of their keys; what is inherited is not among them.

    Args:
        runtime: what to work with.
        tenant: whose.
        wanted: which of them.
        after: the key of the last one of the page before.
        most: how many at most.

    Raises:
        NotFound: there is no such tenant.
    """
    with runtime.database.read() as connection:
        tenant_id = tenant.find(connection).tenant_id
        return limits.page_of_limits(connection, tenant_id, wanted, after, most)


def _find(
    connection: Transaction, tenant_id: str, scope: LimitScope, scope_id: str, place: LimitPlace
) -> KeptLimit | None:
    found = limits.page_of_limits(connection, tenant_id, LimitFilter(scope, scope_id, *place), None, 1)
    return found[0] if found else None


def _require_room(connection: Transaction, tenant_id: str, scope: LimitScope, scope_id: str) -> None:
    if len(limits.find_limits(connection, tenant_id, scopes=[scope], scope_ids=[scope_id])) >= MOST_LIMITS:
        raise InvalidInput(f"At most {MOST_LIMITS} limits can be set there; remove one first.")


def _said(kept: KeptLimit | None) -> object:
    """A limit as the trail says it."""
    if kept is None:
        return Unset.INHERIT.value
    return Unset.UNLIMITED.value if kept.row.value is None else kept.row.value


def _require_no_raise(
    runtime: Runtime, connection: Transaction, actor: Actor, holder: Holder, place: LimitPlace, setting: LimitSetting
) -> None:
    """An admin is one of the users that a limit for each user is for.

    Raises:
        Forbidden: it would raise its own limit.
    """
    if actor.role is Role.OPERATOR or actor.user_id is None:
        return
    scopes, ids = [LimitScope.USER, LimitScope.EACH_USER], [actor.user_id, holder.tenant_id]
    rows = limits.find_limits(connection, holder.tenant_id, scopes=scopes, scope_ids=ids)
    if raises(rows, place, setting, runtime.ledger.defaults):
        raise Forbidden(
            f"This would raise your own limit of {place}, and nobody raises limits of their own. "
            "An operator can do it, or give you a limit of your own first."
        )

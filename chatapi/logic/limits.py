"""Limits: set them for a user, for each user of a tenant, or for a tenant as a whole; and show which are in force."""

from __future__ import annotations

from dataclasses import dataclass

from chatapi.domain.effective_limits import EffectiveLimit, LimitRow, LimitScope, LimitSetting, explain_limits
from chatapi.domain.limits import Metric
from chatapi.domain.windows import Window
from chatapi.errors import InvalidInput
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import find_tenant
from chatapi.logic.users import find_user
from chatapi.storage import accounts, limits
from chatapi.storage.accounts import Transaction
from chatapi.storage.limits import LimitChange
from chatapi.storage.seeding import keep_named


@dataclass(frozen=True, slots=True)
class LimitTarget:
    """Whom a limit is for: one user, each user of a tenant that has none of its own, or a tenant as a whole."""

    scope: LimitScope
    name: str  # of the user, or of the tenant

    @classmethod
    def of(cls, *, user: str | None = None, each_user_of: str | None = None, tenant: str | None = None) -> LimitTarget:
        """The target of exactly one of these names.

        Raises:
            InvalidInput: none is given, or several are.
        """
        names = {LimitScope.USER: user, LimitScope.EACH_USER: each_user_of, LimitScope.TENANT: tenant}
        given = [cls(scope, name) for scope, name in names.items() if name is not None]
        if len(given) != 1:
            raise InvalidInput("Name exactly one: a user, a tenant, or a tenant each of whose users is meant.")
        return given[0]


def set_limit(
    runtime: Runtime, target: LimitTarget, metric: Metric, window: Window, setting: LimitSetting, model: str = ""
) -> None:
    """Set, lift (`Unset.UNLIMITED`) or remove (`Unset.INHERIT`) a limit. It holds from the next admission on.

    Args:
        model: the model that is limited, as upstreams name it; '' is any.

    Raises:
        InvalidInput: there is no such user or tenant, or it is closed.
    """
    with runtime.database.write() as connection:
        tenant_id, scope_id = _ids(connection, target)
        change = LimitChange(tenant_id, target.scope, scope_id, metric, window, setting, model)
        set_at = keep_named(connection, [change], runtime.database)
        limits.change_limits(connection, [change], set_at)


def user_limits(runtime: Runtime, username: str) -> tuple[EffectiveLimit, ...]:
    """The limits that a user's calls must keep, its tenant's included, each with where it comes from.

    Raises:
        InvalidInput: there is no such user.
    """
    with runtime.database.read() as connection:
        user = accounts.find_user(connection, username)
        if user is None:
            raise InvalidInput(f"There is no user {username!r}.")
        own = limits.find_limits(connection, user.tenant_id, scopes=[LimitScope.USER], scope_ids=[user.id])
        rows = own + _tenant_rows(connection, user.tenant_id)
    return explain_limits(rows, runtime.ledger.defaults)


def tenant_limits(runtime: Runtime, name: str) -> tuple[EffectiveLimit, ...]:
    """The limits of a tenant as a whole, and those of its users that have none of their own.

    Raises:
        InvalidInput: there is no such tenant.
    """
    with runtime.database.read() as connection:
        found = accounts.find_tenants(connection, [name])
        if not found:
            raise InvalidInput(f"There is no tenant {name!r}.")
        rows = _tenant_rows(connection, found[0].id)
    return explain_limits(rows, runtime.ledger.defaults)


def default_limits(runtime: Runtime) -> tuple[EffectiveLimit, ...]:
    """The limits of every user for whom nothing else was set."""
    return explain_limits([], runtime.ledger.defaults)


def _ids(connection: Transaction, target: LimitTarget) -> tuple[str, str]:
    """The tenant's id and the id of the scope that a limit is kept for."""
    if target.scope is LimitScope.USER:
        user = find_user(connection, target.name)
        return user.tenant_id, user.id
    tenant = find_tenant(connection, target.name)
    return tenant.id, tenant.id


def _tenant_rows(connection: Transaction, tenant_id: str) -> list[LimitRow]:
    return limits.find_limits(connection, tenant_id, scopes=[LimitScope.EACH_USER, LimitScope.TENANT])

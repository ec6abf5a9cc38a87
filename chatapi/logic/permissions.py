"""Which models tenants and users may use, and whether calls near a tenant's limits are shortened or denied."""

from __future__ import annotations

from collections.abc import Sequence

from chatapi.domain.fields import LONGEST_MODEL_NAME
from chatapi.errors import InvalidInput
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import find_tenant
from chatapi.logic.users import find_user
from chatapi.storage import accounts, permissions
from chatapi.storage.permissions import Patterns

MOST_PATTERNS = 100


def allow_models(
    runtime: Runtime, patterns: Sequence[str] | None, *, tenant: str | None = None, user: str | None = None
) -> None:
    """Say which models a tenant or a user may use from the next call on; a user also needs its tenant's permission.

    Args:
        runtime: what to work with.
        patterns: shell patterns such as `gpt-4o*`, of models, not of aliases; none of them allows nothing; None: all.
        tenant: its name; or
        user: its name.

    Raises:
        InvalidInput: there is no such tenant or user, it is closed, or a pattern cannot be one.
    """
    if (tenant is None) == (user is None):
        raise InvalidInput("Name a tenant or a user, and not both.")
    kept = None if patterns is None else checked_patterns(patterns)
    with runtime.database.write() as connection:
        if tenant is not None:
            permissions.set_models(connection, find_tenant(connection, tenant).id, None, kept)
        else:
            found = find_user(connection, user or "")
            permissions.set_models(connection, found.tenant_id, found.id, kept)


def allowed_models(runtime: Runtime, *, tenant: str | None = None, user: str | None = None) -> dict[str, Patterns]:
    """What was said with `allow_models`, by whom it is about; None: all.

    Raises:
        InvalidInput: there is no such tenant or user.
    """
    with runtime.database.read() as connection:
        if user is not None:
            found = accounts.find_user(connection, user)
            if found is None:
                raise InvalidInput(f"There is no user {user!r}.")
            of_tenant, of_user = permissions.models_of(connection, found.tenant_id, found.id)
            return {f"tenant {found.tenant_name}": of_tenant, f"user {user}": of_user}
        tenants = accounts.find_tenants(connection, [tenant or ""])
        if not tenants:
            raise InvalidInput(f"There is no tenant {tenant!r}.")
        return {f"tenant {tenant}": permissions.models_of(connection, tenants[0].id, tenants[0].id)[0]}


def set_near_limit(runtime: Runtime, tenant: str, what: str) -> None:
    """Say what becomes of a call that fits under a limit only with a shorter completion: `clamp` or `refuse`.

    Raises:
        InvalidInput: there is no such tenant, or it is closed.
    """
    with runtime.database.write() as connection:
        permissions.set_near_limit(connection, find_tenant(connection, tenant).id, what)


def checked_patterns(patterns: Sequence[str]) -> list[str]:
    """The patterns in order, each once.

    Raises:
        InvalidInput: there are too many, or one can be none.
    """
    if len(patterns) > MOST_PATTERNS:
        raise InvalidInput(f"At most {MOST_PATTERNS} patterns; use wider ones, such as gpt-4o*.")
    for pattern in patterns:
        if not pattern or len(pattern) > LONGEST_MODEL_NAME or not pattern.isprintable():
            raise InvalidInput(f"{pattern!r} is neither the name of a model nor a pattern of names.")
    return sorted(set(patterns))

"""Which models tenants and users may use."""

from __future__ import annotations

from collections.abc import Sequence

from chatapi.domain.actors import Actor
from chatapi.domain.authority import require_another
from chatapi.domain.fields import LONGEST_MODEL_NAME
from chatapi.domain.principals import Role
from chatapi.errors import InvalidInput, NotFound
from chatapi.logic.changes import change
from chatapi.logic.runtime import Runtime
from chatapi.logic.tenants import tenant_to_change
from chatapi.logic.users import user_to_change
from chatapi.storage import directory, permissions
from chatapi.storage.permissions import Patterns

MOST_PATTERNS = 100
MOST_CHARACTERS = 4000
"""Of a list of patterns: an admission that meets it first compiles it, which takes some 10 ms of what all wait for."""
OWN_MODELS = "Nobody changes which models they may use themselves. Another admin or operator can."


def allow_models(
    runtime: Runtime, actor: Actor, tenant_id: str, user_id: str | None, patterns: Sequence[str] | None
) -> None:
    """Say which models a tenant or a user may use from the next call on; a user also needs its tenant's permission.

    Args:
        user_id: None for the tenant itself, which takes an operator.
        patterns: shell patterns such as `gpt-4o*`, of models, not of aliases; none of them allows nothing; None: all.

    Raises:
        InvalidInput: a pattern cannot be one.
        NotFound: there is no such tenant or user.
        Taken: it is closed.
        Forbidden: the user's role is above the actor's, or it is the actor; or a tenant's, and the actor no operator.
    """
    kept = None if patterns is None else checked_patterns(patterns)
    with change(runtime, actor, Role.OPERATOR if user_id is None else Role.ADMIN, tenant_id) as made:
        if user_id is None:
            kind, name = "tenant", tenant_to_change(made.connection, tenant_id).name
        else:
            kind, name = "user", user_to_change(made, tenant_id, user_id).username
            require_another(made.actor, user_id, OWN_MODELS)
        before = permissions.models_of(made.connection, tenant_id, user_id or tenant_id)[user_id is not None]
        permissions.set_models(made.connection, tenant_id, user_id, kept)
        told = [None if some is None else list(some) for some in (before, kept)]
        values = [{"models": some} for some in told]
        made.record(f"{kind}.set_models", tenant_id, kind, name, before=values[0], after=values[1])


def allowed_models(runtime: Runtime, tenant_id: str, user_id: str | None) -> tuple[Patterns, Patterns]:
    """What was said with `allow_models` of the tenant and of the user, if one is named; None: all.

    Raises:
        NotFound: there is no such tenant or user.
    """
    with runtime.database.read() as connection:
        if directory.find_tenant(connection, tenant_id) is None:
            raise NotFound("There is no such tenant.")
        if user_id is not None and directory.find_user(connection, tenant_id, user_id) is None:
            raise NotFound("There is no such user.")
        return permissions.models_of(connection, tenant_id, user_id or tenant_id)


def checked_patterns(patterns: Sequence[str]) -> list[str]:
    """Patterns of models as they are kept.

    Raises:
        InvalidInput: there are too many, or one cannot be a name of a model nor a pattern of such.
    """
    if len(patterns) > MOST_PATTERNS or sum(map(len, patterns)) > MOST_CHARACTERS:
        most = f"{MOST_PATTERNS} patterns of {MOST_CHARACTERS} characters together"
        raise InvalidInput(f"At most {most}; use wider ones, such as gpt-4o*.")
    for pattern in patterns:
        if not pattern or len(pattern) > LONGEST_MODEL_NAME or not pattern.isprintable():
            raise InvalidInput(f"{pattern!r} is neither the name of a model nor a pattern of names.")
    return sorted(set(patterns))

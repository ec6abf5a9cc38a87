"""Access tokens as administrators look after them: list, make for programs and plain users, revoke.

Who makes an access token can use it, and so can do what its user can. Admins and operators make them for plain users
only; commands, whose caller has the secret that signs them, for everybody.
"""

from __future__ import annotations

from chatapi.domain.access_tokens import NewAccessToken
from chatapi.domain.actors import Actor
from chatapi.domain.authority import require_rank_over
from chatapi.domain.principals import Role
from chatapi.errors import Forbidden, NotFound
from chatapi.logic import listed_access_tokens
from chatapi.logic.changes import Change, change
from chatapi.logic.explain import utc
from chatapi.logic.listed_access_tokens import NO_SUCH, AccessTokenFilter, ListedAccessToken, listed
from chatapi.logic.new_access_tokens import make
from chatapi.logic.runtime import Runtime
from chatapi.logic.users import user_to_change
from chatapi.storage import access_tokens, accounts, directory
from chatapi.storage.accounts import Transaction

OTHERS = "Admins and operators make their access tokens themselves, at /v1/me/access_tokens: who makes one can use it."


def page_of_access_tokens(
    runtime: Runtime,
    actor: Actor,
    tenant_id: str,
    user_id: str,
    wanted: AccessTokenFilter,
    *,
    after: str | None,
    most: int,
) -> list[ListedAccessToken]:
    """The next access tokens of a user, newest first.

    Args:
        runtime: what to work with.
        actor: who asks.
        tenant_id: the user's.
        user_id: whose.
        wanted: which of them.
        after: the id of the last one of the page before.
        most: how many at most.

    Raises:
        NotFound: there is no such user.
        Forbidden: its role is above the actor's.
    """
    with runtime.database.read() as connection:
        _require_reach(connection, actor, tenant_id, user_id)
        return listed(runtime, connection, tenant_id, user_id, wanted, after=after, most=most)


def access_token_of(runtime: Runtime, actor: Actor, tenant_id: str, user_id: str, jti: str) -> ListedAccessToken:
    """One access token of a user.

    Raises:
        NotFound: there is no such user, or it has none of this id.
        Forbidden: its role is above the actor's.
    """
    with runtime.database.read() as connection:
        _require_reach(connection, actor, tenant_id, user_id)
        return listed_access_tokens.access_token_of(runtime, connection, tenant_id, user_id, jti)


def access_tokens_of(
    runtime: Runtime, actor: Actor, tenant_id: str, user_id: str | None, wanted: AccessTokenFilter
) -> list[ListedAccessToken]:
    """All access tokens of a user, or of a tenant, newest first: for commands.

    Raises:
        Forbidden: the actor is no operator.
    """
    if not actor.is_at_least(Role.OPERATOR):
        raise Forbidden
    with runtime.database.read() as connection:
        return listed(runtime, connection, tenant_id, user_id, wanted)


def add_access_token(
    runtime: Runtime, actor: Actor, tenant_id: str, user_id: str, new: NewAccessToken
) -> ListedAccessToken:
    """Make a named access token for a user. What is returned has its claims, to be signed and shown once.

    Raises:
        InvalidInput: its name, expiry, models or limits cannot be so.
        NotFound: there is no such user.
        Taken: a live one has the name, or there are too many; or the user is not served.
        Forbidden: the user is no plain one.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        accounts.hold_tenant(made.connection, tenant_id)
        user = user_to_change(made, tenant_id, user_id)
        if made.actor.claims is not None and user.role is not Role.USER:
            raise Forbidden(OTHERS)
        return make(runtime, made, user, new)


def revoke_access_token(runtime: Runtime, actor: Actor, tenant_id: str, user_id: str, jti: str) -> None:
    """End an access token at once, in every process; one that has been revoked stays so.

    Raises:
        NotFound: there is no such user, or it has none of this id.
        Forbidden: its role is above the actor's.
    """
    with change(runtime, actor, Role.ADMIN, tenant_id) as made:
        _require_reach(made.connection, made.actor, tenant_id, user_id)
        revoke(made, tenant_id, user_id, jti)


def revoke(made: Change, tenant_id: str, user_id: str, jti: str) -> None:
    """End an access token of a user.

    Raises:
        NotFound: the user has none of this id.
    """
    kept = access_tokens.find(made.connection, tenant_id, user_id, jti)
    if kept is None:
        raise NotFound(NO_SUCH)
    if access_tokens.revoke(made.connection, tenant_id, jti, made.now):
        before = {"user": kept.username, "name": kept.name, "expires_at": utc(kept.access_token.expires_at)}
        made.record("access_token.revoke", tenant_id, "access_token", jti, before=before)


def _require_reach(connection: Transaction, actor: Actor, tenant_id: str, user_id: str) -> None:
    user = directory.find_user(connection, tenant_id, user_id) if actor.reaches(tenant_id) else None
    if user is None:
        raise NotFound("There is no such user.")
    require_rank_over(actor, user.role)

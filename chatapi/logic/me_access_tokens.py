"""One's own access tokens: list, make by name, revoke.

What is made here is never wider than its user: models and limits of an access token are in addition to the user's.
"""

from __future__ import annotations

from chatapi.domain.access_tokens import NewAccessToken
from chatapi.domain.actors import Actor
from chatapi.domain.principals import Claims
from chatapi.errors import Forbidden
from chatapi.logic import listed_access_tokens
from chatapi.logic.access_tokens import revoke
from chatapi.logic.changes import change
from chatapi.logic.listed_access_tokens import AccessTokenFilter, ListedAccessToken, listed
from chatapi.logic.new_access_tokens import make, require_password_given
from chatapi.logic.runtime import Runtime
from chatapi.logic.users import user_to_change
from chatapi.storage import accounts


def page_of_own(
    runtime: Runtime, actor: Actor, wanted: AccessTokenFilter, *, after: str | None, most: int
) -> list[ListedAccessToken]:
    """The actor's next access tokens, newest first.

    Args:
        runtime: what to work with.
        actor: who asks.
        wanted: which of them.
        after: the id of the last one of the page before.
        most: how many at most.
    """
    claims = own_claims(actor)
    with runtime.database.read() as connection:
        return listed(runtime, connection, claims.tenant_id, claims.user_id, wanted, after=after, most=most)


def own_of_id(runtime: Runtime, actor: Actor, jti: str) -> ListedAccessToken:
    """One of the actor's access tokens.

    Raises:
        NotFound: it has none of this id.
    """
    claims = own_claims(actor)
    with runtime.database.read() as connection:
        return listed_access_tokens.access_token_of(runtime, connection, claims.tenant_id, claims.user_id, jti)


def add_own(runtime: Runtime, actor: Actor, new: NewAccessToken) -> ListedAccessToken:
    """Make a named access token for the actor. What is returned has its claims, to be signed and shown once.

    Raises:
        InvalidInput: its name, expiry, models or limits cannot be so.
        Taken: a live one has the name, or there are too many.
        Forbidden: the actor's access token was made by name itself.
    """
    claims = own_claims(actor)
    with change(runtime, actor) as made:
        accounts.hold_tenant(made.connection, claims.tenant_id)
        user = user_to_change(made, claims.tenant_id, claims.user_id)
        require_password_given(runtime, made.connection, made.actor)
        return make(runtime, made, user, new)


def revoke_own(runtime: Runtime, actor: Actor, jti: str) -> None:
    """End one of the actor's access tokens at once, in every process; it may be the one that it asks with.

    Raises:
        NotFound: it has none of this id.
    """
    claims = own_claims(actor)
    with change(runtime, actor) as made:
        revoke(made, claims.tenant_id, claims.user_id, jti)


def own_claims(actor: Actor) -> Claims:
    """Of the access token that the actor asks with.

    Raises:
        Forbidden: it is a command, which has none.
    """
    if actor.claims is None:
        raise Forbidden("A command has no access token.")
    return actor.claims

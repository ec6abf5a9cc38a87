"""New access tokens with names, whoever makes them: one live one of a name, no more than are allowed, in the trail.

Making one takes an access token that a password has given: one that was made by name makes no others, so that when a
stolen one is revoked, no access token that came from it goes on.
"""

from __future__ import annotations

from datetime import timedelta

from uuid_utils import uuid7

from chatapi.domain.access_tokens import NewAccessToken
from chatapi.domain.actors import Actor
from chatapi.domain.effective_limits import LimitScope
from chatapi.domain.principals import AccessToken
from chatapi.errors import Forbidden, Taken
from chatapi.logic.actors import as_it_is
from chatapi.logic.changes import Change
from chatapi.logic.explain import utc
from chatapi.logic.listed_access_tokens import ListedAccessToken, describe
from chatapi.logic.permissions import checked_patterns
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, limits
from chatapi.storage.access_tokens import KeptAccessToken
from chatapi.storage.accounts import Transaction, User
from chatapi.storage.limits import LimitChange

MOST_A_DAY = 200
"""Of a user in 24 hours, revoked ones too: each leaves a row and entries in the trail for ever."""


def require_password_given(runtime: Runtime, connection: Transaction, actor: Actor) -> None:
    """Refuse what takes an access token that a password has given, where the actor's was made by name.

    Whether it is in force is looked at again: asked when the user is locked, no end of all its access tokens, as with
    another password, can come between any more.

    Raises:
        Forbidden: it was made by name.
        UnknownAccessToken: it is not in force any more.
    """
    if as_it_is(runtime, connection, actor).is_named:
        raise Forbidden("This takes the access token that /token gives; yours was made by name.")


def make(runtime: Runtime, made: Change, user: User, new: NewAccessToken) -> ListedAccessToken:
    """Make a named access token for a user whom this transaction has locked.

    Raises:
        InvalidInput: its name, expiry, models or limits cannot be so.
        Taken: a live one of the user has the name, or there are or were too many; or the user is not served.
    """
    settings = runtime.settings
    new.check()
    models = None if new.models is None else checked_patterns(new.models)
    issued_at = made.now.replace(microsecond=0)  # claims are whole seconds
    expires_at = new.expiry(issued_at, settings.jwt_days, settings.access_token_days)
    if not user.is_active:
        raise Taken(f"User {user.username!r} is not served, so it can have no access token.")
    names = access_tokens.live_names(made.connection, user.tenant_id, user.id, made.now)
    if new.name in names:
        raise Taken(f"There is a live access token {new.name!r} of this user already.")
    if len(names) >= settings.access_tokens_per_user:
        raise Taken(f"A user has at most {settings.access_tokens_per_user} named access tokens: revoke one first.")
    lately = access_tokens.named_since(made.connection, user.tenant_id, user.id, made.now - timedelta(days=1))
    if lately >= MOST_A_DAY:
        raise Taken(f"A user is given at most {MOST_A_DAY} named access tokens in 24 hours.")
    access_token = AccessToken(user.tenant_id, user.id, str(uuid7()), issued_at, expires_at)
    access_tokens.insert_access_token(made.connection, access_token, new.name, models)
    _set_limits(made, access_token, new)
    patterns = None if models is None else tuple(models)
    kept = KeptAccessToken(access_token, user.username, new.name, patterns, revoked_at=None)
    (told,) = describe(made.connection, [kept], made.now)
    _record(made, told)
    return told


def _set_limits(made: Change, access_token: AccessToken, new: NewAccessToken) -> None:
    """Its own limits. Nothing has been called with it yet, so there are no calls to make counters from."""
    whose = (access_token.tenant_id, LimitScope.ACCESS_TOKEN, access_token.jti)
    changes = [LimitChange(*whose, limit.metric, limit.window, limit.value, limit.model) for limit in new.limits]
    limits.change_limits(made.connection, changes, made.now)


def _record(made: Change, told: ListedAccessToken) -> None:
    access_token = told.kept.access_token
    values = {
        "user": told.kept.username,
        "name": told.kept.name,
        "expires_at": utc(access_token.expires_at),
        "models": told.kept.models,
        "limits": [
            {"metric": limit.metric, "window": limit.window, "model": limit.model or None, "value": limit.value}
            for limit in told.limits
        ],
    }
    made.record("access_token.add", access_token.tenant_id, "access_token", access_token.jti, after=values)

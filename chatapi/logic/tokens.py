"""A password for an access token: the journey of `POST /token` (CONTRACT §1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from uuid_utils import uuid7

from chatapi.domain.principals import AccessToken
from chatapi.logic.logins import log_in
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens
from chatapi.storage.accounts import Transaction, User


@dataclass(frozen=True, slots=True)
class Exchange:
    """The access token that a login gives, and whether it was created by it or had been there."""

    access_token: AccessToken
    username: str
    created: bool


def exchange(runtime: Runtime, username: str, password: str, address: str) -> Exchange:
    """Trade a username and a password for the user's access token without a name: the live one, or else a new one.

    Args:
        address: the client's IP address; '' when there is none.

    Raises:
        InvalidCredentials, TooManyLoginFailures, Overloaded, DatabaseUnavailable: as `log_in`.
    """

    def give(connection: Transaction, user: User, now: datetime) -> Exchange:
        live = access_tokens.find_live_access_token(connection, user.tenant_id, user.id, now)
        if live is not None:
            return Exchange(live, user.username, created=False)
        issued_at = now.replace(microsecond=0)  # claims are whole seconds
        expires_at = issued_at + timedelta(days=runtime.settings.jwt_days)
        access_token = AccessToken(user.tenant_id, user.id, str(uuid7()), issued_at, expires_at)
        access_tokens.insert_access_token(connection, access_token)
        return Exchange(access_token, user.username, created=True)

    return log_in(runtime, username, password, address, give)

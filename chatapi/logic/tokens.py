"""A password for an access token: the journey of `POST /token` (CONTRACT §1).

Failures are counted for a user from an address and for an address, never for a user alone: nobody far away can lock
somebody out. The order of steps keeps guessing bounded whatever comes at once:

1. what has failed too often already is refused, with little work;
2. a password that was verified a moment ago is no guess and needs no turn: it gives the access token, as in 6;
3. a turn is waited for, so that logins under way are few;
4. the login is counted as pending, *before* the password is looked at; pending ones count like failures;
5. the password is verified, with no transaction open;
6. the login becomes a failure, or is taken back and gives the access token, in the transaction that locks the user.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from uuid_utils import uuid7

from chatapi.domain.addresses import counted_address
from chatapi.domain.principals import AccessToken
from chatapi.domain.windows import seconds_until
from chatapi.errors import DatabaseUnavailable, InvalidCredentials, TooManyLoginFailures
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, accounts, logins
from chatapi.storage.accounts import Transaction, User
from chatapi.storage.logins import ADDRESS, LoginCount, LoginKey

LONGEST_WAIT_S = 5.0
WAIT_STEP_S = 0.05


@dataclass(frozen=True, slots=True)
class Exchange:
    """The access token that a login gives, and whether it was created by it or had been there."""

    access_token: AccessToken
    username: str
    created: bool


@dataclass(frozen=True, slots=True)
class _Login:
    """One login: who it says it is and from where, where it is counted and for how long, whom it names."""

    address: str
    pair: LoginKey
    whole: LoginKey
    retry_after_s: int
    user: User | None
    is_known: bool

    @property
    def keys(self) -> tuple[LoginKey, LoginKey]:
        """Where it is counted."""
        return self.pair, self.whole


class _AccountChanged(Exception):
    """The user's password hash is not the one any more that was verified."""


class _MustWait(Exception):
    """Logins that are pending might use up what is left."""


def exchange(runtime: Runtime, username: str, password: str, address: str) -> Exchange:
    """Trade a username and a password for the user's access token: the live one, or else a new one.

    Args:
        address: the client's IP address; '' when there is none.

    Raises:
        InvalidCredentials: unknown user, wrong password, or a user or tenant that is not active.
        TooManyLoginFailures: from this address, or of this user from it.
        Overloaded: too many logins are waiting.
        DatabaseUnavailable: the database cannot answer.
    """
    give_up_at = time.monotonic() + LONGEST_WAIT_S
    while True:
        login = _look(runtime, username, counted_address(address))
        try:
            if given := _recall(runtime, login, password):
                return given
            with runtime.hasher.turns.turn(login.address, login.pair.subject):
                if given := _recall(runtime, login, password):  # it has been verified while this one waited
                    return given
                _begin(runtime, login)
                return _decide(runtime, login, password)
        except (_AccountChanged, _MustWait):
            if time.monotonic() >= give_up_at:  # what is pending for so long was left by a process that died
                raise TooManyLoginFailures(login.retry_after_s) from None
            time.sleep(WAIT_STEP_S)


def _look(runtime: Runtime, username: str, address: str) -> _Login:
    """See whom the login names, and refuse it when there have been too many failures already.

    The same statements run for a user that does not exist.
    """
    with runtime.database.read() as connection:
        now = runtime.database.now(connection)
        runtime.hasher.decoys.refresh(lambda: accounts.hash_costs(connection))
        user = accounts.find_user(connection, username)
        tenant_id, user_id = (user.tenant_id, user.id) if user else (None, None)
        is_known = logins.is_known(connection, tenant_id, user_id, address)
        window_s = runtime.settings.login_window_s
        start = datetime.fromtimestamp(int(now.timestamp()) // window_s * window_s, UTC)
        pair = LoginKey(address, _digest(runtime, username), start)
        whole = LoginKey(address, ADDRESS, start)
        retry_after_s = seconds_until(start + timedelta(seconds=window_s), now)
        login = _Login(address, pair, whole, retry_after_s, user, is_known)
        failed = {key: LoginCount(count.failures) for key, count in logins.count(connection, login.keys).items()}
    if not _has_room(runtime, login, failed, more=1):
        raise TooManyLoginFailures(retry_after_s)
    return login


def _recall(runtime: Runtime, login: _Login, password: str) -> Exchange | None:
    """The access token, if this password was verified a moment ago; asked for nobody, it costs the same."""
    user = login.user
    user_id, password_hash = (user.id, user.password_hash) if user else ("", "")
    if not runtime.hasher.verified.has(user_id, password_hash, password) or user is None:
        return None
    with runtime.database.write() as connection:
        return _give(runtime, connection, login, user, None)


def _begin(runtime: Runtime, login: _Login) -> None:
    """Count the login as pending, if there is room for it beside those that are."""
    with runtime.database.write() as connection:
        counts = logins.begin(connection, login.keys)
        if not _has_room(runtime, login, counts, more=0):
            raise _MustWait
        if counts[login.pair] == LoginCount(0, 1):  # each new row clears away some old ones
            two_windows = timedelta(seconds=2 * runtime.settings.login_window_s)
            logins.forget(connection, login.whole.window_start - two_windows)


def _has_room(runtime: Runtime, login: _Login, counts: Mapping[LoginKey, LoginCount], *, more: int) -> bool:
    """Whether `more` logins fit under the limits. Failures of strangers at an address do not stop its regulars."""
    limits = {login.pair: runtime.settings.login_pair_failures}
    if not login.is_known:
        limits[login.whole] = runtime.settings.login_address_failures
    counted = {key: counts.get(key, LoginCount()) for key in limits}
    return all(counted[key].failures + counted[key].pending + more <= limit for key, limit in limits.items())


def _decide(runtime: Runtime, login: _Login, password: str) -> Exchange:
    """Verify the password; then make the login a failure, or take it back and give the access token.

    When the database cannot answer, the login stays pending: it may count too much, and never too little. Whatever else
    goes wrong is no failed guess.
    """
    try:
        user, new_hash = _verify(runtime, login.user, password)
        with runtime.database.write() as connection:
            given = _give(runtime, connection, login, user, new_hash) if user else None
            logins.end(connection, login.keys, failed=given is None)
    except DatabaseUnavailable:
        raise
    except Exception:
        with runtime.database.write() as connection:
            logins.end(connection, login.keys, failed=False)
        raise
    if given is None:
        raise InvalidCredentials
    return given


def _verify(runtime: Runtime, user: User | None, password: str) -> tuple[User | None, str | None]:
    """The user, if the password is theirs and they are served; and a new hash where the old one is weak."""
    fits = user is not None and runtime.hasher.verify(user.password_hash, password)
    if user is None or not fits or not user.is_active:
        runtime.hasher.refuse(user.password_hash if user else None, password)
        return None, None
    runtime.hasher.verified.add(user.id, user.password_hash, password)
    return user, runtime.hasher.hash(password) if runtime.hasher.is_weak(user.password_hash) else None


def _give(
    runtime: Runtime, connection: Transaction, login: _Login, verified: User, new_hash: str | None
) -> Exchange | None:
    """The user's live access token, or a new one: logins lock the user's row, so of concurrent ones one creates."""
    accounts.hold_tenant(connection, verified.tenant_id)
    user = accounts.find_user(connection, verified.username, lock=True)
    if user is None or not user.is_active:
        return None
    if user.password_hash != verified.password_hash:
        raise _AccountChanged
    now = runtime.database.now(connection)
    if new_hash is not None:
        given_hash = user.given_hash or user.password_hash
        change = {"password_hash": new_hash, "given_hash": given_hash}
        accounts.change_users(connection, [{"tenant_id": user.tenant_id, "user_id": user.id, **change}])
    logins.remember(connection, user.tenant_id, user.id, login.address, now)
    live = access_tokens.find_live_access_token(connection, user.tenant_id, user.id, now)
    if live is not None:
        return Exchange(live, user.username, created=False)
    issued_at = now.replace(microsecond=0)  # claims are whole seconds
    expires_at = issued_at + timedelta(days=runtime.settings.jwt_days)
    access_token = AccessToken(user.tenant_id, user.id, str(uuid7()), issued_at, expires_at)
    access_tokens.insert_access_token(connection, access_token)
    return Exchange(access_token, user.username, created=True)


def _digest(runtime: Runtime, username: str) -> str:
    """What stands for a username among the failures, where people also type their passwords by mistake."""
    key = runtime.settings.secret.encode()
    return hmac.new(key, b"login:" + username.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

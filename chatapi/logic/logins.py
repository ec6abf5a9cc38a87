"""Logins: a username and a password, held against what is kept, with guessing bounded whatever comes at once.

Failures are counted for a user from an address and for an address, never for a user alone: nobody far away can lock
somebody out. The order of steps:

1. what has failed too often already is refused, with little work;
2. a password that was verified a moment ago is no guess and needs no turn: it goes on to 6;
3. a turn is waited for, so that logins under way are few;
4. the login is counted as pending, *before* the password is looked at; pending ones count like failures;
5. the password is verified, with no transaction open;
6. the login becomes a failure, or is taken back and does what it is for, in the transaction that locks the user.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from chatapi.domain.addresses import counted_address
from chatapi.domain.windows import seconds_until
from chatapi.errors import DatabaseUnavailable, InvalidCredentials, TooManyLoginFailures
from chatapi.logic.runtime import Runtime
from chatapi.storage import accounts, logins
from chatapi.storage.accounts import Transaction, User
from chatapi.storage.logins import ADDRESS, LoginCount, LoginKey

LONGEST_WAIT_S = 5.0
WAIT_STEP_S = 0.05

T = TypeVar("T")
Then = Callable[[Transaction, User, datetime], T]
"""What a login is for: done in the transaction that locks its user, at the database's time. It gives no None."""


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


def log_in(runtime: Runtime, username: str, password: str, address: str, then: Then[T]) -> T:
    """Verify a user's password, and do what the login is for.

    Args:
        runtime: what to work with.
        username: whose password it should be.
        password: as it was given.
        address: the client's IP address; '' when there is none.
        then: what it is for.

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
            if (done := _recall(runtime, login, password, then)) is not None:
                return done
            with runtime.hasher.turns.turn(login.address, login.pair.subject):
                # It may have been verified while this one waited.
                if (done := _recall(runtime, login, password, then)) is not None:
                    return done
                _begin(runtime, login)
                return _decide(runtime, login, password, then)
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


def _recall(runtime: Runtime, login: _Login, password: str, then: Then[T]) -> T | None:
    """Go on at once if this password was verified a moment ago; asked for nobody, it costs the same."""
    user = login.user
    user_id, password_hash = (user.id, user.password_hash) if user else ("", "")
    if not runtime.hasher.verified.has(user_id, password_hash, password) or user is None:
        return None
    with runtime.database.write() as connection:
        return _enter(runtime, connection, login, user, None, then)


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


def _decide(runtime: Runtime, login: _Login, password: str, then: Then[T]) -> T:
    """Verify the password; then make the login a failure, or take it back and do what it is for.

    When the database cannot answer, the login stays pending: it may count too much, and never too little. Whatever else
    goes wrong is no failed guess.
    """
    try:
        user, new_hash = _verify(runtime, login.user, password)
        with runtime.database.write() as connection:
            done = _enter(runtime, connection, login, user, new_hash, then) if user else None
            logins.end(connection, login.keys, failed=done is None)
    except DatabaseUnavailable:
        raise
    except Exception:
        with runtime.database.write() as connection:
            logins.end(connection, login.keys, failed=False)
        raise
    if done is None:
        raise InvalidCredentials
    return done


def _verify(runtime: Runtime, user: User | None, password: str) -> tuple[User | None, str | None]:
    """The user, if the password is theirs and they are served; and a new hash where the old one is weak."""
    fits = user is not None and runtime.hasher.verify(user.password_hash, password)
    if user is None or not fits or not user.is_active:
        runtime.hasher.refuse(user.password_hash if user else None, password)
        return None, None
    runtime.hasher.verified.add(user.id, user.password_hash, password)
    return user, runtime.hasher.hash(password) if runtime.hasher.is_weak(user.password_hash) else None


def _enter(
    runtime: Runtime, connection: Transaction, login: _Login, verified: User, new_hash: str | None, then: Then[T]
) -> T | None:
    """Do what the login is for: logins lock the user's row, so concurrent ones come one after the other."""
    accounts.hold_tenant(connection, verified.tenant_id)
    user = accounts.find_user(connection, verified.username, lock=True)
    if user is None or not user.is_active:
        return None
    if user.password_hash != verified.password_hash:
        raise _AccountChanged
    now = runtime.database.now(connection)
    if new_hash is not None:
        user = replace(user, password_hash=new_hash, given_hash=user.given_hash or user.password_hash)
        change = {"password_hash": new_hash, "given_hash": user.given_hash}
        accounts.change_users(connection, [{"tenant_id": user.tenant_id, "user_id": user.id, **change}])
    logins.remember(connection, user.tenant_id, user.id, login.address, now)
    return then(connection, user, now)


def _digest(runtime: Runtime, username: str) -> str:
    """What stands for a username among the failures, where people also type their passwords by mistake."""
    key = runtime.settings.secret.encode()
    return hmac.new(key, b"login:" + username.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]

"""Invitations: a link, shown once, by which a user sets its first password, or another one where that is lost.

The link's text is the tenant's id, the user's id and a secret of 256 bits; only a digest of the secret is kept. It is
in the fragment of an address, which browsers do not send, so that no log of any server has it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from chatapi.domain.actors import Actor
from chatapi.domain.addresses import counted_address
from chatapi.domain.passwords import password_problem
from chatapi.domain.principals import Claims
from chatapi.domain.windows import seconds_until
from chatapi.errors import InvalidInput, NotFound, TooManyLoginFailures
from chatapi.logic.changes import Change
from chatapi.logic.new_passwords import new_hash, put_hash
from chatapi.logic.runtime import Runtime
from chatapi.storage import directory, invitations, logins
from chatapi.storage.accounts import Transaction, User
from chatapi.storage.invitations import KeptInvitation
from chatapi.storage.logins import LoginCount, LoginKey

PAGE = "/invitation"
SECRET_BYTES = 32
ID_BYTES = 16
FAILED = "invitation"
"""The subject of failures with invitations from an address: no digest of a username is this."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """A new invitation, as it is shown to who made it and never again."""

    text: str = field(repr=False)
    expires_at: datetime

    @property
    def path(self) -> str:
        """The link, as from the root of the service."""
        return f"{PAGE}#{self.text}"


def issue(runtime: Runtime, made: Change, user: User) -> Invitation:
    """Make the one invitation that this user has from now on, and record that; an earlier one ends."""
    secret = secrets.token_bytes(SECRET_BYTES)
    expires_at = made.now.replace(microsecond=0) + timedelta(days=runtime.settings.invitation_days)
    invitations.put(made.connection, user.tenant_id, user.id, KeptInvitation(_digest(secret), expires_at))
    told = {"expires_at": f"{expires_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    made.record("user.invite", user.tenant_id, "user", user.username, after=told)
    raw = UUID(user.tenant_id).bytes + UUID(user.id).bytes + secret
    return Invitation(base64.urlsafe_b64encode(raw).decode().rstrip("="), expires_at)


def accept(runtime: Runtime, text: str, password: str, address: str) -> None:
    """Set the password of the user that was invited. The invitation is used up, and the user's access tokens end.

    Args:
        text: of the link, after its `#`.
        address: the client's IP address; '' when there is none.

    Raises:
        InvalidInput: the password cannot be one.
        NotFound: no invitation is in force that has this text: one answer for all that can be the reason.
        TooManyLoginFailures: too many texts from this address were of none.
        Overloaded: too many wait for a turn to have a password hashed.
    """
    if problem := password_problem(password):
        raise InvalidInput(f"The password {problem}.")
    user, digest = _look(runtime, text, address)
    actor = Actor(user.username, user.role, Claims(user.tenant_id, user.id, ""), address)
    password_hash = new_hash(runtime, actor, password)
    with runtime.database.write() as connection:
        now = runtime.database.now(connection)
        found = _invited(connection, user.tenant_id, user.id, digest, now, lock=True)
        if found is None or not invitations.use(connection, user.tenant_id, user.id, digest):
            raise _none()
        made = Change(connection, now, actor)
        put_hash(made, found, password_hash)
        made.record("user.accept_invitation", user.tenant_id, "user", user.username)


def _look(runtime: Runtime, text: str, address: str) -> tuple[User, str]:
    """The user that is invited by this text, and the digest; a text of no invitation counts as a failure."""
    parts = _parts(text)
    with runtime.database.read() as connection:
        now = runtime.database.now(connection)
        window_s = runtime.settings.login_window_s
        start = datetime.fromtimestamp(int(now.timestamp()) // window_s * window_s, UTC)
        key = LoginKey(counted_address(address), FAILED, start)
        failures = logins.count(connection, [key]).get(key, LoginCount()).failures
        if failures >= runtime.settings.login_address_failures:
            raise TooManyLoginFailures(seconds_until(start + timedelta(seconds=window_s), now))
        found = _invited(connection, *parts, now) if parts else None
    if found is None or parts is None:
        with runtime.database.write() as connection:
            logins.begin(connection, [key])
            logins.end(connection, [key], failed=True)
            if not failures:  # each new row clears away some old ones
                logins.forget(connection, start - timedelta(seconds=2 * window_s))
        raise _none()
    return found, parts[2]


def _invited(
    connection: Transaction, tenant_id: str, user_id: str, digest: str, now: datetime, *, lock: bool = False
) -> User | None:
    """The user whose invitation has this digest and is in force."""
    user = directory.find_user(connection, tenant_id, user_id, lock=lock)
    kept = invitations.find(connection, tenant_id, user_id)
    if user is None or kept is None or not hmac.compare_digest(kept.digest, digest):
        return None
    return user if kept.expires_at > now and user.is_active else None


def _parts(text: str) -> tuple[str, str, str] | None:
    """The tenant's id, the user's id and the digest of the secret; None where the text is of no invitation."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != 2 * ID_BYTES + SECRET_BYTES:
        return None
    ids = (str(UUID(bytes=raw[start : start + ID_BYTES])) for start in (0, ID_BYTES))
    return next(ids), next(ids), _digest(raw[2 * ID_BYTES :])


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def _none() -> NotFound:
    return NotFound("This invitation is not valid, or not any more. Ask for another one.")

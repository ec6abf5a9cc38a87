"""The installation: its id, and that every machine of it signs access tokens with the same secret."""

from __future__ import annotations

import hashlib
import hmac

from chatapi.errors import ConfigurationError
from chatapi.logic.runtime import Runtime
from chatapi.storage import access_tokens, accounts
from chatapi.storage import installation as storage

OTHER_SECRET = """CHATAPI_JWT_SECRET_KEY is not the secret that this database's access tokens are signed with.
Machines that share a database must share CHATAPI_JWT_SECRET_KEY (where it is not set, the file jwt_secret_key in the
var folder is read: copy it, or set the same CHATAPI_JWT_SECRET_KEY on each machine).
To rotate the secret: stop every machine, set the new CHATAPI_JWT_SECRET_KEY on all of them, run once
`chatapi db rotate-secret`, which ends every access token, and start them again."""


def check_installation(runtime: Runtime) -> str:
    """Make sure that this process belongs to the database's installation. Returns the installation's id.

    The first process to start makes the installation and binds the secret to it.

    Raises:
        ConfigurationError: the database's access tokens are signed with another secret, or the encryption key cannot be
            kept.
    """
    _ = runtime.settings.sealing_keys  # made now, by who serves: not by whoever runs the first command that needs it
    with runtime.database.write() as connection:
        found = storage.find_or_create(connection, runtime.database.now(connection))
        fingerprint = _fingerprint(runtime, found.id)
        if found.jwt_fingerprint is None:
            storage.bind_secret(connection, fingerprint)
        elif not hmac.compare_digest(found.jwt_fingerprint, fingerprint):
            raise ConfigurationError(OTHER_SECRET)
    return found.id


def is_its_secret(runtime: Runtime) -> bool:
    """Whether the configured secret is the one that the database's access tokens are signed with, or none is yet."""
    with runtime.database.read() as connection:
        found = storage.find(connection)
    if found is None or found.jwt_fingerprint is None:
        return True
    return hmac.compare_digest(found.jwt_fingerprint, _fingerprint(runtime, found.id))


def rotate_secret(runtime: Runtime) -> int:
    """Bind the secret that is now configured to the installation and revoke every access token, all or nothing.

    Access tokens are revoked even when it is the same secret: who rotates wants the old ones to end.

    Returns:
        How many access tokens were revoked.
    """
    with runtime.database.write() as connection:
        now = runtime.database.now(connection)
        found = storage.find_or_create(connection, now)
        storage.bind_secret(connection, _fingerprint(runtime, found.id))
        tenants = accounts.find_tenants(connection, lock=True)
        return sum(access_tokens.revoke_of_tenant(connection, tenant.id, now) for tenant in tenants)


def _fingerprint(runtime: Runtime, installation_id: str) -> str:
    """Tells two secrets apart and gives neither away; each installation has another one of the same secret."""
    what = f"chatapi installation {installation_id}".encode()
    return hmac.new(runtime.settings.secret.encode(), what, hashlib.sha256).hexdigest()

"""Secrets of an installation whose operator gave none: made once, and kept for their owner only.

One signs access tokens, another (a Fernet key) encrypts secrets in the database.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from chatapi.errors import ConfigurationError

SHORTEST_SECRET_BYTES = 32
FERNET_BYTES = 32


def kept_secret(path: Path) -> str:
    """Read the secret that signs access tokens, kept in `path`; the first of several processes that start makes it.

    Raises:
        ConfigurationError: the file cannot be made or read, or holds no such secret.
    """
    secret = _kept(path, "The JWT secret", lambda: secrets.token_hex(SHORTEST_SECRET_BYTES))
    if len(secret) < SHORTEST_SECRET_BYTES:
        raise ConfigurationError(
            f"{path} holds fewer than {SHORTEST_SECRET_BYTES} bytes; delete it to have a new one made"
        )
    return secret


def kept_encryption_key(path: Path) -> str:
    """The same of the key that encrypts secrets in the database.

    Raises:
        ConfigurationError: as above.
    """
    key = _kept(
        path, "The encryption key", lambda: base64.urlsafe_b64encode(secrets.token_bytes(FERNET_BYTES)).decode()
    )
    if encryption_key_problem(key):
        raise ConfigurationError(f"{path} holds no encryption key; put back the one that was there")
    return key


def encryption_key_problem(key: str) -> str | None:
    """What is wrong with a Fernet key, without showing it; None where nothing is."""
    try:
        if len(base64.b64decode(key, altchars=b"-_", validate=True)) == FERNET_BYTES:
            return None
    except (binascii.Error, ValueError):
        pass
    return (
        "has a key that is no Fernet key (32 bytes in URL-safe base64); make one with: "
        "openssl rand -base64 32 | tr '+/' '-_'"
    )


def _kept(path: Path, what: str, make: Callable[[], str]) -> str:
    try:
        keep(path, make)
        return path.read_text("ascii").strip()
    except UnicodeDecodeError:
        problem = f"{path} holds no text; put back what was there, or delete it to have a new secret made"
        raise ConfigurationError(problem) from None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigurationError(
            f"{what} cannot be kept in {path}: {why} (CHATAPI_VAR_DIR names its folder)"
        ) from error


def keep(path: Path, make: Callable[[], str]) -> None:
    """Keep a secret where none is: whole or not at all, for its owner only, and on the disk when this returns.

    Raises:
        OSError: it cannot be kept.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike rename, this never replaces what another process has just made
        except FileExistsError:
            pass
        finally:
            draft.unlink()

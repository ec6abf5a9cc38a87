"""The secret that signs access tokens, where the operator gave none: made once, and kept for its owner only."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from chatapi.errors import ConfigurationError

SHORTEST_SECRET_BYTES = 32


def kept_secret(path: Path) -> str:
    """Read the secret that is kept in `path`; the first of several processes that start at once makes it.

    Raises:
        ConfigurationError: the file cannot be made or read, or holds no such secret.
    """
    try:
        _make(path)
        secret = path.read_text("ascii").strip()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} holds no text; delete it to have a new secret made") from None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise ConfigurationError(
            f"The JWT secret cannot be kept in {path}: {why} (CHATAPI_VAR_DIR names its folder)"
        ) from error
    if len(secret) < SHORTEST_SECRET_BYTES:
        raise ConfigurationError(
            f"{path} holds fewer than {SHORTEST_SECRET_BYTES} bytes; delete it to have a new one made"
        )
    return secret


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(SHORTEST_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike rename, this never replaces what another process has just made
        except FileExistsError:
            pass
        finally:
            draft.unlink()

"""Access tokens that were verified before, so that most requests need no cryptography but one hash.

Only what verified is kept, never a failure, and never the token itself: its SHA-256, with its claims and expiry. Secret
and demands hold for the life of the process, so what verified once verifies until it expires, which is looked at each
time. Whether it has been revoked is not for this memory: the database says.
"""

from __future__ import annotations

import hashlib
import threading
import time

from chatapi.domain.principals import Claims

MOST = 10_000  # about 5 MB


class VerifiedAccessTokens:
    """The claims of verified access tokens; at most `most`, the oldest go first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: dict[bytes, tuple[Claims, int]] = {}
        self._entering = threading.Lock()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, digest: bytes) -> Claims | None:
        """The claims of the access token with this digest, unless it is unknown here or has expired."""
        found = self._known.get(digest)
        if found is None or found[1] <= time.time():
            return None
        return found[0]

    def remember(self, digest: bytes, claims: Claims, expires_at: int) -> None:
        """An access token has been verified; `expires_at` is its `exp`, in seconds since the epoch."""
        with self._entering:
            self._known.pop(digest, None)
            while len(self._known) >= self._most:
                del self._known[next(iter(self._known))]
            self._known[digest] = claims, expires_at


def digest_of(access_token: str) -> bytes:
    """What an access token is remembered by: all 256 bits, so that no two are taken for one another."""
    return hashlib.sha256(access_token.encode("utf-8", "surrogatepass")).digest()

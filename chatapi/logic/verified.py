"""Passwords that were verified a moment ago, so that logging in again and again costs no more hashes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable

KEPT_S = 60.0
MOST_KEPT = 10_000


class VerifiedPasswords:
    """Remembers for a minute which password fitted which hash, by digests under a key that only this process has.

    A user who is disabled or gets another password gains nothing by it: the digest is of the hash too, which each login
    reads anew, and only the work of verifying is saved.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[bytes, float] = {}  # oldest first

    def add(self, user_id: str, password_hash: str, password: str) -> None:
        """Keep that this password was verified just now."""
        digest, now = self._digest(user_id, password_hash, password), self._clock()
        with self._lock:
            self._ends.pop(digest, None)
            while self._ends and (len(self._ends) >= MOST_KEPT or next(iter(self._ends.values())) <= now):
                del self._ends[next(iter(self._ends))]
            self._ends[digest] = now + KEPT_S

    def has(self, user_id: str, password_hash: str, password: str) -> bool:
        """Whether this password was verified against this hash within the last minute."""
        ends = self._ends.get(self._digest(user_id, password_hash, password))
        return ends is not None and self._clock() < ends

    def _digest(self, user_id: str, password_hash: str, password: str) -> bytes:
        what = f"{user_id}\0{password_hash}\0{password}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, what, hashlib.sha256)
